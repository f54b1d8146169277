"""Where a run is written: what cannot be is refused before the work, and what was worked for is never lost."""

import os
from pathlib import Path

import pytest

from photorank.errors import RunError
from photorank.runs import new_run, refuse_existing


def write(out: Path) -> None:
    refuse_existing(out)
    with new_run(out) as folder:
        (folder / "weights").write_text("trained")


def refused(out: Path, said: str) -> None:
    with pytest.raises(RunError, match=said) as error:
        refuse_existing(out)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["run", "new/folder/run", "empty", "link", "dangling"])
def test_a_new_folder_an_empty_one_and_a_link_to_one_become_the_run(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    before = set(tmp_path.rglob("*"))
    refuse_existing(tmp_path / name)
    assert set(tmp_path.rglob("*")) == before
    write(tmp_path / name)
    assert [path.name for path in (tmp_path / name).iterdir()] == ["weights"]
    assert (tmp_path / name).is_symlink() == (name in ("link", "dangling"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_no_folder_can_take_the_place_of_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(Path(), r"^\. is the current folder, whose place no new folder can take; name one in it: --out run$")
    refused(tmp_path, "is the current folder")
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "disk")
    refused(tmp_path / "disk", "disk is a mount point, whose place .*: --out .*run$")
    assert list(tmp_path.iterdir()) == [tmp_path / "disk"]


def test_a_parent_that_is_a_file_and_a_name_that_is_too_long_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file" / "run", "cannot be written: .*; name another --out")
    refused(tmp_path / "file" / "deeper" / "run", "cannot be written")
    refused(tmp_path / ("x" * 300), "cannot be written")
    refused(tmp_path / "file", "is there already and is kept")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to this user")
def test_a_parent_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut").chmod(0o500)
    refused(tmp_path / "shut" / "run", "cannot be written: Permission denied; name another --out")


def test_a_run_whose_name_was_taken_meanwhile_is_kept_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    refuse_existing(out)
    out.mkdir()
    (out / "mine").write_text("kept")
    with (
        pytest.raises(RunError, match=r"cannot be made \(.*\): all is in (.*), which you can rename") as error,
        new_run(out) as folder,
    ):
        (folder / "weights").write_text("trained")
    assert str(folder) in str(error.value)
    assert (folder / "weights").read_text() == "trained"
    assert [path.name for path in out.iterdir()] == ["mine"]
