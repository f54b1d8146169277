"""The tables of photos, files and failures."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.errors import DamagedStoreError, StoreError
from photorank.store import FailureRow, FeatureStore, FileRow, PhotoRow
from photorank.store.tables import FILES, TABLES, add_rows
from tests.store.helpers import small_store, some_keys

KEYS = [key.tobytes() for key in some_keys(4)]


def test_empty_tables_have_their_columns(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path)
    tables = [store.photos(), store.files(), store.failures()]
    for table, kind in zip(tables, TABLES, strict=True):
        assert table.schema == kind.schema
        assert table.num_rows == 0
    store.add_photos([])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photorank.json"]


def test_rows_come_back(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path)
    photo = PhotoRow(KEYS[0], 6000, 4000, "JPEG", 8)
    file = FileRow(os.fsencode("/é/\udcff.jpg"), 1 << 40, time.time_ns(), KEYS[0], None, "Leica \N{CAMERA}")
    at = datetime(2024, 5, 1, 10, 30, 0, 123456, UTC)
    failure = FailureRow(b"/x.jpg", 3, -1, None, "", "decode", "cannot read \udcff", "0.1.0", at)
    store.add_photos([photo])
    store.add_files([file])
    store.add_failures([failure])
    store = FeatureStore.open(tmp_path)
    assert [PhotoRow(**row) for row in store.photos().to_pylist()] == [photo]
    assert [FileRow(**row) for row in store.files().to_pylist()] == [file]
    (row,) = store.failures().to_pylist()
    assert (row["at"], row["error"], row["key"]) == (at, "cannot read \\udcff", None)
    assert store.verify() == []


def test_plain_pyarrow_reads_the_tables(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    for kind in TABLES:
        (path,) = (store.path / kind.folder).glob("*.parquet")
        assert pq.read_table(path, partitioning=None).schema.names == kind.schema.names


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=6), max_size=4))
def test_which_row_counts(tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, int]]]) -> None:
    store = FeatureStore.create(tmp_path_factory.mktemp("store") / "s")
    photos: dict[bytes, int] = {}
    files: dict[bytes, int] = {}
    failures: dict[tuple[bytes, str], int] = {}
    number = 0
    for batch in batches:
        rows: list[tuple[PhotoRow, FileRow, FailureRow]] = []
        for which, extractor in batch:
            number += 1
            key, path, mark = KEYS[which], bytes([97 + which]), str(extractor)
            photos.setdefault(key, number)
            files[path] = number
            failures[path, mark] = number
            rows.append(
                (
                    PhotoRow(key, number, 1, "PNG", 1),
                    FileRow(path, number, 1, key),
                    FailureRow(path, number, 1, key, mark, "extract", "", "0"),
                )
            )
        store.add_photos([row[0] for row in rows])
        store.add_files([row[1] for row in rows])
        store.add_failures([row[2] for row in rows])
    assert {row["key"]: row["width"] for row in store.photos().to_pylist()} == photos
    assert {row["path"]: row["size"] for row in store.files().to_pylist()} == files
    assert {(row["path"], row["fingerprint"]): row["size"] for row in store.failures().to_pylist()} == failures
    assert store.photos()["width"].to_pylist() == sorted(photos.values())
    assert store.files()["size"].to_pylist() == sorted(files.values())
    assert store.failures().num_rows == len(failures)


@pytest.mark.parametrize(
    "row",
    [
        PhotoRow(b"short", 1, 1, "PNG", 1),
        PhotoRow(KEYS[0], 1 << 31, 1, "PNG", 1),
        PhotoRow(KEYS[0], 1, 1, "PNG", 300),
        PhotoRow(None, 1, 1, "PNG", 1),  # type: ignore[arg-type]
        PhotoRow(KEYS[0], 1, 1, 5, 1),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_writes_nothing(tmp_path: Path, row: PhotoRow) -> None:
    store = FeatureStore.create(tmp_path)
    with pytest.raises(StoreError, match="of photos"):
        store.add_photos([row])
    assert not (tmp_path / "photos").exists()


def test_a_time_needs_its_zone(tmp_path: Path) -> None:
    naive: Any = datetime(2024, 1, 1)
    with pytest.raises(StoreError, match="time zone"):
        FeatureStore.create(tmp_path).add_failures([FailureRow(b"", 1, 1, None, "", "", "", "", naive)])


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    (path,) = (tmp_path / "files").glob("*.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:10] + bytes([data[10] ^ 1]) + data[11:])
    with pytest.raises(DamagedStoreError, match=f"{path.name} is damaged"):
        store.files()
    path.write_bytes((tmp_path / "photos").glob("*.parquet").__next__().read_bytes())
    with pytest.raises(DamagedStoreError, match="no file of the table of files"):
        store.files()


def test_the_last_row_counts_even_after_the_clock_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_rows(tmp_path, FILES, [FileRow(b"a", 1, 1, KEYS[0])])
    monkeypatch.setattr("photorank.store.identity._last_time", 0)
    monkeypatch.setattr("time.time_ns", lambda: 1000)
    add_rows(tmp_path, FILES, [FileRow(b"a", 2, 1, KEYS[0])])
    assert FeatureStore(tmp_path).files()["size"].to_pylist() == [2]
