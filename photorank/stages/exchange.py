"""export and import: vectors out of a store and into one; forget: photos out of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from photorank.errors import PhotoError, StoreError
from photorank.photos import photo_details, photo_key, read_photo
from photorank.stages.foreign import read_features
from photorank.store import KEY_BYTES, FeatureStore, FileRow, KeyArray, KeyIndex, as_keys
from photorank.store.exchange import ExportedSpace, Format, export_spaces, read_export


@dataclass(frozen=True)
class Moved:
    """A space that was exported or imported."""

    space: str
    """`name@fingerprint`"""
    rows: int
    new: int
    """Rows that the store did not have before (all of them, of an export)."""


def export(store: Path, out: Path, form: Format | None, refs: Sequence[str] = ()) -> list[Moved]:
    """Write spaces (all, or those named) to a new file or folder. Without a format the name's ending says: .h5 and
    .hdf5 are HDF5, anything else Parquet. StoreError as of `export_spaces`, and when there is no such space."""
    opened = FeatureStore.open(store)
    spaces = [opened.space(ref) for ref in refs] or opened.spaces()
    if not spaces:
        raise StoreError(f"The store {store} has no spaces to export.")
    export_spaces(spaces, out, form or ("hdf5" if out.suffix in (".h5", ".hdf5") else "parquet"))
    return [Moved(space.path.name, len(space), len(space)) for space in spaces]


def import_export(store: Path, path: Path) -> list[Moved]:
    """Read what `export` wrote into a store, which is made when there is none. Vectors that the store has are kept.
    StoreError when the file was written by something else or contradicts itself, before anything is written."""
    if not path.exists():
        raise StoreError(f"There is no {path} to import.")
    found = read_export(path)
    if not found:
        raise StoreError(
            f"{path} was not written by `photorank store export`; say what its vectors are with --name, --role and "
            "--description."
        )
    for each in found:
        _check_keys(path, each)
    opened = FeatureStore.create(store)
    return [_fill(opened, each) for each in found]


def import_features(
    store: Path, path: Path, name: str, role: Literal["visual", "statistic"], description: str,
    photos: str | None = None, vectors: str | None = None, folder: Path | None = None, absent: bool = False,
) -> Moved:  # fmt: skip
    """Read features that another program made into a space of that name; the same name and description is the same
    space. Paths are relative to `folder` (without it, to the file's own); photos that the store has not seen are
    hashed. With `absent` those that are not there are keyed by their path. StoreError, naming the row, for a photo that
    is not there otherwise, or cannot be read; then nothing is written."""
    if not path.exists():
        raise StoreError(f"There is no {path} to import.")
    if not description.strip():
        raise StoreError("A description must say what the vectors are; it tells them from others of the same name.")
    found = read_features(path, photos, vectors)
    if not len(found.vectors):
        raise StoreError(f"{path} has no rows.")
    opened = FeatureStore.create(store)
    keys, seen = _keys_of(opened, path, found.photos, folder or path.parent, absent)
    first = KeyIndex(keys).find(keys)
    for row in np.flatnonzero(first != np.arange(len(keys))).tolist():  # a copy of a photo, or the same row again
        if not np.array_equal(found.vectors[row], found.vectors[first[row]]):
            raise StoreError(f"{path}: rows {first[row] + 1} and {row + 1} are of one photo, but differ.")
    kept = np.unique(first)
    spec, rows = {"kind": "imported", "description": description.strip()}, found.vectors[kept]
    dtype: Any = rows.dtype.name
    imported = ExportedSpace(
        name, spec, role, {"file": path.name}, rows.shape[1], dtype, len(rows), lambda: iter([(keys[kept], rows)])
    )
    moved = _fill(opened, imported)
    opened.add_files(seen)
    return moved


def forget(store: Path, photos: Iterable[str]) -> dict[str, Any]:
    """Delete photos from a store for good. `photos`: keys (64 hex digits), paths at which they were seen, and folders.
    Returns counts. StoreError for one that the store does not know; then nothing is deleted."""
    opened = FeatureStore.open(store)
    files = opened.files(everything=True)
    seen = dict(zip(files["path"].to_pylist(), files["key"].to_pylist(), strict=True))
    known = set(seen.values()) | set(opened.photos()["key"].to_pylist())
    held = [space.keys() for space in opened.spaces()]
    failed = opened.failures()["path"].to_pylist()
    keys: set[bytes] = set()
    paths: set[bytes] = set()
    for photo in photos:
        key = _as_key(photo)
        if key is not None and (key in known or any(not _lacks(some, key) for some in held)):
            keys.add(key)
            continue
        path = os.fsencode(os.path.abspath(photo))
        inside = path.rstrip(os.sep.encode()) + os.sep.encode()
        there = {each: key for each, key in seen.items() if each == path or each.startswith(inside)}
        unread = {each for each in failed if each == path or each.startswith(inside)}
        if not there and not unread:
            raise StoreError(f"The store {store} knows no photo {photo!r}: neither a key, nor a path, nor a folder.")
        keys |= set(there.values())
        paths |= set(there) | unread
    paths |= {path for path, key in seen.items() if key in keys}
    dropped = opened.forget(sorted(keys), sorted(paths))
    return {"path": str(store), "photos": len(keys), "files": len(paths), "vectors": dropped}


def _fill(store: FeatureStore, found: ExportedSpace) -> Moved:
    space = store.create_space(
        found.name, found.spec, dim=found.dim, dtype=found.dtype, role=found.role, provenance=found.provenance
    )
    new = 0
    for keys, rows in found.batches():
        lacks = space.missing(keys)
        space.append(keys[lacks], rows[lacks], {"imported": True})
        new += int(lacks.sum())
    return Moved(space.path.name, found.rows, new)


def _check_keys(path: Path, found: ExportedSpace) -> None:
    parts = [keys for keys, _ in found.batches()]
    keys = np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *parts])
    if len(keys) != found.rows or len(KeyIndex(as_keys(keys))) != found.rows:
        raise StoreError(f"{path} has {found.rows} vectors of {found.name}, but not as many different keys.")


def _keys_of(
    store: FeatureStore, path: Path, photos: Sequence[str | bytes], folder: Path, absent: bool
) -> tuple[KeyArray, list[FileRow]]:
    """The key of each photo, and the files that are new to the store."""
    files = store.files()
    known = dict(zip(files["path"].to_pylist(), files["key"].to_pylist(), strict=True))
    keys: list[bytes] = []
    seen: list[FileRow] = []
    for number, photo in enumerate(photos, 1):
        key = photo if isinstance(photo, bytes) else _as_key(photo)
        if key is None:
            place = os.path.abspath(folder / os.fsdecode(photo))
            key = known.get(os.fsencode(place))
            if key is None:
                try:
                    row = _named(place) if absent and not os.path.lexists(place) else _hashed(place)
                except PhotoError as error:
                    raise StoreError(
                        f"{path}, row {number}: the store does not know that photo, and {place} {error}; "
                        f"--folder says what paths are relative to, --absent that photos need not be there."
                    ) from None
                seen.append(row)
                key = known[row.path] = row.key
        keys.append(key)
    return as_keys(keys), seen


def _hashed(path: str) -> FileRow:
    data, status = read_photo(path), Path(path).stat()
    return FileRow(os.fsencode(path), status.st_size, status.st_mtime_ns, photo_key(data), *photo_details(data))


def _named(path: str) -> FileRow:
    """A photo that is not there, under a key made of its path: of no size, so that it is hashed once it is there."""
    name = os.fsencode(path)
    return FileRow(name, 0, 0, hashlib.sha256(b"a photo that is not there\0" + name).digest())


def _as_key(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else None
    except ValueError:
        return None


def _lacks(keys: KeyArray, key: bytes) -> bool:
    return not (keys == np.frombuffer(key, np.uint8)).all(axis=1).any()
