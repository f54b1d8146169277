"""One feature space: all vectors of one fingerprint in one store."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import DamagedStoreError, MissingKeyError, StoreError
from photorank.store.arrays import ArrayFiles, ChunkPart, Rows, is_finite, read_parts, write_array
from photorank.store.commits import Commit, commit_bytes, list_segments, read_commit, sync_and_digest
from photorank.store.durable import make_folder, sync_folder, write_synced, writing
from photorank.store.group import read_group
from photorank.store.identity import JSONDict, canonical_json, new_segment_id
from photorank.store.keys import KEY_BYTES, KeyArray, KeyIndex, Keys, as_keys
from photorank.store.verify import verify_space

_NAMED = 3  # how many missing keys an error names


class _View:
    """The visible segments, in id order, as one long list of keys."""

    def __init__(self, commits: list[Commit]) -> None:
        self.commits = commits
        self.starts = np.cumsum([0, *(len(commit.keys) for commit in commits)])
        if len(commits) == 1:
            self.keys = commits[0].keys
        else:
            self.keys = np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *(commit.keys for commit in commits)])
            for commit, start, stop in zip(commits, self.starts, self.starts[1:], strict=False):
                commit.keys = self.keys[start:stop]  # so that a million keys are not held twice
        self.index = KeyIndex(self.keys)


class Space:
    """A feature space. It shows what was committed when it was first read, its own appends, and what `refresh` finds.

    Attributes: `name`, `fingerprint`, `spec`, `role` ("visual" or "statistic"), `provenance`, `dim`, `dtype` (a numpy
    dtype: float16 or float32) and `path`, its folder. A store makes and opens it, see `FeatureStore`.
    """

    def __init__(self, path: Path) -> None:
        group = read_group(path)
        self.path = path
        self.name: str = group.name
        self.fingerprint: str = group.fingerprint
        self.spec: JSONDict = group.spec
        self.role: str = group.role
        self.provenance: JSONDict = group.provenance
        self.dim: int = group.dim
        self.dtype: np.dtype[Any] = np.dtype(group.dtype)
        self._commits: dict[str, Commit] = {}
        self._arrays: dict[str, ArrayFiles] = {}
        self._view: _View | None = None

    def __repr__(self) -> str:
        return f"<Space {self.name}@{self.fingerprint}: {self.dim} {self.dtype.name}, {self.role}>"

    def __len__(self) -> int:
        """How many keys have a vector."""
        return len(self._current().index)

    @property
    def nbytes(self) -> int:
        """Bytes on the disk of everything in the space's folder."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def refresh(self) -> None:
        """See what was committed since. Records are immutable, so only new ones are read."""
        names = list_segments(self.path / "commits")
        self._commits = {
            segment: self._commits.get(segment) or read_commit(self.path / "commits", segment) for segment in names
        }
        replaced = {segment for commit in self._commits.values() for segment in commit.replaces}
        self._view = _View([commit for segment, commit in self._commits.items() if segment not in replaced])

    def keys(self) -> KeyArray:
        """The keys in store order (segments by id, rows in order, of equal keys the first): (N, 32) uint8."""
        view = self._current()
        return view.keys[view.index.first_positions()]

    def missing(self, keys: Keys) -> NDArray[np.bool_]:
        """Which of the keys have no vector here: (n,) bool."""
        return self._current().index.find(as_keys(keys)) < 0

    def append(self, keys: Keys, rows: Rows, provenance: Mapping[str, Any] | None = None) -> str:
        """Commit vectors: on return they are on the disk, after any error or crash before they are not there at all.

        `keys`: n different ones; keys that the space holds already keep the vector they have. `rows`: (n, dim), finite,
        of the space's dtype, or float32 for a float16 space when nothing overflows. `provenance`: what is particular
        to this batch. Returns the segment's id ("" for no rows: nothing is written). StoreError when the arguments are
        wrong (nothing is written) or the disk is full or read-only.
        """
        keys = as_keys(keys)
        rows = self._checked(keys, rows)
        if not len(keys):
            return ""
        commits, vectors = self.path / "commits", self.path / "vectors"
        record = {**(provenance or {}), "at": datetime.now(UTC).isoformat(timespec="seconds")}
        canonical_json(record)  # refused now rather than after the rows were written
        with writing(f"A batch of {len(keys)} vectors", self.path):
            make_folder(commits)
            segment = new_segment_id(list_segments(commits))
            # An empty record under a hidden name says that the segment is being written: a segment with neither this
            # nor a record has lost its record, and `verify` says so.
            intent, final = commits / f".{segment}.tmp", commits / f"{segment}.parquet"
            write_synced(intent, b"")
            sync_folder(commits)
            try:
                write_array(vectors / segment, rows)
                files = sync_and_digest(vectors, segment)
                write_synced(intent, commit_bytes(segment, keys, files, record))
                intent.replace(final)  # this is the commit
            except OSError:
                shutil.rmtree(vectors / segment, ignore_errors=True)
                if not (vectors / segment).exists():
                    intent.unlink(missing_ok=True)
                raise
            sync_folder(commits)
        self._view = None
        return segment

    def load(self, keys: Keys | None = None, *, verify: bool = False) -> tuple[KeyArray, Rows]:
        """Keys (n, 32) uint8 and their vectors (n, dim) of the space's dtype.

        Without `keys` all, in store order; else those asked for, in that order, repeats allowed. MissingKeyError names
        the first keys that the space lacks. DamagedStoreError names the segment of a missing, short or long file and,
        with `verify`, of a chunk whose checksum does not match.
        """
        view = self._current()
        if keys is None:
            positions = view.index.first_positions()
            asked = view.keys[positions]
        else:
            asked = as_keys(keys)
            positions = view.index.find(asked)
            if (positions < 0).any():
                raise MissingKeyError(self._lacks(asked[positions < 0]))
        out = np.empty((len(asked), self.dim), self.dtype)
        read_parts(self._parts(view, positions), out, verify=verify)
        return asked, out

    def verify(self) -> list[str]:
        """What is wrong with the space's files, in words; every committed byte is read. Empty when all is well."""
        return verify_space(self.path)

    def _current(self) -> _View:
        if self._view is None:
            self.refresh()
        assert self._view is not None
        return self._view

    def _lacks(self, absent: KeyArray) -> str:
        named = ", ".join(key.tobytes().hex() for key in absent[:_NAMED])
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        return f"The space {self.name}@{self.fingerprint} has no vector for {named}{more}."

    def _checked(self, keys: KeyArray, rows: Rows) -> Rows:
        """The rows in the space's dtype; StoreError when they cannot be appended under these keys."""
        if rows.shape != (len(keys), self.dim):
            raise StoreError(f"{len(keys)} keys of {self.name} need ({len(keys)}, {self.dim}) rows, not {rows.shape}.")
        if rows.dtype != self.dtype and not (rows.dtype == np.float32 and self.dtype == np.float16):
            raise StoreError(f"The space {self.name} holds {self.dtype.name}; the rows are {rows.dtype.name}.")
        if len(KeyIndex(keys)) != len(keys):
            raise StoreError(f"A batch for {self.name} has a key twice.")
        if not is_finite(rows):
            raise StoreError(f"A batch for {self.name} has values that are not finite.")
        if rows.dtype != self.dtype:
            with np.errstate(over="ignore"):
                rows = rows.astype(self.dtype)
            if not is_finite(rows):
                raise StoreError(f"A batch for {self.name} has values too large for {self.dtype.name}.")
        return rows

    def _parts(self, view: _View, positions: NDArray[np.int64]) -> list[ChunkPart]:
        """Which rows of which chunk file go where, to get the vectors at these positions."""
        parts: list[ChunkPart] = []
        in_order = bool((positions[1:] > positions[:-1]).all())
        order = None if in_order else np.argsort(positions, kind="stable")
        ascending = positions if order is None else positions[order]
        bounds = np.searchsorted(ascending, view.starts)
        for commit, first, start, stop in zip(view.commits, view.starts, bounds, bounds[1:], strict=False):
            if start == stop:
                continue
            array = self._array(commit)
            edges = np.searchsorted(ascending[start:stop], first + np.arange(array.chunks + 1) * array.chunk_rows)
            for chunk in np.flatnonzero(np.diff(edges)).tolist():
                a, b = start + edges[chunk], start + edges[chunk + 1]
                local = ascending[a:b] - (first + chunk * array.chunk_rows)
                whole = in_order and b - a == array.chunk_length(chunk)
                parts.append(
                    ChunkPart(
                        array,
                        chunk,
                        slice(0, b - a) if whole else local,
                        slice(a, b) if order is None else order[a:b],
                    )
                )
        return parts

    def _array(self, commit: Commit) -> ArrayFiles:
        """The segment's array, its zarr.json checked against the commit record (once)."""
        if commit.segment not in self._arrays:
            folder = self.path / "vectors" / commit.segment
            try:
                meta = (folder / "zarr.json").read_bytes()
            except FileNotFoundError:
                raise DamagedStoreError(
                    f"Segment {commit.segment} is damaged: {folder}/zarr.json is missing."
                ) from None
            if hashlib.sha256(meta).hexdigest() != commit.files.get(f"{commit.segment}/zarr.json"):
                raise DamagedStoreError(f"Segment {commit.segment} is damaged: {folder}/zarr.json was changed.")
            self._arrays[commit.segment] = ArrayFiles.parse(folder, meta, (len(commit.keys), self.dim), self.dtype)
        return self._arrays[commit.segment]
