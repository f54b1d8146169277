"""Several devices of one machine: a process for each, over one queue of batches.

A process has its own Python, so that no device waits until another one's work has been handed out. It talks as the
processes do that load photos (`photorank.stages.loader`): a feature and a batch come in, vectors go out.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import PhotorankError
from photorank.extractors import Extractor, Feature, build
from photorank.stages.filling import Filling, Waiting
from photorank.stages.loader import receive, send
from photorank.stages.timing import Clock

Rows = NDArray[np.float32]

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from photorank.stages.devices import main; main()"


class DevicePool:
    """Runs the networks of several features on several devices at once. A context manager: no process outlives it."""

    def __init__(self, devices: Sequence[str], batch_size: int, clock: Clock) -> None:
        self._tasks: queue.SimpleQueue[tuple[Filling, Waiting, Future[Rows]] | None] = queue.SimpleQueue()
        self._under_way: deque[tuple[Filling, Waiting, Future[Rows]]] = deque()
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
        task = space, space.take_waiting(), Future[Rows]()
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
        while (task := self._tasks.get()) is not None:
            space, batch, future = task
            try:
                future.set_result(_embed(process, device, batch_size, clock, space.feature, batch))
            except (EOFError, OSError):
                status = process.wait()
                text = f"the process that computed {space.feature.name} on {device} ended (status {status})"
                future.set_exception(PhotorankError(f"{text}; the same call goes on from what was committed"))
            except Exception as error:  # it belongs to whoever waits for the batch
                future.set_exception(error)


def _start() -> Any:
    command = [sys.executable, "-c", _START, json.dumps(sys.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (this same Python)


def _embed(process: Any, device: str, batch_size: int, clock: Clock, feature: Feature, batch: Waiting) -> Rows:
    arrays = [array for _, _, prepared in batch for array in prepared]
    send(process.stdin, {"feature": asdict(feature), "device": device, "batch_size": batch_size}, arrays)
    header, rows = receive(process.stdout)
    for phase, started, ended in header["spans"]:
        clock.add(phase, started, ended, f"models on {device}")
    if "error" in header:
        raise (PhotorankError if header["known"] else RuntimeError)(f"{device}: {header['error']}")
    return rows[0]


def main() -> None:
    """What a process does until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the messages
    models: dict[str, Extractor] = {}
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            send(sink, *_answer(models, *receive(source)))


def _answer(
    models: dict[str, Extractor], asked: dict[str, Any], arrays: Sequence[NDArray[Any]]
) -> tuple[dict[str, Any], list[Rows]]:
    feature, spans = Feature(**asked["feature"]), []
    try:
        if feature.name not in models:
            started = time.perf_counter()
            models[feature.name] = build(feature, asked["device"], asked["batch_size"])
            spans.append((f"build {feature.name}", started, time.perf_counter()))
        started = time.perf_counter()
        rows = models[feature.name].embed([(array,) for array in arrays])
        spans.append((f"embed {feature.name}", started, time.perf_counter()))
    except Exception as error:  # all of them are the parent's to tell
        return {"spans": spans, "known": isinstance(error, PhotorankError), "error": str(error)}, []
    return {"spans": spans}, [rows]
