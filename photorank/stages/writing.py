"""Committing what was computed, in the background of computing more."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from photorank.stages.filling import Filling, Vectors
from photorank.stages.timing import Clock
from photorank.store import FailureRow, FeatureStore, FileRow, PhotoRow


@dataclass
class Batch:
    """What is committed together: vectors by the space that they are for, and rows of the tables."""

    vectors: list[tuple[Filling, Vectors]] = field(default_factory=list)
    photos: Sequence[PhotoRow] = ()
    files: Sequence[FileRow] = ()
    failures: Sequence[FailureRow] = ()


class Writer:
    """Commits batches in a thread of its own, one at a time; whoever brings the next waits for the one before."""

    def __init__(self, store: FeatureStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._thread = ThreadPoolExecutor(1, "photorank-write")
        self._under_way: Future[Any] | None = None

    def warm_up(self) -> None:
        """Import what the first commit needs, while the first photos are loaded: it takes a good part of a second."""
        for name in ("zarr.storage", "pandas"):  # pyarrow, making its first array of Python's values, imports pandas
            self._thread.submit(importlib.import_module, name)

    def write(self, batch: Batch) -> None:
        """Begin to commit a batch. Raises what went wrong with the one before (StoreError)."""
        self.wait()
        self._under_way = self._thread.submit(self._commit, batch)

    def wait(self) -> None:
        """Return when all that was brought is on the disk. Raises what went wrong with it (StoreError), once."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _commit(self, batch: Batch) -> None:
        with self._clock.span("write"):
            # Vectors first: a file row without vectors costs a look at the file again, vectors without one likewise.
            for space, vectors in batch.vectors:
                space.commit(vectors)
            self._store.add_photos(batch.photos)
            self._store.add_files(batch.files)
            self._store.add_failures(batch.failures)
