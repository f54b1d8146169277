"""One feature space: all vectors of one fingerprint in one store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import DamagedStoreError, MissingKeyError, StoreError
from photorank.store.arrays import Rows, is_finite
from photorank.store.commits import Commit, NewArray, commit_segment, list_segments, read_records
from photorank.store.durable import make_folder, writing
from photorank.store.group import read_group
from photorank.store.identity import JSONDict, canonical_json, new_segment_id
from photorank.store.keys import KeyArray, KeyIndex, Keys, as_keys
from photorank.store.verify import verify_space
from photorank.store.view import Segments, View, visible

_NAMED = 3  # how many missing keys an error names


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
        self._records: dict[str, Commit] = {}
        self._segments = Segments(path / "vectors", self.dim, self.dtype)
        self._view: View | None = None

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
        """See what was committed since. Records are immutable, so only new ones are read. StoreError when the space was
        removed."""
        self._records = read_records(self.path / "commits", self._records)
        if not self._records:
            self._must_be_there()
        self._view = View(visible(self._records), self._segments)
        self._segments.keep_only(self._view.segments)

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
        self._check(keys, rows)
        if not len(keys):
            return ""
        record = {**(provenance or {}), "at": datetime.now(UTC).isoformat(timespec="seconds")}
        canonical_json(record)  # refused now rather than after the rows were written
        with writing(f"A batch of {len(keys)} vectors", self.path):
            self._must_be_there()
            make_folder(self.path / "commits")
            segment = new_segment_id(list_segments(self.path / "commits"))
            array = NewArray(self.dim, self.dtype, lambda start, stop: self._as_stored(rows[start:stop]))
            commit_segment(self.path, segment, keys, array, record)
        self._view = None
        return segment

    def load(self, keys: Keys | None = None, *, verify: bool = False) -> tuple[KeyArray, Rows]:
        """Keys (n, 32) uint8 and their vectors (n, dim) of the space's dtype.

        Without `keys` all, in store order; else those asked for, in that order, repeats allowed. MissingKeyError names
        the first keys that the space lacks. DamagedStoreError names the segment of a missing, short or long file and,
        with `verify`, of a chunk whose checksum does not match.
        """
        while True:
            view = self._current()
            try:
                return self._load(view, keys, verify)
            except DamagedStoreError:
                self.refresh()
                if self._current().segments == view.segments:
                    raise
                # Segments that a compaction replaced may be gone by now; what replaced them is seen now.

    def iter_batches(
        self, batch: int, keys: Keys | None = None, *, verify: bool = False
    ) -> Iterator[tuple[KeyArray, Rows]]:
        """The same as `load`, `batch` rows at a time (the last may be fewer), for more than fits in memory."""
        if batch < 1:
            raise StoreError(f"A batch is at least one row, not {batch}.")
        asked = self.keys() if keys is None else as_keys(keys)
        for start in range(0, len(asked), batch):
            yield self.load(asked[start : start + batch], verify=verify)

    def verify(self) -> list[str]:
        """What is wrong with the space's files, in words; every committed byte is read. Empty when all is well."""
        return verify_space(self.path)

    def _current(self) -> View:
        if self._view is None:
            self.refresh()
        assert self._view is not None
        return self._view

    def _load(self, view: View, keys: Keys | None, verify: bool) -> tuple[KeyArray, Rows]:
        if keys is None:
            positions = view.index.first_positions()
            asked = view.keys if len(positions) == len(view.keys) else view.keys[positions]
        else:
            asked = as_keys(keys)
            positions = view.index.find(asked)
            if (positions < 0).any():
                raise MissingKeyError(self._lacks(asked[positions < 0]))
        return asked, view.read(positions, verify=verify)

    def _must_be_there(self) -> None:
        if not (self.path / "vectors" / "zarr.json").exists():
            raise StoreError(f"The space {self.name}@{self.fingerprint} was removed from its store.")

    def _lacks(self, absent: KeyArray) -> str:
        named = ", ".join(key.tobytes().hex() for key in absent[:_NAMED])
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        return f"The space {self.name}@{self.fingerprint} has no vector for {named}{more}."

    def _check(self, keys: KeyArray, rows: Rows) -> None:
        """StoreError when rows of this shape and dtype cannot be appended under these keys."""
        if rows.shape != (len(keys), self.dim):
            raise StoreError(f"{len(keys)} keys of {self.name} need ({len(keys)}, {self.dim}) rows, not {rows.shape}.")
        if rows.dtype != self.dtype and not (rows.dtype == np.float32 and self.dtype == np.float16):
            raise StoreError(f"The space {self.name} holds {self.dtype.name}; the rows are {rows.dtype.name}.")
        if len(KeyIndex(keys)) != len(keys):
            raise StoreError(f"A batch for {self.name} has a key twice.")

    def _as_stored(self, rows: Rows) -> Rows:
        """Rows of a batch in the space's dtype; StoreError when a value is not finite, before or after. A chunk at a
        time, while others are on their way to the disk: a pass of its own costs a tenth of the time of an append."""
        if not is_finite(rows):
            raise StoreError(f"A batch for {self.name} has values that are not finite.")
        if rows.dtype != self.dtype:
            with np.errstate(over="ignore"):
                rows = rows.astype(self.dtype)
            if not is_finite(rows):
                raise StoreError(f"A batch for {self.name} has values too large for {self.dtype.name}.")
        return rows
