"""Commit records: one sealed Parquet file a segment, with its key per row and a digest of each of its files.

A segment is visible when `commits/<segment>.parquet` is there. The record's metadata:
`photorank.segment`, `photorank.rows`, `photorank.files` (JSON: path below vectors/ to sha256; with the group's
zarr.json),`photorank.replaces` (JSON: segments that it makes invisible) and `photorank.provenance` (JSON).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from photorank.errors import DamagedStoreError
from photorank.store.arrays import Rows, write_array
from photorank.store.durable import names_in, sync_folder, write_synced
from photorank.store.identity import JSONDict, canonical_json, is_segment_id
from photorank.store.keys import KEY_BYTES, KeyArray, keys_from_arrow, keys_to_arrow
from photorank.store.sealed import read_sealed, sealed_bytes

_SCHEMA = pa.schema([pa.field("key", pa.binary(KEY_BYTES), nullable=False)])

T = TypeVar("T")


class NewArray(NamedTuple):
    """Rows to be written: `rows_of(start, stop)` gives them, (stop - start, dim) of the dtype."""

    dim: int
    dtype: np.dtype[Any]
    rows_of: Callable[[int, int], Rows]


@dataclass
class Commit:
    """One commit record. `keys`: (n, 32) uint8, of the segment's rows. `files`: path below vectors/ to sha256."""

    segment: str
    keys: KeyArray
    files: dict[str, str]
    replaces: list[str]
    provenance: JSONDict


def list_segments(folder: Path) -> list[str]:
    """The segment ids of the folder's `<segment>.parquet`, ascending. Other names are none of the store's."""
    stems = (name.removesuffix(".parquet") for name in names_in(folder) if name.endswith(".parquet"))
    return [stem for stem in stems if is_segment_id(stem)]


def read_records(folder: Path, known: Mapping[str, Commit] | None = None) -> dict[str, Commit]:
    """The folder's commit records by segment, as of `read_all`."""
    return read_all(folder, lambda segment: read_commit(folder / f"{segment}.parquet", segment), known)


def read_all(folder: Path, read: Callable[[str], T], known: Mapping[str, T] | None = None) -> dict[str, T]:
    """What `read` makes of each of the folder's segments, ascending; those `known` are not read again. They may come
    and go meanwhile (a compaction, then gc): what is returned was there at one time."""
    names, known = list_segments(folder), known or {}
    while True:
        found, vanished = {}, False
        for segment in names:
            try:
                found[segment] = known[segment] if segment in known else read(segment)
            except DamagedStoreError:
                if (folder / f"{segment}.parquet").exists():
                    raise
                vanished = True
        # A listing may miss a segment that comes while it is made, and also the one replaced by it that goes. Two equal
        # ones in a row cannot both have done so.
        again = list_segments(folder)
        if names == again and not vanished:
            return found
        names, known = again, found


def list_hidden(folder: Path, ending: str) -> dict[str, Path]:
    """The folder's files `.<segment><ending>` by segment, ascending."""
    names = {name[1:].removesuffix(ending): name for name in names_in(folder) if name.endswith(ending)}
    return {segment: folder / name for segment, name in names.items() if is_segment_id(segment) and name[0] == "."}


def put_aside(folder: Path) -> dict[str, Path]:
    """The records, or files of a table, that were replaced and put aside, by segment."""
    return list_hidden(folder, ".replaced")


def commit_bytes(
    segment: str, keys: KeyArray, files: Mapping[str, str], provenance: JSONDict, replaces: Iterable[str] = ()
) -> bytes:
    """The bytes of a commit record."""
    metadata = {
        "photorank.segment": segment,
        "photorank.rows": str(len(keys)),
        "photorank.files": canonical_json(files).decode(),
        "photorank.replaces": canonical_json(list(replaces)).decode(),
        "photorank.provenance": canonical_json(provenance).decode(),
    }
    return sealed_bytes(pa.Table.from_arrays([keys_to_arrow(keys)], schema=_SCHEMA), metadata)


def read_commit(path: Path, segment: str) -> Commit:
    """Read the segment's record; DamagedStoreError when it is not what was written for that segment."""
    table, metadata = read_sealed(path)
    try:
        commit = Commit(
            metadata["photorank.segment"],
            keys_from_arrow(table["key"]),
            json.loads(metadata["photorank.files"]),
            json.loads(metadata["photorank.replaces"]),
            json.loads(metadata["photorank.provenance"]),
        )
        rows = int(metadata["photorank.rows"])
    except (KeyError, ValueError) as error:
        raise DamagedStoreError(f"{path} is no commit record: {error!r}.") from None
    if commit.segment != segment or len(commit.keys) != rows:
        raise DamagedStoreError(f"{path} is the record of segment {commit.segment} with {rows} rows.")
    return commit


def commit_segment(
    space: Path, segment: str, keys: KeyArray, array: NewArray, provenance: JSONDict, replaces: Iterable[str] = ()
) -> None:
    """Write a segment and commit it: on return it is on the disk, after any error or crash before it is not there.

    OSError and what `array.rows_of` raises come through. No rows make a record without an array.
    """
    commits, vectors = space / "commits", space / "vectors"
    # An empty record under a hidden name says that the segment is being written: a segment with neither this
    # nor a record has lost its record, and `verify` says so.
    intent, final = commits / f".{segment}.tmp", commits / f"{segment}.parquet"
    write_synced(intent, b"")
    sync_folder(commits)
    try:
        files = {"zarr.json": file_digest(vectors / "zarr.json")}
        if len(keys):
            written = write_array(vectors / segment, (len(keys), array.dim), array.dtype, array.rows_of)
            files |= {f"{segment}/{name}": digest for name, digest in written.items()}
            sync_folder(vectors)
        write_synced(intent, commit_bytes(segment, keys, files, provenance, replaces))
        intent.replace(final)  # this is the commit
    except Exception:
        shutil.rmtree(vectors / segment, ignore_errors=True)
        if not (vectors / segment).exists():
            intent.unlink(missing_ok=True)
        raise
    sync_folder(commits)


def file_digest(path: Path) -> str:
    """The sha256 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
