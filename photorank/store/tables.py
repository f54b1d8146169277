"""The tables of photos, of files seen and of failures: append-only sealed Parquet files, one a batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photorank.errors import DamagedStoreError, StoreError
from photorank.store.commits import list_segments, put_aside, read_all
from photorank.store.durable import make_folder, sync_folder, write_synced, writing
from photorank.store.identity import canonical_json, new_segment_id
from photorank.store.keys import KEY_BYTES
from photorank.store.sealed import read_sealed, sealed_bytes
from photorank.store.verify import marker_of

_REPLACES = "photorank.replaces"


@dataclass(frozen=True)
class PhotoRow:
    """What is true of a photo's content. `width`, `height`: pixels, upright; `orientation`: EXIF's, 1 to 8."""

    key: bytes
    width: int
    height: int
    format: str
    orientation: int


@dataclass(frozen=True)
class FileRow:
    """What was seen where. `path`: `os.fsencode` of it; `size`: bytes; `taken_at`, `camera`: as EXIF has them."""

    path: bytes
    size: int
    mtime_ns: int
    key: bytes
    taken_at: str | None = None
    camera: str | None = None


@dataclass(frozen=True)
class FailureRow:
    """What went wrong with a file. `fingerprint`: of the extractor that it concerns, "" for every one; `key`: None when
    the file could not even be hashed; `version`: photorank's; `at`: with a time zone, and one for all rows of a
    failure that concerns several extractors."""

    path: bytes
    size: int
    mtime_ns: int
    key: bytes | None
    fingerprint: str
    stage: str
    error: str
    version: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


TableRow: TypeAlias = PhotoRow | FileRow | FailureRow


@dataclass(frozen=True)
class TableKind:
    """One table. Of several rows with equal `by` the `which` written counts."""

    folder: str
    schema: pa.Schema
    by: tuple[str, ...]
    which: Literal["first", "last"]


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


_KEY = pa.binary(KEY_BYTES)

PHOTOS = TableKind(
    "photos",
    pa.schema(
        [
            _field("key", _KEY),
            _field("width", pa.int32()),
            _field("height", pa.int32()),
            _field("format", pa.string()),
            _field("orientation", pa.int8()),
        ]
    ),
    ("key",),
    "first",
)
FILES = TableKind(
    "files",
    pa.schema(
        [
            _field("path", pa.binary()),
            _field("size", pa.int64()),
            _field("mtime_ns", pa.int64()),
            _field("key", _KEY),
            _field("taken_at", pa.string(), nullable=True),
            _field("camera", pa.string(), nullable=True),
        ]
    ),
    ("path",),
    "last",
)
FAILURES = TableKind(
    "failures",
    pa.schema(
        [
            _field("path", pa.binary()),
            _field("size", pa.int64()),
            _field("mtime_ns", pa.int64()),
            _field("key", _KEY, nullable=True),
            _field("fingerprint", pa.string()),
            _field("stage", pa.string()),
            _field("error", pa.string()),
            _field("version", pa.string()),
            _field("at", pa.timestamp("us", tz="UTC")),
        ]
    ),
    ("path", "fingerprint"),
    "last",
)
TABLES = (PHOTOS, FILES, FAILURES)


@dataclass(frozen=True)
class TableFile:
    """One file of a table, and the files that it replaces."""

    rows: pa.Table
    replaces: list[str]


def add_rows(store: Path, kind: TableKind, rows: Sequence[TableRow]) -> None:
    """Commit rows to a table: on return they are on the disk, after an error or a crash before none of them is there.
    StoreError when a value does not fit its column (nothing is written) or the disk is full or read-only."""
    if not rows:
        return
    folder = store / kind.folder
    table = _to_table(kind, rows)
    with writing(f"A batch of {len(rows)} rows", folder):
        make_folder(folder)
        write_file(folder, new_segment_id(list_segments(folder)), table)


def write_file(folder: Path, segment: str, table: pa.Table, replaces: Iterable[str] = ()) -> None:
    """Commit one file of a table; OSError when that fails, and then nothing is left of it."""
    temporary, marker = folder / f".{segment}.tmp", marker_of(folder, segment)
    try:
        write_synced(temporary, sealed_bytes(table, {_REPLACES: canonical_json(list(replaces)).decode()}))
        write_synced(marker, b"")
        sync_folder(folder)  # the marker is there before the file is, so a file that is not there any more was lost
        temporary.replace(folder / f"{segment}.parquet")
    except OSError:
        marker.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def read_rows(store: Path, kind: TableKind) -> pa.Table:
    """The visible rows of a table, in the order in which they were written."""
    return visible_rows(read_files(store, kind), kind)


def read_everything(store: Path, kind: TableKind) -> pa.Table:
    """All rows of a table that are on the disk, those of files that were put aside too, in the order of their ids."""
    aside = {segment: read_file(path, kind) for segment, path in put_aside(store / kind.folder).items()}
    files = aside | read_files(store, kind)
    return pa.concat_tables([pa.Table.from_batches([], kind.schema), *(files[each].rows for each in sorted(files))])


def read_files(store: Path, kind: TableKind) -> dict[str, TableFile]:
    """All files of a table, replaced ones too, in id order. They may come and go meanwhile: what is returned was there
    at one time."""
    folder = store / kind.folder
    return read_all(folder, lambda segment: read_file(folder / f"{segment}.parquet", kind))


def visible_files(files: dict[str, TableFile]) -> list[str]:
    """Those of a table's files that no other one replaces."""
    replaced = {segment for file in files.values() for segment in file.replaces}
    return [segment for segment in files if segment not in replaced]


def visible_rows(files: dict[str, TableFile], kind: TableKind) -> pa.Table:
    """The visible rows of a table's files, in the order in which they were written."""
    batches = [files[segment].rows for segment in visible_files(files)]
    return _visible(pa.concat_tables([pa.Table.from_batches([], kind.schema), *batches]), kind)


def read_file(path: Path, kind: TableKind) -> TableFile:
    """Read one file of a table; DamagedStoreError when it is none, or not as it was written."""
    table, metadata = read_sealed(path)
    try:
        rows = table.select(kind.schema.names).cast(kind.schema)
        return TableFile(rows, json.loads(metadata[_REPLACES]))
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise DamagedStoreError(f"{path} is no file of the table of {kind.folder}: {error}") from None


def _visible(table: pa.Table, kind: TableKind) -> pa.Table:
    """The table without the rows that others stand for."""
    if not len(table):  # of no chunk at all, `combine_chunks` would import pandas
        return table
    values: NDArray[np.int64] = np.zeros(len(table), np.int64)  # equal numbers for equal values of `by`
    for name in kind.by:
        numbers, count = _numbered(table[name])
        values = values * count + numbers
    if kind.which == "last":
        values = values[::-1]
    rows = np.unique(values, return_index=True)[1]
    if len(rows) == len(table):
        return table
    if kind.which == "last":
        rows = len(table) - 1 - rows
    # `pa.array` and `to_numpy` would import pandas too, to see whether they deal with it.
    rows = np.sort(rows)
    return table.take(pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)]))


def _numbered(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], int]:
    """A column's values as numbers, (n,) int64, equal for equal ones, and how many different ones there are."""
    encoded = column.dictionary_encode().combine_chunks()
    numbers = np.frombuffer(encoded.indices.buffers()[1] or b"", np.int32, len(encoded), encoded.offset * 4)
    return numbers.astype(np.int64), len(encoded.dictionary)


def _to_table(kind: TableKind, rows: Sequence[TableRow]) -> pa.Table:
    columns: list[pa.Array] = []
    for column in kind.schema:
        values = [getattr(row, column.name) for row in rows]
        try:
            columns.append(_to_array(column, values))
        except (pa.ArrowException, AttributeError, TypeError, ValueError, OverflowError) as error:
            raise StoreError(f"The column {column.name} of {kind.folder} cannot hold that: {error}") from None
        if columns[-1].null_count and not column.nullable:
            raise StoreError(f"The column {column.name} of {kind.folder} needs a value in every row.")
    return pa.Table.from_arrays(columns, schema=kind.schema)


def _to_array(column: pa.Field, values: list[Any]) -> pa.Array:
    if pa.types.is_string(column.type):
        # An error's text may quote a path that is no Unicode.
        values = [value if value is None else value.encode("utf-8", "backslashreplace").decode() for value in values]
    if pa.types.is_timestamp(column.type) and any(value.tzinfo is None for value in values):
        raise ValueError("a time without its time zone")
    return pa.array(values, column.type)
