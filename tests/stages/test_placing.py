"""Kept frames copied and linked: nothing is overwritten, moved or deleted."""

import os
import shutil
from pathlib import Path
from typing import IO, Literal

import pandas as pd
import pytest

from photorank.errors import PhotoError
from photorank.stages.placing import place
from tests.stages.test_sidecars import contents, ranking


def two_folders(tmp_path: Path) -> pd.DataFrame:
    """a/1.jpg kept, with a RAW and a copy; b/1.jpg kept; b/2.jpg not, b/3.jpg undecided."""
    keeps = {"a/1.jpg": True, "b/1.jpg": True, "b/2.jpg": False, "b/3.jpg": None}
    for name in (*keeps, "a/1.CR2", "a/copy.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"photo {name}".encode())
    table = ranking(**{str(tmp_path / name): keep for name, keep in keeps.items()})
    table.at[0, "copies"] = [str(tmp_path / "a/1.CR2"), str(tmp_path / "a/copy.jpg")]
    return table


@pytest.mark.parametrize("how", ["copy", "link"])
def test_kept_frames_and_their_raws_are_placed_once(tmp_path: Path, how: str) -> None:
    table, out = two_folders(tmp_path), tmp_path / "out" / "kept"
    planned = place(table, out, how, dry_run=True)  # type: ignore[arg-type]
    assert not out.exists()
    done = place(table, out, how)  # type: ignore[arg-type]
    assert planned.placed == done.placed
    assert contents(out) == {"1.jpg": b"photo a/1.jpg", "1.CR2": b"photo a/1.CR2", "1_2.jpg": b"photo b/1.jpg"}
    assert all(path.is_symlink() == (how == "link") for path in out.iterdir())
    again = place(table, out, how)  # type: ignore[arg-type]
    assert (again.placed, again.unchanged) == ([], 3)
    assert len(list(out.iterdir())) == 3


@pytest.mark.parametrize("how", ["copy", "link"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, how: str) -> None:
    table, out = two_folders(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "1.jpg").write_bytes(b"somebody else's")
    (out / "1_2.jpg").symlink_to(tmp_path / "gone.jpg")
    (out / "1.CR2").mkdir()
    done = place(table, out, how)  # type: ignore[arg-type]
    assert [Path(target).name for _, target in done.placed] == ["1_3.jpg", "1_3.CR2", "1_4.jpg"]
    assert (out / "1.jpg").read_bytes() == b"somebody else's"
    assert (out / "1_2.jpg").is_symlink()


def test_copying_where_the_photos_are_changes_nothing(tmp_path: Path) -> None:
    table = two_folders(tmp_path)
    before = contents(tmp_path / "a")
    done = place(table.iloc[:1], tmp_path / "a", "copy")
    assert (done.placed, done.unchanged) == ([], 2)
    assert contents(tmp_path / "a") == before


def kept(tmp_path: Path, *shots: str) -> pd.DataFrame:
    """Kept frames, each written with the RAWs beside it: `a/1.jpg a/1.CR2`."""
    table = ranking(**{str(tmp_path / shot.split()[0]): True for shot in shots})
    table["copies"] = pd.Series([[str(tmp_path / each) for each in shot.split()[1:]] for shot in shots], dtype=object)
    for name in " ".join(shots).split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"photo {name}".encode())
    return table


@pytest.mark.parametrize("how", ["copy", "link"])
@pytest.mark.parametrize(
    ("shots", "names"),
    [
        (["a/1.JPG", "b/1.JPG b/1.DNG"], ["1.JPG", "1_2.JPG", "1_2.DNG"]),
        (["a/1.JPG", "b/1.DNG"], ["1.JPG", "1_2.DNG"]),
        (["a/1.DNG", "b/1.jpg", "c/1.JPG c/1.DNG"], ["1.DNG", "1_2.jpg", "1_3.JPG", "1_3.DNG"]),
        (["a/1.JPG a/1.DNG", "b/1.png", "c/1.NEF"], ["1.JPG", "1.DNG", "1_2.png", "1_3.NEF"]),
        (["a/1.jpg", "b/1.png"], ["1.jpg", "1.png"]),
        (["a/1.JPG a/1.DNG b/1.DNG"], ["1.JPG", "1.DNG", "1_2.DNG"]),
    ],
)  # fmt: skip
def test_a_raw_stays_beside_its_own_picture_and_stands_beside_no_other(
    tmp_path: Path, how: str, shots: list[str], names: list[str]
) -> None:
    table, out = kept(tmp_path, *shots), tmp_path / "out"
    planned = place(table, out, how, dry_run=True)  # type: ignore[arg-type]
    done = place(table, out, how)  # type: ignore[arg-type]
    assert planned.placed == done.placed
    assert [Path(target).name for _, target in done.placed] == names
    for path, target in done.placed:
        assert Path(target).read_bytes() == Path(path).read_bytes()
    again = place(table, out, how)  # type: ignore[arg-type]
    assert (again.placed, again.unchanged) == ([], len(names))


def test_a_raw_joins_its_picture_that_was_there_before_and_no_other(tmp_path: Path) -> None:
    table, out = kept(tmp_path, "a/1.jpg a/1.CR2", "b/1.jpg b/1.CR2"), tmp_path / "out"
    without = table.assign(copies=pd.Series([[], []], dtype=object))
    place(without, out, "copy")
    (out / "1.xmp").write_text("a sidecar takes no name")
    done = place(table, out, "copy")
    assert [(Path(path).parent.name, Path(target).name) for path, target in done.placed] == [
        ("a", "1.CR2"), ("b", "1_2.CR2"),
    ]  # fmt: skip
    assert done.unchanged == 2


def test_a_photo_that_is_gone_is_reported_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    table, out = two_folders(tmp_path), tmp_path / "out"
    (tmp_path / "a/1.jpg").unlink()
    done = place(table, out, "copy")
    assert [(Path(each.path).name, each.error) for each in done.failures] == [
        ("1.jpg", "cannot be copied (No such file or directory)")
    ]
    assert contents(out) == {"1.CR2": b"photo a/1.CR2", "1_2.jpg": b"photo b/1.jpg"}


@pytest.mark.parametrize("how", ["copy", "link"])
def test_a_dry_run_says_of_exact_copies_what_is_done_with_them(tmp_path: Path, how: Literal["copy", "link"]) -> None:
    table, out = kept(tmp_path, "a/1.jpg", "b/1.jpg b/1.CR2", "c/1.jpg"), tmp_path / "out"
    for name in ("b/1.jpg", "c/1.jpg"):
        (tmp_path / name).write_bytes(b"photo a/1.jpg")
    planned = place(table, out, how, dry_run=True)
    done = place(table, out, how)
    assert planned == done
    names = {"copy": ["1.jpg", "1.CR2"], "link": ["1.jpg", "1_2.jpg", "1_2.CR2", "1_3.jpg"]}[how]
    assert [Path(target).name for _, target in done.placed] == names
    assert done.unchanged == 4 - len(names)


def test_a_dry_run_says_what_cannot_be_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, out = two_folders(tmp_path), tmp_path / "out"
    (tmp_path / "b/1.jpg").unlink()
    report = place(table, out, "copy", dry_run=True)
    assert [Path(path).name for path, _ in report.placed] == ["1.jpg", "1.CR2"]
    assert [each.error for each in report.failures] == ["cannot be copied (No such file or directory)"]
    out.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != out)
    report = place(table.iloc[:1], out, "copy", dry_run=True)
    assert report.placed == []
    assert [each.error for each in report.failures] == ["cannot be copied (Permission denied)"] * 2
    with pytest.raises(PhotoError, match=r"there can be no folder .*more \(Permission denied\)"):
        place(table, out / "more", "copy", dry_run=True)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("hard_links", [True, False])
def test_only_a_whole_copy_has_the_name_of_the_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    table, out = two_folders(tmp_path), tmp_path / "out"
    really, during = shutil.copyfileobj, []

    def slowly(original: IO[bytes], copy: IO[bytes], length: int) -> None:
        really(original, copy, length)
        during.append([path for path in out.iterdir() if not path.name.startswith(".")])
        (out / "1.jpg").write_bytes(b"somebody else's")  # who was quicker

    def unknown(*_: object) -> None:
        raise OSError(1, "Operation not permitted")  # as of a memory card

    monkeypatch.setattr(shutil, "copyfileobj", slowly)
    if not hard_links:
        monkeypatch.setattr(os, "link", unknown)
    done = place(table.iloc[1:2], out, "copy")
    assert during[0] == []
    assert [Path(target).name for _, target in done.placed] == ["1_2.jpg"]
    assert contents(out) == {"1.jpg": b"somebody else's", "1_2.jpg": b"photo b/1.jpg"}


def test_where_no_links_can_be_made_a_sentence_says_what_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(1314, "a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    (failure, *_) = place(two_folders(tmp_path), tmp_path / "out", "link").failures
    assert failure.error == "cannot be linked (a required privilege is not held by the client); use --copy-to"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    table = two_folders(tmp_path)
    with pytest.raises(PhotoError, match="there can be no folder"):
        place(table, tmp_path / "a" / "1.jpg", "copy")
