"""Sidecars of a ranking: which are written, what is left alone, and that no photo is touched."""

import os
import stat
from pathlib import Path

import pandas as pd
import pytest

from photorank.photos.ratings import stars_of
from photorank.stages.sidecars import write_sidecars
from tests.sidecars import DARKTABLE, DIGIKAM, LIGHTROOM


def ranking(**keeps: bool | None) -> pd.DataFrame:
    """The columns that decide, of photos path → keep."""
    table = pd.DataFrame({"path": pd.Series(list(keeps), dtype=object)})
    table["keep"] = pd.array(list(keeps.values()), dtype="boolean")
    table["copies"] = pd.Series([[] for _ in keeps], dtype=object)
    return table


def photos(folder: Path, **keeps: bool | None) -> pd.DataFrame:
    """Files that are there, and their ranking; `__` stands for the dot in a name."""
    named = {str(folder / name.replace("__", ".")): keep for name, keep in keeps.items()}
    for path in named:
        Path(path).write_bytes(f"photo {path}".encode())
    return ranking(**named)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(("style", "name"), [("lightroom", "a.xmp"), ("darktable", "a.CR2.xmp")])
def test_new_sidecars_are_named_as_the_program_looks_for_them(tmp_path: Path, style: str, name: str) -> None:
    table = photos(tmp_path, a__CR2=True, b__jpg=False, c__jpg=None)
    before = contents(tmp_path)
    assert write_sidecars(table, style, dry_run=True).written == [  # type: ignore[arg-type]
        (str(tmp_path / name), True), (str(tmp_path / name.replace("a", "b").replace("CR2", "jpg")), False),
    ]  # fmt: skip
    assert contents(tmp_path) == before
    report = write_sidecars(table, style)  # type: ignore[arg-type]
    assert not report.failures
    after = contents(tmp_path)
    assert {each: after[each] for each in before} == before
    assert len(after) == 5
    assert b'xmp:Rating="5" xmp:Label="Green"' in after[name]
    assert [stars_of(path) for path in table["path"]] == [5, 1, None]
    again = write_sidecars(table, style)  # type: ignore[arg-type]
    assert (again.written, again.unchanged, again.given) == ([], 2, 0)


def test_a_sidecar_that_is_there_is_changed_in_its_marks_alone_and_what_was_given_stays(tmp_path: Path) -> None:
    table = photos(tmp_path, a__CR2=False, b__CR2=True)
    (tmp_path / "a.CR2.xmp").write_text(DARKTABLE)
    (tmp_path / "b.CR2.XMP").write_text(LIGHTROOM)
    (tmp_path / "b.CR2.XMP").chmod(0o640)
    report = write_sidecars(table, "darktable")
    assert (len(report.written), report.given, report.failures) == (2, 2, [])
    texts = contents(tmp_path)
    assert texts["a.CR2.xmp"].decode() == DARKTABLE.replace('history_end="2"', 'history_end="2"\n   xmp:Label="Red"')
    assert b'xmp:Rating="2"' in texts["b.CR2.XMP"]
    report = write_sidecars(table, "darktable", overwrite=True)
    assert (len(report.written), report.given) == (2, 0)
    assert [stars_of(path) for path in table["path"]] == [1, 5]
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "b.CR2.XMP").stat().st_mode) == 0o640
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_rating_that_is_not_plain_text_counts_as_given(tmp_path: Path) -> None:
    table = photos(tmp_path, a__CR2=True)
    odd = DIGIKAM.replace("<xmp:Rating>3</xmp:Rating>", '<xmp:Rating rdf:resource="urn:3"/>')
    (tmp_path / "a.xmp").write_text(odd)
    report = write_sidecars(table)
    assert (len(report.written), report.given, report.failures) == (1, 1, [])
    assert (tmp_path / "a.xmp").read_text() == odd.replace("Label></", "Label>Green</")
    (failure,) = write_sidecars(table, overwrite=True).failures
    assert failure.error == "has a rating or label that is not plain text"


def test_copies_and_the_raw_beside_get_the_same_marks(tmp_path: Path) -> None:
    table = photos(tmp_path, a__jpg=True)
    (tmp_path / "a.CR2").write_bytes(b"raw")
    (tmp_path / "copy.jpg").write_bytes(b"photo")
    table.at[0, "copies"] = [str(tmp_path / "a.CR2"), str(tmp_path / "copy.jpg")]
    assert [Path(path).name for path, _ in write_sidecars(table, "lightroom").written] == ["a.xmp", "copy.xmp"]
    assert len(write_sidecars(table, "darktable").written) == 3


def test_what_cannot_be_done_is_reported_and_the_others_are_done(tmp_path: Path) -> None:
    table = photos(tmp_path, a__jpg=True, b__jpg=True, c__jpg=True, d__jpg=True, d__png=False, e__jpg=True, f__jpg=True)
    (tmp_path / "a.xmp").write_text("no <xml")
    (tmp_path / "b.xmp").mkdir()
    (tmp_path / "c.xmp").symlink_to(tmp_path / "gone.xmp")
    (tmp_path / "e.xmp").write_bytes(b"")
    before = contents(tmp_path)
    report = write_sidecars(table)
    errors = {Path(each.path).name: each.error for each in report.failures}
    assert errors.pop("a.xmp").startswith("is no XMP (")
    assert errors.pop("b.xmp").startswith("cannot be read (")
    assert errors.pop("c.xmp").startswith("cannot be read (")
    assert errors.pop("d.xmp") == "would be that of different photos (d.jpg, d.png); take --xmp-style darktable"
    assert errors == {"e.xmp": "is empty"}
    assert [Path(path).name for path, _ in report.written] == ["f.xmp"]
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("keeps", [(True, True), (True, None), (None, False)])
def test_a_sidecar_that_different_photos_would_share_is_left_alone(
    tmp_path: Path, keeps: tuple[bool | None, bool | None]
) -> None:
    table = photos(tmp_path, a__jpg=keeps[0], a__png=keeps[1], b__jpg=None, b__png=None)
    report = write_sidecars(table)
    assert [(Path(each.path).name, each.error) for each in report.failures] == [
        ("a.xmp", "would be that of different photos (a.jpg, a.png); take --xmp-style darktable")
    ]
    assert not list(tmp_path.glob("*.xmp"))
    assert not write_sidecars(table, "darktable").failures


def test_of_a_link_the_file_that_it_leads_to_is_changed(tmp_path: Path) -> None:
    table = photos(tmp_path, a__jpg=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "real.xmp").write_text(LIGHTROOM)
    (tmp_path / "a.xmp").symlink_to(tmp_path / "else" / "real.xmp")
    write_sidecars(table, overwrite=True)
    assert (tmp_path / "a.xmp").is_symlink()
    assert 'xmp:Rating="5"' in (tmp_path / "else" / "real.xmp").read_text()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_sidecars_and_folders_are_left_as_they_are(tmp_path: Path) -> None:
    table = photos(tmp_path, a__jpg=True, b__jpg=True)
    (tmp_path / "a.xmp").write_text(LIGHTROOM)
    (tmp_path / "a.xmp").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        report = write_sidecars(table, overwrite=True)
    finally:
        tmp_path.chmod(0o755)
    assert [each.error for each in report.failures] == ["is read-only", "cannot be written (Permission denied)"]
    assert (tmp_path / "a.xmp").read_text() == LIGHTROOM


def test_a_dry_run_says_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path, a__jpg=True, b__jpg=False, c__jpg=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "real.xmp").write_text(LIGHTROOM)
    (tmp_path / "a.xmp").write_text(LIGHTROOM)
    (tmp_path / "c.xmp").symlink_to(tmp_path / "else" / "real.xmp")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    report = write_sidecars(table, overwrite=True, dry_run=True)
    assert [(Path(each.path).name, each.error) for each in report.failures] == [
        ("a.xmp", "cannot be written (Permission denied)"), ("b.xmp", "cannot be written (Permission denied)"),
    ]  # fmt: skip
    assert [Path(path).name for path, _ in report.written] == ["c.xmp"]


def test_hostile_names_run_nothing_and_get_their_sidecars(tmp_path: Path) -> None:
    names = ["<img src=x onerror=alert(1)>.jpg", "\"quoted' & co.jpg", "two\nlines.jpg", "\u202egpj.x.jpg", "=1+1.jpg"]
    names.append("\udcff.jpg")
    keeps: dict[str, bool | None] = {}
    for name in names:
        try:
            (tmp_path / name).write_bytes(b"photo")
        except OSError:
            continue
        keeps[str(tmp_path / name)] = True
    assert keeps
    report = write_sidecars(ranking(**keeps), "darktable")
    assert (len(report.written), report.failures) == (len(keeps), [])
    assert len({path.read_bytes() for path in tmp_path.glob("*.xmp")}) == 1  # no name stands in any
    assert {stars_of(path) for path in keeps} == {5}


def test_a_name_that_becomes_too_long_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 251}.jpg"
    path.write_bytes(b"photo")
    (failure,) = write_sidecars(ranking(**{str(path): True}), "darktable").failures
    assert "too long" in failure.error.lower()
