"""Every flipped byte, every missing and every truncated file of a small store is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from photorank.store import FeatureStore
from photorank.store.verify import verify_space, verify_table
from tests.store.helpers import small_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return small_store(tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(autouse=True)
def left_as_it_was(store: FeatureStore) -> Iterator[None]:
    yield
    assert store.verify() == []


def files_of(store: FeatureStore) -> list[Path]:
    """All files but the tables' empty marks, which hold nothing: without them the rows are all there."""
    files = sorted(path for path in store.path.rglob("*") if path.is_file())
    marks = [path for path in files if path.suffix == ".mark"]
    assert len(marks) == 3
    assert all(path.stat().st_size == 0 for path in marks)
    return [path for path in files if path not in marks]


def problems_near(store: FeatureStore, path: Path) -> list[str]:
    """What `verify` finds in the part of the store that holds the file. (The whole each time would take minutes.)"""
    part = path.relative_to(store.path).parts
    if part[0] == "spaces":
        return verify_space(store.path / part[0] / part[1])
    return verify_table(path.parent) if len(part) > 1 else store.verify()


def test_every_flipped_byte_is_found(store: FeatureStore) -> None:
    flipped = 0
    for path in files_of(store):
        data = path.read_bytes()
        for at in range(len(data)):
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([data[at] ^ 1 << at % 8]))
            problems = problems_near(store, path)
            assert any(path.name in problem for problem in problems), f"byte {at} of {path}"
            flipped += 1
        path.write_bytes(data)
    print(f"{flipped} flips in {len(files_of(store))} files, all found")


def test_every_missing_file_is_found(store: FeatureStore) -> None:
    for path in files_of(store):
        hidden = path.rename(store.path.parent / "hidden")
        problems = store.verify()
        assert any(str(path) in problem or path.name == "photorank.json" for problem in problems), path
        hidden.rename(path)


def test_every_truncated_or_longer_file_is_found(store: FeatureStore) -> None:
    for path in files_of(store):
        data = path.read_bytes()
        for changed in (b"", data[: len(data) // 2], data[:-1], data + b"\0", data + data):
            path.write_bytes(changed)
            assert any(path.name in problem for problem in store.verify()), path
        path.write_bytes(data)


def test_a_file_in_the_wrong_place_is_found(store: FeatureStore) -> None:
    """Whole and well sealed, but not what its name says."""
    space = store.space("clip")
    for folder in (space.path / "commits", *sorted((space.path / "vectors").glob("*-*"))):
        record, *_ = sorted(folder.glob("*.*"))
        copy = folder / f"f{record.name[1:]}"
        copy.write_bytes(record.read_bytes())
        assert any(copy.name in problem for problem in store.verify())
        copy.unlink()
    (store.path / "spaces" / "other").mkdir()
    assert any("is no space" in problem for problem in store.verify())
    (store.path / "spaces" / "other").rmdir()
    renamed = space.path.rename(space.path.with_name("clip@0123456789abcdef"))
    assert any("fingerprint" in problem for problem in store.verify())
    renamed.rename(space.path)
