"""What a reader of a space sees: the segments whose records are there and that no other record replaces."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from photorank.errors import DamagedStoreError
from photorank.store.arrays import ArrayFiles, Rows
from photorank.store.commits import Commit
from photorank.store.keys import KEY_BYTES, KeyIndex
from photorank.store.reading import ChunkPart, ChunkReader


def visible(records: dict[str, Commit]) -> list[Commit]:
    """The records that no other one replaces, by segment."""
    replaced = {segment for commit in records.values() for segment in commit.replaces}
    return [commit for segment, commit in records.items() if segment not in replaced]


class Segments:
    """The arrays of a space's segments, and the chunks of theirs that are mapped. Segments never change, so this is
    good for every view of the space."""

    def __init__(self, vectors: Path, dim: int, dtype: np.dtype[Any]) -> None:
        self.dim, self.dtype, self.chunks = dim, dtype, ChunkReader()
        self._vectors = vectors
        self._arrays: dict[str, ArrayFiles] = {}

    def keep_only(self, segments: list[str]) -> None:
        """Let go of the other segments, so that they can be deleted wherever that is not possible with mapped files."""
        if not self._arrays.keys() <= set(segments):
            self._arrays, self.chunks = {}, ChunkReader()

    def array(self, commit: Commit) -> ArrayFiles:
        """The segment's array, its zarr.json checked against the commit record (once)."""
        if commit.segment not in self._arrays:
            folder = self._vectors / commit.segment
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


class _ChunkTable(NamedTuple):
    """All chunks of the visible segments: array and number, and where each one's rows begin (and the end)."""

    starts: NDArray[np.int64]
    chunks: list[tuple[ArrayFiles, int]]


class View:
    """Visible segments, in id order, as one long list of rows.

    `commits`, and their `segments`; `starts`: where each one's rows begin, and the end; `keys` (N, 32) and their
    `index`.
    """

    def __init__(self, commits: list[Commit], segments: Segments) -> None:
        self._segments = segments
        self.commits = commits
        self.segments = [commit.segment for commit in commits]
        self.starts = np.cumsum([0, *(len(commit.keys) for commit in commits)])
        if len(commits) == 1:
            self.keys = commits[0].keys
        else:
            self.keys = np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *(commit.keys for commit in commits)])
            for commit, start, stop in zip(commits, self.starts, self.starts[1:], strict=False):
                commit.keys = self.keys[start:stop]  # so that a million keys are not held twice
        self.index = KeyIndex(self.keys)
        self._table: _ChunkTable | None = None

    def read(self, positions: NDArray[np.int64], *, verify: bool) -> Rows:
        """The vectors at these positions: (n, dim). DamagedStoreError as of `ChunkReader.read`, and when a zarr.json
        is not the one that was committed."""
        out = np.empty((len(positions), self._segments.dim), self._segments.dtype)
        self._segments.chunks.read(self._parts(positions), out, verify=verify)
        return out

    def _parts(self, positions: NDArray[np.int64]) -> list[ChunkPart]:
        """Which rows of which chunk file go where, to get the vectors at these positions."""
        parts: list[ChunkPart] = []
        order = None if (positions[1:] > positions[:-1]).all() else np.argsort(positions)
        ascending = positions if order is None else positions[order]
        table = self._chunks()
        edges = np.searchsorted(ascending, table.starts)
        for number in np.flatnonzero(np.diff(edges)).tolist():
            array, chunk = table.chunks[number]
            a, b = int(edges[number]), int(edges[number + 1])
            local = ascending[a:b] - table.starts[number]
            whole = b - a == array.chunk_length(chunk) and (order is None or bool((np.diff(local) == 1).all()))
            target = slice(a, b) if order is None else order[a:b]
            parts.append(ChunkPart(array, chunk, slice(0, b - a) if whole else local, target))
        return parts

    def _chunks(self) -> _ChunkTable:
        if self._table is None:
            starts, chunks = [], []
            for commit, first in zip(self.commits, self.starts.tolist(), strict=False):
                if len(commit.keys):
                    array = self._segments.array(commit)
                    starts += [first + chunk * array.chunk_rows for chunk in range(array.chunks)]
                    chunks += [(array, chunk) for chunk in range(array.chunks)]
            self._table = _ChunkTable(np.array([*starts, len(self.keys)]), chunks)
        return self._table
