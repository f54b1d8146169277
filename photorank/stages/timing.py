"""Where the time goes: seconds by phase, and on demand every span as a Chrome trace."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from photorank.errors import ConfigError


@dataclass(frozen=True)
class Phases:
    """Where the time of one call went."""

    seconds: dict[str, float]
    """Phase → seconds, of all processes and threads together."""
    wall: float
    """Seconds on the clock, from the first photo to the last commit."""
    processes: int
    """How many processes loaded photos."""
    devices: int = 1
    """How many devices ran models."""

    def rows(self) -> list[tuple[str, str, float]]:
        """Phase, where it happens, seconds; the longest first."""
        longest_first = sorted(self.seconds.items(), key=lambda item: -item[1])
        return [(phase, place_of(phase), seconds) for phase, seconds in longest_first]

    @property
    def busy(self) -> dict[str, float]:
        """Share of the time in which something was done: loading (of all its processes), models, writing."""
        shares = {"loading": 0.0, "models": 0.0, "writing": 0.0}
        beside = {"loading": self.processes, "models": self.devices, "writing": 1}
        for _, where, seconds in self.rows():
            shares[where] += seconds / max(self.wall, 1e-9) / beside[where]
        return shares


def place_of(phase: str) -> str:
    """Where a phase happens: loading, models, writing."""
    if phase == "write":
        return "writing"
    return "models" if phase.startswith(("build ", "embed ")) else "loading"


class Clock:
    """Adds up spans; with a file it also writes each of them there. Several threads may add. A context manager."""

    def __init__(self, trace: Path | None = None) -> None:
        """ConfigError where the trace cannot be written."""
        self.seconds: dict[str, float] = {}
        self._lock, self._started = threading.Lock(), time.perf_counter()
        self._file: IO[str] | None = None
        self._lanes: dict[str, int] = {}
        if trace is not None:
            try:
                self._file = trace.open("w", encoding="utf-8")
            except OSError as error:
                raise ConfigError(f"the profile {trace} cannot be written: {error.strerror or error}") from error
            self._file.write('[{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "photorank extract"}}')

    def __enter__(self) -> Clock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.write("\n]\n")
            self._file.close()

    @property
    def wall(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._started

    @contextmanager
    def span(self, phase: str) -> Iterator[None]:
        """The time of a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, started, time.perf_counter(), place_of(phase))

    def add(self, phase: str, started: float, ended: float, lane: str) -> None:
        """A span, both ends by `time.perf_counter`; `lane` is the row of the trace that it is drawn in."""
        with self._lock:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + ended - started
            if self._file is not None:
                begin, length = round((started - self._started) * 1e6), round((ended - started) * 1e6)
                self._event({"name": phase, "ph": "X", "ts": begin, "dur": length, "tid": self._lane(lane)})

    def _lane(self, name: str) -> int:
        if name not in self._lanes:
            self._lanes[name] = len(self._lanes) + 1
            self._event({"name": "thread_name", "ph": "M", "tid": self._lanes[name], "args": {"name": name}})
        return self._lanes[name]

    def _event(self, event: dict[str, object]) -> None:
        """One event of the Trace Event Format, which Chrome's about:tracing and Perfetto open; in microseconds."""
        assert self._file is not None
        self._file.write(",\n" + json.dumps({"pid": 1, **event}))
