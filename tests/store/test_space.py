"""Appending to a space and loading from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from photorank.errors import DamagedStoreError, MissingKeyError, StoreError
from photorank.store import FeatureStore, Space
from photorank.store.commits import commit_bytes
from tests.store.helpers import make_space, some_keys, some_rows


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return make_space(FeatureStore.create(tmp_path))


def test_the_smallest_segment_id_wins_whatever_was_committed_first(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = some_keys(3)
    ids = iter(["00000000000000ff-00000000", "00000000000000aa-00000000"])
    monkeypatch.setattr("photorank.store.space.new_segment_id", lambda existing: next(ids))
    space.append(keys, np.full((3, 3), 1, np.float32))
    assert space.append(keys[1:], np.full((2, 3), 2, np.float32)) == "00000000000000aa-00000000"
    assert space.load()[1][:, 0].tolist() == [2, 2, 1]
    assert (space.keys() == keys[[1, 2, 0]]).all()
    assert space.load(keys)[1][:, 0].tolist() == [1, 2, 2]


def test_replaced_segments_are_invisible(space: Space) -> None:
    keys, rows = some_keys(4), some_rows(4)
    first, second = space.append(keys[:2], rows[:2]), space.append(keys[2:], rows[2:])
    merged = space.append(keys[[0, 3]], rows[[0, 3]])
    record = space.path / "commits" / f"{merged}.parquet"
    space = FeatureStore.open(space.path.parent.parent).space("clip")
    space.refresh()
    files = space._records[merged].files
    record.write_bytes(commit_bytes(merged, keys[[0, 3]], files, {}, replaces=[first, second]))
    space = FeatureStore.open(space.path.parent.parent).space("clip")
    assert (space.keys() == keys[[0, 3]]).all()
    assert (space.load()[1] == rows[[0, 3]]).all()
    assert space.verify() == []


def test_missing_keys_are_named(space: Space) -> None:
    keys = some_keys(7)
    space.append(keys[:2], some_rows(2))
    named = ", ".join(key.tobytes().hex() for key in keys[2:5])
    with pytest.raises(MissingKeyError, match=rf"clip@\w+ has no vector for {named} and 2 more\."):
        space.load(keys)
    assert space.missing([key.tobytes() for key in keys]).tolist() == [False] * 2 + [True] * 5


@pytest.mark.parametrize(
    ("keys", "rows", "message"),
    [
        (some_keys(2), some_rows(2, 4), r"need \(2, 3\) rows, not \(2, 4\)"),
        (some_keys(2), some_rows(3), r"need \(2, 3\) rows"),
        (some_keys(2), some_rows(2).ravel(), r"need \(2, 3\) rows"),
        (some_keys(2)[[0, 0]], some_rows(2), "a key twice"),
        (some_keys(2), some_rows(2).astype(np.float64), "holds float16; the rows are float64"),
        (some_keys(2), some_rows(2).astype(">f4"), "the rows are"),
        (some_keys(2), np.zeros((2, 3), np.int64), "the rows are int64"),
        (some_keys(2), np.full((2, 3), np.nan, np.float32), "not finite"),
        (some_keys(2), np.full((2, 3), -np.inf, np.float16), "not finite"),
        (some_keys(2), np.full((2, 3), 1e5, np.float32), "too large for float16"),
    ],
)
def test_what_cannot_be_appended_writes_nothing(tmp_path: Path, keys: Any, rows: Any, message: str) -> None:
    space = make_space(FeatureStore.create(tmp_path), dtype="float16")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=message):
        space.append(keys, rows)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_provenance_that_is_no_json_writes_nothing(space: Space) -> None:
    before = sorted(space.path.rglob("*"))
    with pytest.raises(StoreError, match="device is"):
        space.append(some_keys(2), some_rows(2), provenance={"device": object()})
    assert sorted(space.path.rglob("*")) == before


def test_wider_rows_and_no_rows(tmp_path: Path) -> None:
    space = make_space(FeatureStore.create(tmp_path), dtype="float16")
    before = sorted(tmp_path.rglob("*"))
    assert space.append([], np.empty((0, 3), np.float16)) == ""
    assert sorted(tmp_path.rglob("*")) == before
    space.append(some_keys(2), some_rows(2))
    keys, rows = space.load()
    assert rows.dtype == np.float16
    assert (rows == some_rows(2).astype(np.float16)).all()
    assert [part.shape for part in space.load([])] == [(0, 32), (0, 3)]
    with pytest.raises(StoreError, match="the rows are float16"):
        make_space(FeatureStore.open(tmp_path), name="wide").append(keys, rows)


def test_a_space_shows_new_commits_after_refresh(space: Space) -> None:
    reader = FeatureStore.open(space.path.parent.parent).space("clip")
    assert len(reader) == 0
    assert reader.load()[1].shape == (0, 3)
    space.append(some_keys(2), some_rows(2), provenance={"device": "cuda"})
    assert (len(reader), len(space)) == (0, 2)
    reader.refresh()
    assert len(reader) == 2
    assert space.nbytes > 2 * 44


@pytest.mark.parametrize("damage", ["missing", "short", "long", "empty"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_chunk_never_reads_as_zeros(space: Space, damage: str, whole: bool) -> None:
    keys = some_keys(4)
    segment = space.append(keys, some_rows(4))
    chunk = space.path / "vectors" / segment / "c.0.0"
    data = chunk.read_bytes()
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes({"short": data[:-1], "long": data + b"\0", "empty": b""}[damage])
    with pytest.raises(DamagedStoreError, match=f"Segment {segment} is damaged"):
        space.load(None if whole else keys[[1]])


def test_flipped_rows_are_found_on_load_when_asked(space: Space) -> None:
    segment = space.append(some_keys(4), some_rows(4))
    chunk = space.path / "vectors" / segment / "c.0.0"
    data = bytearray(chunk.read_bytes())
    data[5] ^= 4
    chunk.write_bytes(data)
    space.load()
    with pytest.raises(DamagedStoreError, match=f"Segment {segment} is damaged.* crc32c"):
        space.load(verify=True)


@pytest.mark.parametrize("missing", [True, False])
def test_a_changed_array_description_is_refused(space: Space, missing: bool) -> None:
    segment = space.append(some_keys(4), some_rows(4))
    meta = space.path / "vectors" / segment / "zarr.json"
    if missing:
        meta.unlink()
    else:
        meta.write_bytes(meta.read_bytes().replace(b"4", b"5"))
    with pytest.raises(DamagedStoreError, match=f"Segment {segment} is damaged"):
        space.load()


def test_an_unfinished_segment_is_invisible_and_no_damage(space: Space) -> None:
    space.append(some_keys(2), some_rows(2))
    leftover = "ffffffffffffffff-00000000"
    (space.path / "commits" / f".{leftover}.tmp").touch()
    (space.path / "vectors" / leftover).mkdir()
    (space.path / "vectors" / leftover / "zarr.json").write_bytes(b"{")
    assert len(FeatureStore.open(space.path.parent.parent).space("clip")) == 2
    assert space.verify() == []


def test_all_of_one_segment_is_forgotten_and_more_of_another(space: Space) -> None:
    keys, rows = some_keys(4), some_rows(4)
    space.append(keys[:2], rows[:2])
    space.append(keys[1:], rows[1:])
    store = FeatureStore.open(space.path.parent.parent)
    store.forget(keys[:2])
    np.testing.assert_array_equal(store.space("clip").load()[0], keys[2:])
    assert store.verify() == []
