"""What lies on the disk, and which stores are opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from photorank.errors import DamagedStoreError, StoreError
from photorank.store import FeatureStore, canonical_json, fingerprint
from photorank.store.identity import is_segment_id, new_segment_id
from tests.store.helpers import SPEC, make_space, small_store, some_keys, some_rows


def test_a_space_opens_with_plain_zarr_and_pyarrow(tmp_path: Path) -> None:
    space = make_space(FeatureStore.create(tmp_path), dim=5, dtype="float16")
    keys, rows = some_keys(7), some_rows(7, 5).astype(np.float16)
    space.append(keys, rows)

    # From here on without photorank.
    (folder,) = (tmp_path / "spaces").iterdir()
    group = zarr.open_group(folder / "vectors", mode="r")
    (record,) = (folder / "commits").glob("*.parquet")
    read_keys = pq.read_table(record)["key"].to_pylist()
    array = group[record.stem]
    assert isinstance(array, zarr.Array)
    assert (array[:] == rows).all()
    assert read_keys == [key.tobytes() for key in keys]
    assert group.attrs["spec"] == SPEC
    assert group.attrs["role"] == "visual"
    assert group.attrs["provenance"] == {"device": "cpu"}
    assert folder.name == f"clip@{fingerprint(SPEC)}"
    assert json.loads((tmp_path / "photorank.json").read_text()) == {"format": 1}


def test_chunks_are_plain_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photorank.store.arrays.CHUNK_BYTES", 48)
    space = make_space(FeatureStore.create(tmp_path))
    rows = np.zeros((9, 3), np.float32)  # zeros are written too
    rows[8] = 1
    segment = space.append(some_keys(9), rows)
    chunks = sorted((space.path / "vectors" / segment).glob("c.*"))
    assert [chunk.stat().st_size for chunk in chunks] == [3 * 12 + 4] * 3
    assert b"".join(chunk.read_bytes()[:-4] for chunk in chunks) == rows.tobytes()
    metadata = pq.read_metadata(space.path / "commits" / f"{segment}.parquet").metadata
    files = json.loads(metadata[b"photorank.files"])
    assert set(files) == {"zarr.json", f"{segment}/zarr.json", *(f"{segment}/c.{i}.0" for i in range(3))}
    assert metadata[b"photorank.rows"] == b"9"
    assert metadata[b"photorank.replaces"] == b"[]"


def test_reading_imports_nothing_heavy(tmp_path: Path) -> None:
    small_store(tmp_path)
    program = """
import sys
from photorank.store import FeatureStore
store = FeatureStore.open(sys.argv[1])
store.photos(), store.files(), store.failures()
space = store.space("clip")
assert space.missing([b"x" * 32]).all() and len(space.load()[0]) == 4
heavy = {"torch", "zarr", "pandas", "pyarrow.dataset"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path)
    (tmp_path / "photorank.json").write_text('{"format": 2}')
    for door in (FeatureStore.open, FeatureStore.create):
        with pytest.raises(StoreError, match=r"has format 2; this photorank reads format 1. Upgrade photorank"):
            door(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "1"}', '{"format": true}', '{"format": 0}', "\udcff"])
def test_a_damaged_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "photorank.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedStoreError, match=r"photorank\.json is damaged"):
        FeatureStore.open(tmp_path)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StoreError, match=r"is no feature store .* `photorank extract PHOTOS --store .*` makes one"):
            FeatureStore.open(path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(StoreError, match="not empty"):
        FeatureStore.create(tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        FeatureStore.create(tmp_path / "photo.jpg")
    with pytest.raises(StoreError):
        FeatureStore.open(tmp_path / "photo.jpg")


def test_create_opens_what_is_there(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "deep" / "store")
    make_space(store).append(some_keys(2), some_rows(2))
    assert len(FeatureStore.create(store.path).space("clip")) == 2
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".photorank.json.0.tmp").touch()  # what a killed `create` leaves behind
    FeatureStore.create(tmp_path / "hidden")


def test_fingerprints() -> None:
    assert fingerprint({"b": (1, 2), "a": 0.1}) == fingerprint({"a": 0.1, "b": [1, 2]})
    assert canonical_json({"b": (1, 2.5e-7), "a": "é", "c": {"x": None, "y": True}}) == (
        '{"a":"é","b":[1,2.5e-07],"c":{"x":null,"y":true}}'.encode()
    )
    assert fingerprint({}) == "44136fa355b3678a"
    for wrong in ({"a": float("nan")}, {"a": {1: 2}}, {"a": np.float32(1)}, {"a": b""}, {"a": "\udcff"}, {"a": {1}}):
        with pytest.raises(StoreError):
            fingerprint(wrong)


def test_segment_ids_ascend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photorank.store.identity._last_time", 0)
    ids = [new_segment_id() for _ in range(2000)]
    assert ids == sorted(ids)
    assert len({each[:16] for each in ids}) == 2000
    assert all(is_segment_id(each) for each in ids)
    # As after a clock that was set back.
    assert new_segment_id(["ffffffffffffff00-00000000"]).startswith("ffffffffffffff01-")
    with pytest.raises(StoreError, match="No segment can follow"):
        new_segment_id(["ffffffffffffffff-00000000"])


def test_references(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path)
    with pytest.raises(StoreError, match="no spaces yet"):
        store.space("clip")
    one = store.create_space("clip", {"n": 1}, dim=2, dtype="float16", role="visual")
    two = store.create_space("clip", {"n": 2}, dim=2, dtype="float16", role="visual")
    other = store.create_space("iqa", {"n": 1}, dim=2, dtype="float32", role="statistic")
    assert [len(space) for space in store.spaces()] == [0, 0, 0]
    assert [space.name for space in store.spaces()] == ["clip", "clip", "iqa"]
    assert store.space("iqa").fingerprint == other.fingerprint
    assert store.space(f"clip@{one.fingerprint}").spec == {"n": 1}
    assert store.space(f"clip@{two.fingerprint[:8]}").spec == {"n": 2}
    with pytest.raises(StoreError, match=r"could be clip@\w+, clip@\w+"):
        store.space("clip")
    with pytest.raises(StoreError, match=rf"no space 'cli'; it has clip@.*, iqa@{other.fingerprint}"):
        store.space("cli")
    found = store.find_space("clip", {"n": 2})
    assert found is not None
    assert found.fingerprint == two.fingerprint
    assert store.find_space("clip", {"n": 3}) is None


def test_making_spaces(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path)
    space = make_space(store)
    space.append(some_keys(1), some_rows(1))
    assert len(make_space(store)) == 1
    assert (space.dim, space.dtype, space.role, space.spec) == (3, np.float32, "visual", SPEC)
    with pytest.raises(StoreError, match="the spec leaves something out"):
        make_space(store, dim=4)
    for name in ("", "a b", "-a", "a/b", ".a", "a@b", "é", ".."):
        with pytest.raises(StoreError, match="cannot name a feature space"):
            make_space(store, name=name)
    with pytest.raises(StoreError, match="role"):
        store.create_space("a", {}, dim=1, dtype="float16", role="other")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="dtype"):
        store.create_space("a", {}, dim=1, dtype="float64", role="visual")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="dim"):
        store.create_space("a", {}, dim=0, dtype="float16", role="visual")
    assert [path.name for path in (tmp_path / "spaces").iterdir()] == [space.path.name]


def test_stray_files_are_ignored(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    space = store.space("clip")
    for folder in (tmp_path, tmp_path / "photos", tmp_path / "spaces", space.path / "commits", space.path / "vectors"):
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "._copy.parquet").write_bytes(b"x")
    assert store.verify() == []
    assert len(FeatureStore.open(tmp_path).space("clip")) == 4
    assert store.photos().num_rows == 1
    (space.path / "commits" / "copy.parquet").touch()
    assert len(FeatureStore.open(tmp_path).space("clip")) == 4
    assert len(store.verify()) == 1
