"""Photos through the processes that load them: a file to each that is free, what they made of it back, within bounds.

A child that dies or takes too long costs its own photo and nobody else's: the photo is listed, another child starts.
Results wait in a queue that is bounded by number and bytes, so memory does not grow with the folder or a slow model.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from photorank.extractors import Feature
from photorank.photos.files import PhotoFile
from photorank.stages.child import Lacking, LoadOptions
from photorank.stages.children import Children
from photorank.stages.loader import Loaded

QUEUE_BYTES = 256 << 20

GivenUp: TypeAlias = Mapping[str, Collection[int]]
"""Path → numbers of the features that this file is not to be prepared for, because that failed before."""


class LoaderPool:
    """Loads files in several children at once. A context manager: at its end no child is left."""

    def __init__(self, features: Sequence[Feature], options: LoadOptions) -> None:
        self._options, self._children = options, Children(features, options)
        self._results: deque[tuple[PhotoFile, Loaded]] = deque()
        self._bytes, self._changed = 0, threading.Condition()
        self._stopped = self._held = False
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._at_work = 0
        self._given_up: GivenUp = {}

    def __enter__(self) -> LoaderPool:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._children.kill()
        for thread in self._threads:
            thread.join()
        self._children.close()

    def load(
        self, files: Iterable[PhotoFile], lacking: Lacking, given_up: GivenUp | None = None
    ) -> Iterator[tuple[PhotoFile, Loaded]]:
        """Begin to load the files; every one and what was made of it, as they are done."""
        pending, self._given_up = iter(files), given_up or {}
        self._at_work = self._options.processes
        for number in range(1, self._options.processes + 1):
            thread = threading.Thread(target=self._work, args=(pending, lacking, f"loading {number}"), daemon=True)
            self._threads.append(thread)
            thread.start()
        return self._loaded()

    def _loaded(self) -> Iterator[tuple[PhotoFile, Loaded]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._results or not self._at_work or self._error)
                if self._error is not None:
                    raise self._error
                if not self._results:
                    return
                file, loaded = self._results.popleft()
                self._bytes -= _size(loaded)
                self._changed.notify_all()
            yield file, loaded

    def _work(self, pending: Iterator[PhotoFile], lacking: Lacking, lane: str) -> None:
        """Have one file after the other loaded, until there are none."""
        try:
            while (file := self._next(pending)) is not None:
                loaded = self._load(file, lacking)
                loaded.lane = lane
                self._put(file, loaded)
        except BaseException as error:
            self._error = self._error or error
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _load(self, file: PhotoFile, lacking: Lacking) -> Loaded:
        given_up = self._given_up.get(file.path, ())
        return self._children.load(file.path, lambda key: [each for each in lacking(key) if each not in given_up])

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """No child begins a photo in this block, which is to have the processor's cores to itself.

        A model's threads wait for one another at every layer, so one core taken from them for a moment stops them all:
        loading and computing by turns is quicker than both at once.
        """
        self._set_held(True)
        try:
            yield
        finally:
            self._set_held(False)

    def _set_held(self, held: bool) -> None:
        with self._changed:
            self._held = held
            self._changed.notify_all()

    def _next(self, pending: Iterator[PhotoFile]) -> PhotoFile | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._held)
            return None if self._stopped else next(pending, None)

    def _put(self, file: PhotoFile, loaded: Loaded) -> None:
        size = _size(loaded)
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or not self._results
                or (len(self._results) < self._options.queued and self._bytes + size <= QUEUE_BYTES)
            )  # fmt: skip
            self._results.append((file, loaded))
            self._bytes += size
            self._changed.notify_all()


def _size(loaded: Loaded) -> int:
    return sum(array.nbytes for prepared in loaded.prepared.values() for array in prepared)
