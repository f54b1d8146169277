"""One process that loads photos, as its parent sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from photorank.errors import ConfigError
from photorank.extractors import Feature
from photorank.photos.shards import Place
from photorank.stages import loader
from photorank.stages.loader import Loaded, Loader

Lacking = Callable[[bytes], Sequence[int]]
"""From a photo's key to the numbers of the features to prepare."""

_START_SECONDS = 600.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class LoadOptions:
    """How photos are loaded. `processes`: how many children; `queued`: photos that may wait for the models;
    `photo_seconds`: after which a photo is given up; `thumbnails`: the store that keeps one of each, or None."""

    max_pixels: int
    processes: int
    queued: int
    photo_seconds: float
    thumbnails: str | None = None


class Child:
    """One child process and the conversation with it."""

    def __init__(self, options: LoadOptions, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, of the time that counts. OSError where it cannot be started."""
        self._seconds, self._clock, self.overdue = options.photo_seconds, clock, False
        self.key: bytes | None = None
        """Of the photo at hand, once it is known."""
        self._deadline = clock() + _START_SECONDS
        environment = {**os.environ, **_ONE_THREAD}
        self._process = subprocess.Popen(  # noqa: S603  (this same Python and package)
            [*loader.COMMAND, json.dumps(sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self._source: Any = self._process.stdin
        self._sink: Any = self._process.stdout

    def begin(self, features: Sequence[Feature], options: LoadOptions) -> None:
        """Wait until it is ready. ConfigError where it cannot load these features, EOFError where it died."""
        loader.send(self._source, loader.describe(features, options.max_pixels, options.thumbnails))
        header, _ = loader.receive(self._sink)
        if "error" in header:
            raise ConfigError(header["error"])
        self._deadline = float("inf")

    def load(self, place: Place, lacking: Lacking) -> Loaded:
        """What the child made of a photo; EOFError or OSError where it died over it."""
        self._deadline = self._clock() + self._seconds
        loader.send(self._source, loader.describe_place(place))
        self.key = None
        header, arrays = loader.receive(self._sink)
        if "key" in header:
            self.key = bytes.fromhex(header["key"])
            loader.send(self._source, {"lacking": list(lacking(self.key))})
            header, arrays = loader.receive(self._sink)
        self._deadline = float("inf")
        return loader.unpack(self.key, header, arrays)

    def kill(self) -> None:
        """End the child, whatever it does; whoever waits for it finds that it is gone."""
        self._process.kill()

    def kill_if_overdue(self) -> None:
        """End a child that had its time."""
        if self._clock() > self._deadline:
            self.overdue = True
            self.kill()

    def why(self) -> str:
        """Of a child that is gone: how it ended, as the rest of a sentence that begins with the photo's path."""
        if self.overdue:
            return f"was given up: it was not loaded within {self._seconds:g} s"
        status = self._process.wait()
        return f"ended the process that loaded it ({f'signal {-status}' if status < 0 else f'status {status}'})"

    def close(self) -> None:
        """End the child and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        self._sink.close()
        with contextlib.suppress(OSError):  # what was not yet sent
            self._source.close()


class InThisProcess:
    """Stands in for a child where none can be started: nothing is isolated then."""

    def __init__(self, features: Sequence[Feature], options: LoadOptions) -> None:
        self.load = Loader(features, options.max_pixels, options.thumbnails).load

    def kill(self) -> None:
        """There is nothing to end."""

    kill_if_overdue = close = kill
