"""Work on photos in several processes: a process that dies or hangs costs its own photo and nobody else's.

The processes are spawned, so the work must be a function of a module. Each has a pipe of its own to this process and
ends when the pipe does, so none outlives it, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from photorank.errors import PhotoError
from photorank.stages.cores import cores

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def each(
    work: Callable[[str], Result], paths: Sequence[str], processes: int, seconds: float
) -> Iterator[tuple[str, Result | PhotoError]]:
    """Every path and the result of `work`, as they are done; a PhotoError where it raised one, where its process died,
    or where it took longer than `seconds`. Any other exception of `work` is raised here, and ends it all."""
    pending, results = iter(paths), queue.SimpleQueue[tuple[str, Any]]()
    stopped, taking = threading.Event(), threading.Lock()
    workers = [_Worker(work, seconds) for _ in range(min(processes or cores(), len(paths)))]

    def drive(worker: _Worker) -> None:
        while not stopped.is_set():
            with taking:
                path = next(pending, None)
            if path is None:
                break
            try:
                results.put((path, worker.ask(path)))
            except BaseException as error:  # for the thread that waits, which has no other way to know
                results.put((path, error))
        worker.close()

    threads = [threading.Thread(target=drive, args=(worker,), daemon=True) for worker in workers]
    try:
        for thread in threads:
            thread.start()
        for _ in paths:
            path, result = results.get()
            if isinstance(result, BaseException) and not isinstance(result, PhotoError):
                raise result
            yield path, result
    finally:
        stopped.set()
        for worker in workers:
            worker.kill()
        for thread in threads:
            thread.join()


class _Worker:
    """One process, started when it is needed and again when it died."""

    def __init__(self, work: Callable[[str], Any], seconds: float) -> None:
        self._work, self._seconds = work, seconds
        self._process: Any = None
        self._pipe: Connection | None = None
        self._is_alone = False

    def ask(self, path: str) -> Any:
        try:
            self._pipe = self._pipe or self._start()
        except OSError as error:
            if not self._is_alone:  # else it was said before
                log.warning("photos are worked on in this process: no other can be started (%s)", error)
            self._is_alone = True
            return _result(self._work, path)
        try:
            self._pipe.send(path)
            if self._pipe.poll(self._seconds):
                return self._pipe.recv()
            why = f"was given up: it was not done within {self._seconds:g} s"
            self._process.kill()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            why = f"ended the process that worked on it ({f'signal {-code}' if code < 0 else f'status {code}'})"
        self.close()
        return PhotoError(why)

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        with theirs:
            process.start()
        self._process = process
        return pipe

    def kill(self) -> None:
        with contextlib.suppress(ValueError, AttributeError):  # was closed, or never started
            self._process.kill()

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._process.join()
            self._pipe = None


def _serve(pipe: Connection, work: Callable[[str], Any]) -> None:
    """What a process does until its pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes the pipe
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(_result(work, pipe.recv()))


def _result(work: Callable[[str], Any], path: str) -> Any:
    """What `work` gives for a path, or the exception that it raised."""
    try:
        return work(path)
    except Exception as error:
        return error
