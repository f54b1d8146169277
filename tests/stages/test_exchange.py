"""Vectors out of a store and into one, and photos out of it, through the command line and the Python doors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from photorank.config import ExtractConfig
from photorank.errors import StoreError
from photorank.photos import photo_key
from photorank.stages.exchange import export, forget, import_export, import_features
from photorank.stages.extract import extract
from photorank.store import FeatureStore
from tests.conftest import Run
from tests.store.helpers import contents, make_space, small_store, some_keys, some_rows

FORMATS: list[Any] = ["hdf5", "parquet", "npy"]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A space of float32 vectors with overlapping segments, one of float16, and one without vectors."""
    store = small_store(tmp_path / "store")
    make_space(store, name="half", dtype="float16").append(some_keys(5), some_rows(5))
    make_space(store, name="empty")
    return store


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_exported_is_imported_again(
    store: FeatureStore, tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photorank.store.exchange._BATCH_BYTES", 24)  # two rows a batch
    out = tmp_path / ("out.h5" if form == "hdf5" else "out")
    assert [(each.space.split("@")[0], each.rows) for each in export(store.path, out, form)] == [
        ("clip", 4), ("empty", 0), ("half", 5)
    ]  # fmt: skip
    moved = import_export(tmp_path / "new", out)
    assert [(each.rows, each.new) for each in moved] == [(4, 4), (0, 0), (5, 5)]
    new = FeatureStore.open(tmp_path / "new")
    assert new.verify() == []
    for space in store.spaces():
        again = new.space(space.name)
        for field in ("fingerprint", "spec", "role", "provenance", "dim", "dtype"):
            assert getattr(again, field) == getattr(space, field)
        assert list(contents(again).items()) == list(contents(space).items())
    assert [each.new for each in import_export(tmp_path / "new", out)] == [0, 0, 0]
    with pytest.raises(StoreError, match="is there already"):
        export(store.path, out, form)
    assert not list(tmp_path.glob(".*"))


def test_exports_open_with_their_own_libraries(store: FeatureStore, tmp_path: Path) -> None:
    keys, rows = store.space("half").load()
    for form in FORMATS:
        export(store.path, tmp_path / form, form, ["half"])
    name = store.space("half").path.name
    with h5py.File(tmp_path / "hdf5") as file:
        assert list(file) == [name]
        assert (file[name]["keys"][:] == keys).all()
        assert (file[name]["vectors"][:] == rows).all()
    table = pq.read_table(tmp_path / "parquet" / f"{name}.parquet")
    assert table.schema.field("vector").type == pa.list_(pa.float16(), 3)
    assert table["key"].to_pylist() == [key.tobytes() for key in keys]
    assert np.array_equal(np.array(table["vector"].to_pylist(), np.float16), rows)
    assert (np.load(tmp_path / "npy" / f"{name}.npy") == rows).all()
    assert (np.load(tmp_path / "npy" / f"{name}.keys.npy") == keys).all()


def test_an_export_that_contradicts_itself_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    export(store.path, tmp_path / "out", "npy", ["clip"])
    (about,) = (tmp_path / "out").glob("*.json")
    vectors, keys = about.with_suffix(".npy"), about.with_suffix(".keys.npy")
    text, rows, held = about.read_text(), np.load(vectors), np.load(keys)

    def refused(message: str) -> None:
        with pytest.raises(StoreError, match=message):
            import_export(tmp_path / "new", tmp_path / "out")
        assert not (tmp_path / "new").exists()

    about.write_text(text.replace("224", "225", 1))
    refused("but the spec beside them has the fingerprint .* refused")
    about.write_text(text.replace('"dim": 3', '"dim": 4'))
    refused(r"float32 vectors of shape \(4, 3\); it says 4 float32")
    about.write_text(text[:-9])
    refused("cannot be read")
    about.write_text(text)
    np.save(keys, held[[0, 1, 2, 0]])
    refused("not as many different keys")
    np.save(keys, held)
    vectors.write_bytes(b"not an array")
    refused("cannot be read")
    np.save(vectors, rows)
    # The store has that space, with other vectors in it.
    other = FeatureStore.create(tmp_path / "other")
    make_space(other, dim=5)
    with pytest.raises(StoreError, match=r"holds 5 float32 .* not 3 float32"):
        import_export(other.path, tmp_path / "out")


@pytest.mark.parametrize("name", ["broken.h5", "broken.parquet"])
def test_a_broken_file_and_a_foreign_one_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 or HDF, but broken")
    with pytest.raises(StoreError, match=f"{name} cannot be read"):
        import_export(tmp_path / "new", tmp_path / name)
    pd.DataFrame({"a": [1.0]}).to_parquet(tmp_path / "other.parquet")
    for path, message in (("other.parquet", "was not written by"), ("absent.h5", "There is no")):
        with pytest.raises(StoreError, match=message):
            import_export(tmp_path / "new", tmp_path / path)
    assert not (tmp_path / "new").exists()


def test_damaged_vectors_are_never_exported(store: FeatureStore, tmp_path: Path) -> None:
    chunk = next((store.space("half").path / "vectors").glob("*/c.0.0"))
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)
    for form in FORMATS:
        with pytest.raises(StoreError, match=r"is damaged: .* crc32c"):
            export(store.path, tmp_path / "out", form)
        assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def write_foreign(
    folder: Path, form: str, photos: list[str], rows: np.ndarray[Any, Any]
) -> tuple[Path, dict[str, Any]]:
    """The features as another program might have written them, and how to import that file."""
    path = folder / f"features.{form}"
    if form == "h5":
        with h5py.File(path, "w") as file:
            file["data/paths"], file["data/embeddings"] = photos, rows
        return path, {"photos": "data/paths", "vectors": "data/embeddings"}
    if form == "npz":
        np.savez(path, paths=np.array(photos), features=rows)
    elif form == "npy":
        np.save(path, rows)
        (folder / "list.txt").write_text("\n".join(photos))
        return path, {"photos": str(folder / "list.txt")}
    elif form == "parquet":
        pd.DataFrame({"path": photos, "vector": list(rows)}).to_parquet(path)
    else:
        columns = {f"d{number}": rows[:, number] for number in range(rows.shape[1])}
        pd.DataFrame({"path": photos, **columns}).to_csv(path, index=False)
    return path, {}


@pytest.mark.parametrize("form", ["h5", "npz", "npy", "parquet", "csv"])
def test_features_of_another_program(photo_folder: Path, tmp_path: Path, form: str) -> None:
    """Photos by path, seen before or not, and by key; twice is the same space."""
    extract([photo_folder], tmp_path / "store", ExtractConfig())
    paths = sorted(path for path in photo_folder.rglob("*") if path.is_file())
    keys = [photo_key(path.read_bytes()) for path in paths]
    names = [str(path.relative_to(photo_folder)) for path in paths[:-1]] + [keys[-1].hex()]
    rows = some_rows(len(paths), 4)
    for where in ("store", "new"):
        path, options = write_foreign(tmp_path, form, names, rows)
        moved = import_features(
            tmp_path / where, path, "own", "visual", "my net, epoch 3", folder=photo_folder, **options
        )
        assert (moved.rows, moved.new) == (len(set(keys)), len(set(keys)))
        store = FeatureStore.open(tmp_path / where)
        assert store.verify() == []
        assert np.allclose(store.space("own").load(keys)[1], rows)
        assert store.space("own").spec == {"kind": "imported", "description": "my net, epoch 3"}
        seen = dict(zip(store.files()["path"].to_pylist(), store.files()["key"].to_pylist(), strict=True))
        assert all(seen[str(path).encode()] == key for path, key in zip(paths[:-1], keys, strict=False))
        again = import_features(
            tmp_path / where, path, "own", "visual", "my net, epoch 3", folder=photo_folder, **options
        )
        assert (again.space, again.new) == (moved.space, 0)


def test_features_of_photos_that_are_not_there(photo_folder: Path, tmp_path: Path) -> None:
    """Keyed by path, found by path, and no photo's key once there is a photo."""
    names = [f"away/{number}.jpg" for number in range(3)] + ["series-1/IMG_0.jpg"]
    rows = some_rows(4, 5)
    np.savez(tmp_path / "a.npz", paths=names, vectors=rows)
    about: Any = ("own", "visual", "net")
    moved = import_features(tmp_path / "S", tmp_path / "a.npz", *about, folder=photo_folder, absent=True)
    assert (moved.rows, moved.new) == (4, 4)
    store = FeatureStore.open(tmp_path / "S")
    seen = dict(zip(store.files()["path"].to_pylist(), store.files()["key"].to_pylist(), strict=True))
    keys = [seen[str(photo_folder / name).encode()] for name in names]
    assert np.array_equal(store.space("own").load(keys)[1], rows.astype(np.float32))
    assert keys[3] == photo_key((photo_folder / names[3]).read_bytes())
    assert import_features(tmp_path / "S", tmp_path / "a.npz", *about, folder=photo_folder, absent=True).new == 0
    (photo_folder / "away").mkdir()
    shutil.copy(photo_folder / "series-2" / "IMG_0.jpg", photo_folder / names[0])
    report = extract([photo_folder], tmp_path / "S", ExtractConfig())
    assert report.keys[str(photo_folder / names[0])] == photo_key((photo_folder / names[0]).read_bytes()) != keys[0]


def test_foreign_features_that_cannot_be_right(tmp_path: Path) -> None:
    key = some_keys(2)[0].tobytes().hex()

    def refused(message: str, file: str, name: str = "own", description: str = "net", **options: Any) -> None:
        with pytest.raises(StoreError, match=message):
            import_features(tmp_path / "new", tmp_path / file, name, "visual", description, **options)
        assert not (tmp_path / "new" / "spaces").exists()

    def csv(text: str) -> str:
        (tmp_path / "a.csv").write_text(text)
        return "a.csv"

    refused(
        r"row 2: the store does not know that photo, and .*absent\.jpg cannot be read",
        csv(f"path,x\n{key},1\nabsent.jpg,2\n"),
    )
    (tmp_path / "empty.jpg").touch()
    refused(r"row 1: .*empty\.jpg is empty", csv("path,x\nempty.jpg,1\n"), absent=True)
    refused("rows 1 and 2 are of one photo, but differ", csv(f"key,x\n{key},1\n{key},2\n"))
    refused("empty cells", csv(f"key,x\n{key},\n"))
    refused("row 1: the vector has a value that is not finite", csv(f"key,x\n{key},inf\n"))
    refused("must be said with --photos", csv("a,b,x\nu,v,1\n"))
    refused("it has no 'photo'", csv(f"key,x\n{key},1\n"), photos="photo")
    refused("neither a column of lists nor one of numbers", csv(f"key\n{key}\n"))
    np.savez(tmp_path / "none.npz", keys=np.empty((0, 32), np.uint8), features=np.empty((0, 3), np.float32))
    refused("has no rows", "none.npz")
    refused("cannot name a feature space", csv(f"key,x\n{key},1\n"), name="a b")
    refused("A description must say", "a.csv", description=" ")
    refused("There is no", "b.csv")
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    refused("says nothing of its photos", "a.npy")
    (tmp_path / "a.txt").write_text(key)
    refused("2 vectors for 1 photos", "a.npy", photos=str(tmp_path / "a.txt"))
    np.savez(tmp_path / "a.npz", keys=np.array([key], object), features=np.zeros((1, 3)))
    refused("cannot be read: Object arrays", "a.npz")
    pd.DataFrame({"key": [key, key[::-1]], "vector": [[1.0], [1.0, 2.0]]}).to_parquet(tmp_path / "a.parquet")
    refused("different lengths", "a.parquet")
    (tmp_path / "a.pkl").write_bytes(b"")
    refused("is of no kind that can be imported", "a.pkl")


def test_forgotten_photos_are_gone_and_the_others_stay(photo_folder: Path, tmp_path: Path) -> None:
    report = extract([photo_folder], tmp_path / "S", ExtractConfig())
    store = FeatureStore.open(tmp_path / "S")
    (space,) = store.spaces()
    before = contents(space)
    (first, key), (_, other), *_ = report.keys.items()
    told = forget(store.path, [first, other.hex()])
    assert told["photos"] == 2
    assert told["vectors"] == {space.path.name: 2}
    assert store.verify() == []
    space.refresh()
    assert contents(space) == {each: row for each, row in before.items() if each not in (key, other)}
    assert {key, other}.isdisjoint(store.files()["key"].to_pylist() + store.photos()["key"].to_pylist())
    everything = b"".join(path.read_bytes() for path in store.path.rglob("*") if path.is_file())
    for each in (key, other):
        assert each not in everything
        assert np.array(before[each], np.float32).tobytes() not in everything
    assert first.encode() not in everything
    with pytest.raises(StoreError, match="knows no photo"):
        forget(store.path, [first])
    assert forget(store.path, [str(photo_folder)])["photos"] == len(before) - 2
    assert len(FeatureStore.open(store.path).space("iqa")) == 0
    assert extract([photo_folder], store.path, ExtractConfig()).computed == {space.path.name: len(before)}


def test_two_extracts_on_one_store_at_once(photo_folder: Path, tmp_path: Path) -> None:
    """Overlapping photos: both finish, one visible row a key, nothing lost."""
    store, paths = tmp_path / "S", sorted(str(path) for path in photo_folder.rglob("*") if path.is_file())
    calls = [
        subprocess.Popen([sys.executable, "-m", "photorank", "extract", *part, "--store", store],
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for part in (paths[:-1], paths[1:])
    ]  # fmt: skip
    for call in calls:
        _, error = call.communicate()
        assert call.returncode == 0, error.decode()
    opened = FeatureStore.open(store)
    assert opened.verify() == []
    extract([photo_folder], tmp_path / "alone", ExtractConfig())
    assert contents(opened.space("iqa")) == contents(FeatureStore.open(tmp_path / "alone").space("iqa"))
    assert sorted(opened.files()["path"].to_pylist()) == [path.encode() for path in paths]


def test_the_commands(photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    store, out = tmp_path / "S", tmp_path / "out.h5"
    for part in sorted(photo_folder.iterdir()):
        photorank("extract", part, "--store", store)

    def told(*words: object) -> Any:
        done = photorank("store", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (space,) = told("info", store)["spaces"]
    name, rows = f"{space['name']}@{space['fingerprint']}", space["rows"]
    assert told("compact", store)["merged"][name] == space["segments"]
    assert told("compact", store)["merged"][name] == 0
    assert told("gc", store)["segments"] == 0
    freed = told("gc", store, "--older-than", "0")
    assert freed["segments"] >= space["segments"]
    assert freed["bytes"] > 0
    assert told("verify", store)["problems"] == []
    assert told("export", store, out)["spaces"] == [{"space": name, "rows": rows, "new": rows}]
    assert told("import", tmp_path / "new", out)["spaces"] == [{"space": name, "rows": rows, "new": rows}]
    assert told("forget", store, photo_folder)["vectors"] == {name: rows}
    assert told("rm-space", store, "iqa")["space"] == name
    assert told("info", store)["spaces"] == []

    assert "nothing to merge" in photorank("store", "compact", tmp_path / "new").stdout
    assert f"{rows} of them new" in photorank("store", "import", store, out).stdout
    assert "0 segments and files deleted" in photorank("store", "gc", tmp_path / "new").stdout
    assert "wrote" in photorank("store", "export", store, tmp_path / "p", "--format", "parquet").stdout
    assert f"{name} deleted" in photorank("store", "rm-space", store, name).stdout
    unknown = photorank("store", "forget", store, "absent.jpg")
    assert (unknown.returncode, "knows no photo 'absent.jpg'" in unknown.stderr) == (1, True)
    half = photorank("store", "import", store, out, "--name", "own")
    assert (half.returncode, "--description" in half.stderr) == (2, True)
