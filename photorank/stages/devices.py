"""Several devices of one machine: a process for each, over one queue of batches.

A process has its own Python, so that no device waits until another one's work has been handed out. It talks as the
processes do that load photos (`photorank.stages.loader`): a feature and a batch come in, vectors go out. Those of a
batch go out when the next one has been begun, or when the process is told that none is at hand: its device does not
wait for what travels meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photorank.errors import PhotorankError
from photorank.extractors import Extractor, Feature, begin, build
from photorank.stages.filling import Filling, Waiting
from photorank.stages.loader import receive, send
from photorank.stages.timing import Clock

Rows = NDArray[np.float32]

Task: TypeAlias = tuple[Filling, Waiting, Future[Rows]]

Answer: TypeAlias = tuple[dict[str, Any], list[Rows]]
"""What a process has to say of a batch: a header, and the vectors unless the header tells of an error."""

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from photorank.stages.devices import main; main()"


class DevicePool:
    """Runs the networks of several features on several devices at once. A context manager: no process outlives it."""

    def __init__(self, devices: Sequence[str], batch_size: int, clock: Clock) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._under_way: deque[Task] = deque()
        self._processes = [_start() for _ in devices]
        self._threads = [
            threading.Thread(target=self._work, args=(process, device, batch_size, clock), daemon=True)
            for process, device in zip(self._processes, devices, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> DevicePool:
        return self

    def __exit__(self, *reason: object) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for process in self._processes:
            process.kill()
        for thread, process in zip(self._threads, self._processes, strict=True):
            thread.join()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not yet sent
                    pipe.close()

    def submit(self, space: Filling) -> None:
        """Hand what waits in a space to the next device that is free."""
        task: Task = space, space.take_waiting(), Future()
        self._under_way.append(task)
        self._tasks.put(task)

    def finished(self, at_most: int) -> Iterator[tuple[Filling, Waiting, Rows]]:
        """What is done, in the order in which it was submitted; waits until `at_most` batches are under way.

        Raises PhotorankError with what a model raised, or where a process ended.
        """
        while self._under_way and (len(self._under_way) > at_most or self._under_way[0][2].done()):
            space, batch, future = self._under_way.popleft()
            yield space, batch, future.result()

    def _work(self, process: Any, device: str, batch_size: int, clock: Clock) -> None:
        begun: Task | None = None
        while True:
            task = None
            with contextlib.suppress(queue.Empty):  # then there is nothing to do but to end what was begun
                task = self._tasks.get(block=begun is None)
                if task is None:
                    return
            try:
                send(process.stdin, *_asked(task, device, batch_size))
                if begun is not None:
                    _take_answer(begun[2], process, device, clock)
                begun = task
            except Exception as error:  # it belongs to whoever waits for the batches
                for space, _, future in filter(None, (begun, task)):
                    future.set_exception(_why(error, process, space.feature, device))
                begun = None


def _start() -> Any:
    command = [sys.executable, "-c", _START, json.dumps(sys.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (this same Python)


def _why(error: Exception, process: Any, feature: Feature, device: str) -> Exception:
    """Why there are no vectors: the error, unless all that it says is that the process is gone."""
    if not isinstance(error, (EOFError, OSError)):
        return error
    text = f"the process that computed {feature.name} on {device} ended (status {process.wait()})"
    return PhotorankError(f"{text}; the same call goes on from what was committed")


def _asked(task: Task | None, device: str, batch_size: int) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """A batch to begin on; without one, what was begun is to be ended."""
    if task is None:
        return {}, []
    space, batch, _ = task
    header = {"feature": asdict(space.feature), "device": device, "batch_size": batch_size}
    return header, [array for _, _, prepared in batch for array in prepared]


def _take_answer(future: Future[Rows], process: Any, device: str, clock: Clock) -> None:
    header, rows = receive(process.stdout)
    for phase, started, ended in header["spans"]:
        clock.add(phase, started, ended, f"models on {device}")
    if "error" in header:
        known = PhotorankError if header["known"] else RuntimeError
        future.set_exception(known(f"{device}: {header['error']}"))
    else:
        future.set_result(rows[0])


def main() -> None:
    """What a process does until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the messages
    models: dict[str, Extractor] = {}
    begun: Callable[[], Answer] | None = None
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            asked, arrays = receive(source)
            before, begun = begun, _begin(models, asked, arrays) if asked else None
            if before is not None:
                send(sink, *before())


def _begin(models: dict[str, Extractor], asked: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> Callable[[], Answer]:
    """Begin on a batch; what is returned waits for the answer."""
    feature = Feature(**asked["feature"])
    spans: list[tuple[str, float, float]] = []

    def failed(error: Exception) -> Answer:  # all of them are the parent's to tell
        return {"spans": spans, "known": isinstance(error, PhotorankError), "error": str(error)}, []

    def answer() -> Answer:
        try:
            rows, started, ended = wait()
        except Exception as error:
            return failed(error)
        return {"spans": [*spans, (f"embed {feature.name}", started, ended)]}, [rows]

    try:
        if feature.name not in models:
            started = time.perf_counter()
            models[feature.name] = build(feature, asked["device"], asked["batch_size"])
            spans.append((f"build {feature.name}", started, time.perf_counter()))
        wait = begin(models[feature.name], [(array,) for array in arrays])
    except Exception as error:
        told = failed(error)
        return lambda: told
    return answer
