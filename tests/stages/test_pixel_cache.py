"""The cache of pixels: what it serves is right, whoever was killed, whatever is torn, however many fill it."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from io import FileIO
from pathlib import Path
from unittest.mock import Mock

import filelock
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photorank.errors import StoreError
from photorank.stages import pixel_cache
from photorank.stages.pixel_cache import PixelCache
from tests.stages.fill_driver import SIZE, fill, open_cache, pixels_of, served, some_keys


def empty_row() -> np.ndarray:
    return np.zeros((SIZE, SIZE, 3), np.uint8)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")
def test_whoever_is_killed_while_filling_leaves_only_right_rows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.stages.fill_driver", tmp_path / "c.h5", "60", "1"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert found["killed"] > 30
    assert found["between"] > 0
    assert (found["wrong"], found["missing at the end"]) == (0, 0)
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


@given(st.integers(0, SIZE * SIZE * 3 + 3), st.integers(1, 255))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_torn_row_is_not_served_and_is_filled_again(tmp_path: Path, at: int, flip: int) -> None:
    path = tmp_path / "c.h5"
    fill(path, 2)
    with h5py.File(path) as file:
        part = next(iter(file.values()))["0"]
        size = part["pixels"][0].size
        place = part["pixels"].id.get_offset() + at if at < size else part["checks"].id.get_offset() + at - size
    with path.open("r+b") as raw:
        raw.seek(place)
        byte = raw.read(1)[0]
        raw.seek(place)
        raw.write(bytes([byte ^ flip]))
    assert served(path, 2) == (1, 0)
    fill(path, 2)
    assert served(path, 2) == (2, 0)


def test_other_tools_read_it(tmp_path: Path) -> None:
    cache = open_cache(tmp_path / "c.h5", 3)
    keys = some_keys(3)
    cache.write(keys[1].tobytes(), pixels_of(keys[1].tobytes()))
    cache.close()
    with h5py.File(tmp_path / "c.h5") as file:
        (name,) = file
        assert name.startswith("paper@")
        assert json.loads(file[name].attrs["spec"]) == {"size": SIZE}
        part = file[name]["0"]
        np.testing.assert_array_equal(part["keys"][:], keys)
        np.testing.assert_array_equal(part["pixels"][1], pixels_of(keys[1].tobytes()))
        assert [bool(check) for check in part["checks"]] == [False, True, False]
        assert not part["pixels"][0].any()


def test_further_photos_and_another_preprocessing_keep_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    fill(path, 5)
    assert served(path, 8) == (5, 0)
    fill(path, 8)
    row = np.empty((8, 8, 3), np.uint8)
    other = PixelCache(path, "paper", {"size": 8}, some_keys(8), 8)
    assert not other.read(some_keys(1)[0].tobytes(), row)
    other.write(some_keys(1)[0].tobytes(), np.full_like(row, 7))
    assert other.read(some_keys(1)[0].tobytes(), row)
    other.close()
    assert (row == 7).all()
    assert served(path, 8) == (8, 0)
    with contextlib.closing(open_cache(path, 8)) as cache:
        assert not cache.read(bytes(32), empty_row())


def test_several_fill_it_and_read_what_is_there_by_then(tmp_path: Path) -> None:
    path, keys = tmp_path / "c.h5", [key.tobytes() for key in some_keys(3)]
    one, other = open_cache(path, 2), open_cache(path, 3)
    row = empty_row()
    for writer, reader, key in ((one, other, keys[0]), (other, one, keys[1])):
        assert not reader.read(key, row)
        writer.write(key, pixels_of(key))
        assert reader.read(key, row)
        np.testing.assert_array_equal(row, pixels_of(key))
    other.write(keys[2], pixels_of(keys[2]))  # which has no row: the file was open elsewhere
    one.close()
    assert served(path, 3) == (2, 0)  # this one made room, in a copy, ...
    other.refresh()
    other.write(keys[2], pixels_of(keys[2]))  # ... which is found
    other.close()
    assert served(path, 3) == (3, 0)


def test_who_came_before_the_file_finds_it_later(tmp_path: Path) -> None:
    path, key = tmp_path / "c.h5", some_keys(1)[0].tobytes()
    held = PixelCache(path, "other", {"size": 8}, some_keys(0), 8)
    assert not path.exists()
    reader = open_cache(path, 1)
    held.close()
    fill(path, 1)
    assert not reader.read(key, empty_row())
    reader.refresh()
    assert reader.read(key, empty_row())
    reader.close()


def test_a_full_disk_ends_the_filling_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cache, (first, second) = open_cache(tmp_path / "c.h5", 2), some_keys(2)
    cache.write(first.tobytes(), pixels_of(first.tobytes()))
    monkeypatch.setattr(pixel_cache, "write_all", full)
    cache.write(second.tobytes(), pixels_of(second.tobytes()))
    cache.write(second.tobytes(), pixels_of(second.tobytes()))
    assert caplog.text.count("is not filled further: No space left on device") == 1
    assert cache.read(first.tobytes(), empty_row())
    assert not cache.read(second.tobytes(), empty_row())
    cache.close()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_file_that_may_not_be_written_is_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.h5"
    fill(path, 3)
    before = path.read_bytes()

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    class ReadOnlyFile(FileIO):
        def __init__(self, file: Path, mode: str = "r") -> None:
            if mode != "r":
                refused()
            super().__init__(file, mode)

    # The tests' user may be one whom no permission holds back.
    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    monkeypatch.setattr(pixel_cache, "FileIO", ReadOnlyFile)
    assert served(path, 3) == (3, 0)
    assert not caplog.records
    cache, (*_, further) = open_cache(path, 5), some_keys(5)
    assert [each.getMessage() for each in caplog.records if "lacks 2 of these photos" in each.getMessage()]
    cache.write(further.tobytes(), pixels_of(further.tobytes()))
    cache.refresh()
    cache.close()
    assert len(caplog.records) == 1
    assert path.read_bytes() == before
    with pytest.raises(StoreError, match=r"new\.h5 cannot be used"):
        open_cache(tmp_path / "new.h5", 1)


def test_rows_that_a_file_which_may_not_be_written_has_empty_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "c.h5", 2)
    open_cache(tmp_path / "c.h5", 3).close()
    monkeypatch.setattr(pixel_cache, "FileIO", Mock(side_effect=[OSError(errno.EROFS, ""), FileIO(tmp_path / "c.h5")]))
    open_cache(tmp_path / "c.h5", 3).close()
    assert "lacks 1 of these photos" in caplog.text


def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("my diary")
    with pytest.raises(StoreError, match=r"text\.h5 cannot be used .*; name another file, or remove it"):
        open_cache(tmp_path / "text.h5", 1)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["mine"] = [1, 2, 3]
    before = (tmp_path / "other.h5").read_bytes()
    with pytest.raises(StoreError, match=r"other\.h5 is an HDF5 file of something else"):
        open_cache(tmp_path / "other.h5", 1)
    assert (tmp_path / "other.h5").read_bytes() == before
    fill(tmp_path / "c.h5", 2)
    (tmp_path / "c.h5").write_bytes((tmp_path / "c.h5").read_bytes()[:5000])
    with pytest.raises(StoreError, match=r"c\.h5 cannot be used .*truncated.*remove it"):
        open_cache(tmp_path / "c.h5", 2)
    fill(tmp_path / "d.h5", 1)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        part = next(iter(file.values()))["0"]
        pixels = part["pixels"][:]
        del part["pixels"]
        part.create_dataset("pixels", data=pixels, chunks=(1, SIZE, SIZE, 3), compression="gzip")
    with pytest.raises(StoreError, match=r"d\.h5 was rewritten by another program"):
        open_cache(tmp_path / "d.h5", 1)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".c.h5.0011aabb.tmp"
    left.write_bytes(b"half")
    fill(tmp_path / "c.h5", 1)
    assert not left.exists()
