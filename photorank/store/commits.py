"""Commit records: one sealed Parquet file a segment, with its key per row and a digest of each of its files.

A segment is visible when `commits/<segment>.parquet` is there. The record's metadata:
`photorank.segment`, `photorank.rows`, `photorank.files` (JSON: path below vectors/ to sha256; with the group's
zarr.json),`photorank.replaces` (JSON: segments that it makes invisible) and `photorank.provenance` (JSON).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from photorank.errors import DamagedStoreError
from photorank.store.durable import names_in, sync_file, sync_folder
from photorank.store.identity import JSONDict, canonical_json, is_segment_id
from photorank.store.keys import KEY_BYTES, KeyArray, keys_from_arrow, keys_to_arrow
from photorank.store.sealed import read_sealed, sealed_bytes

_SCHEMA = pa.schema([pa.field("key", pa.binary(KEY_BYTES), nullable=False)])


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


def read_commit(folder: Path, segment: str) -> Commit:
    """Read `<segment>.parquet` in the folder; DamagedStoreError when it is not what was written under that name."""
    path = folder / f"{segment}.parquet"
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


def sync_and_digest(vectors: Path, segment: str) -> dict[str, str]:
    """Put a newly written segment on the disk: files, folders, and its entry in `vectors`. Returns the sha256 of each
    of its files, and of the group's zarr.json, by path below `vectors`."""
    folders, files = [], []
    for parent, _, names in os.walk(vectors / segment, topdown=False):
        folders.append(Path(parent))
        files += [Path(parent, name) for name in names]

    def sync(path: Path) -> tuple[str, str]:
        sync_file(path)
        return path.relative_to(vectors).as_posix(), file_digest(path)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = dict(pool.map(sync, sorted(files)))
    for folder in folders:
        sync_folder(folder)
    sync_folder(vectors)
    return {"zarr.json": file_digest(vectors / "zarr.json"), **digests}


def file_digest(path: Path) -> str:
    """The sha256 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
