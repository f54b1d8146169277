"""The processes that load photos, kept: any thread gives a photo to a free one; what dies or hangs is replaced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from photorank.errors import ConfigError
from photorank.extractors import Feature
from photorank.photos.shards import Place
from photorank.stages.child import Child, InThisProcess, Lacking, LoadOptions
from photorank.stages.loader import Loaded

log = logging.getLogger(__name__)

DIED = "load"
"""The stage of a failure that was the end of the photo's process."""
_LOOK_SECONDS = 0.5


class Children:
    """Children for some features, started as they are needed: as many as there are threads that load at once."""

    def __init__(self, features: Sequence[Feature], options: LoadOptions) -> None:
        self._features, self._options = features, options
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._all: set[Child | InThisProcess] = set()
        self._free: list[Child | InThisProcess] = []
        self._watcher, self._paused = threading.Thread(target=self._watch, daemon=True), 0.0

    def load(self, place: Place, lacking: Lacking) -> Loaded:
        """What a child made of a photo, or how it ended over it. ConfigError where none can load these features."""
        with self._lock:
            child = self._free.pop() if self._free else None
        child = child or self._start()
        try:
            loaded = child.load(place, lacking)
        except BaseException as error:
            # Whatever it was, it came in the middle of a conversation.
            died = child if isinstance(error, EOFError | OSError) and isinstance(child, Child) else None
            why = died.why() if died is not None else ""
            self._discard(child)
            if died is None:
                raise
            return Loaded(died.key, failure=(DIED, why))
        with self._lock:
            self._free.append(child)
        return loaded

    def kill(self) -> None:
        """End all children; threads that wait for one find that it is gone, and none is started from now on."""
        self._ended.set()
        with self._lock:
            for child in self._all:
                child.kill()

    def close(self) -> None:
        """Let go of all children, when no thread loads any more."""
        self.kill()
        for child in list(self._all):
            self._discard(child)
        if self._watcher.is_alive():
            self._watcher.join()

    def _start(self) -> Child | InThisProcess:
        child: Child | None = None
        try:
            child = Child(self._options, self._clock)
            with self._lock:
                # Known before it is ready: a user's module may take forever to import, and Ctrl-C is to end it too.
                self._all.add(child)
                if self._ended.is_set():
                    child.kill()
                elif self._watcher.ident is None:
                    self._watcher.start()
            child.begin(self._features, self._options)
            return child
        except BaseException as error:
            if child is not None:
                self._discard(child)
            if self._ended.is_set() or not isinstance(error, OSError | EOFError):
                raise
            return self._here(error)

    def _here(self, error: OSError | EOFError) -> InThisProcess:
        cause = str(error) or "it ended before it was ready"
        if any(feature.spec["kind"] == "own" for feature in self._features):
            text = f"no process can be started that loads photos ({cause}), and own extractors run in no other"
            raise ConfigError(f"{text}: see that their modules can be imported") from error
        text = "photos are loaded in this process, which a damaged one could end: no other can be started (%s)"
        log.warning(text, cause)
        return InThisProcess(self._features, self._options)

    def _discard(self, child: Child | InThisProcess) -> None:
        with self._lock:
            self._all.discard(child)
        child.close()

    def _clock(self) -> float:
        """Seconds, without those in which this process stood still (Ctrl-Z): the children then did too."""
        return time.monotonic() - self._paused

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._ended.wait(_LOOK_SECONDS):
            now = time.monotonic()
            self._paused += max(0.0, now - looked - 2 * _LOOK_SECONDS)
            looked = now
            with self._lock:
                for child in self._all:
                    child.kill_if_overdue()
