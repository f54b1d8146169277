"""Run one store operation over and over, killed at each of its file operations in turn.

    python -m tests.store.crash_driver BASE WORK OPERATION

For k = 1, 2, … the folder BASE is copied to WORK/k, and a fork runs OPERATION on the copy and kills itself (SIGKILL) at
its k-th event: before a folder is made, a file opened for writing, renamed, touched or removed; before, in the middle
of and after a write; before and after an fsync. The k-th copy is what such a crash leaves; the last one's run was not
killed.
WORK/log.json lists that run's events: [kind, path, …]; an fsync of a file with the content (hex) at that time.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock  # noqa: F401  (imported here, so that no fork has to)
import pyarrow as pa
import pyarrow.compute
import zarr.codecs
import zarr.storage  # noqa: F401

from photorank.store import FeatureStore, PhotoRow, arrays, removal
from tests.store.helpers import SPEC, some_keys, some_rows


def append(store: FeatureStore) -> None:
    """Keys 3 to 8; the base holds 0 to 3."""
    store.space("clip").append(some_keys(9)[3:], some_rows(6, seed=1))


def add_photos(store: FeatureStore) -> None:
    store.add_photos([PhotoRow(key.tobytes(), 2, 2, "PNG", 1) for key in some_keys(9)[3:]])


def create_space(store: FeatureStore) -> None:
    store.create_space("new", SPEC, dim=2, dtype="float16", role="statistic")


def compact(store: FeatureStore) -> None:
    store.compact()


def gc(store: FeatureStore) -> None:
    store.gc(older_than=0)


def forget(store: FeatureStore) -> None:
    store.forget(some_keys(9)[1:3])


def remove_space(store: FeatureStore) -> None:
    if store.spaces():
        store.remove_space("clip")


OPERATIONS: dict[str, Callable[[FeatureStore], None]] = {
    each.__name__: each for each in (append, add_photos, create_space, compact, gc, forget, remove_space)
}


class Events:
    """Counts the events below one folder, and kills the process at the chosen one."""

    def __init__(self, root: Path, kill_at: int) -> None:
        self.root, self.kill_at = str(root), kill_at
        self.log: list[list[str]] = []

    def happen(self, kind: str, *paths: str | os.PathLike[str], content: str | None = None) -> None:
        named = [os.path.abspath(path) for path in paths]
        if not named[0].startswith(self.root):
            return
        content_if_any = [content] if content else []
        self.log.append([kind, *(os.path.relpath(path, self.root) for path in named), *content_if_any])
        if len(self.log) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], (str, os.PathLike)):
            if args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self.happen("open", args[0])
        elif event in ("os.mkdir", "os.utime"):
            self.happen(event, args[0])
        elif event in ("os.remove", "os.rmdir"):
            self.happen(event, Path("." if args[1] == -1 else f"/proc/self/fd/{args[1]}").resolve() / args[0])
        elif event in ("os.rename", "os.link"):
            self.happen(event, args[0], args[1])

    def install(self) -> None:
        """Watch every file operation of the process from now on."""
        real_fsync, real_open = os.fsync, io.open

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.happen("before fsync", path)
            real_fsync(descriptor)
            self.happen("fsync", path, content="" if path.is_dir() else f"hex:{path.read_bytes().hex()}")

        def watched_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            opened = real_open(file, mode, *args, **kwargs)
            return WatchedFile(opened, self) if set(mode) & set("wax+") and "b" in mode else opened

        os.fsync = fsync
        io.open = watched_open  # type: ignore[assignment]
        sys.addaudithook(self.audit)


class WatchedFile:
    """A file whose writes are events, unbuffered."""

    def __init__(self, file: Any, events: Events) -> None:
        self._file, self._events = file, events

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._events.happen("before write", self._file.name)
        for part in (view[: len(view) // 2], view[len(view) // 2 :]):
            self._file.write(part)
            self._file.flush()
            self._events.happen("write", self._file.name)
        return len(view)

    def __enter__(self) -> WatchedFile:
        self._file.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._file.__exit__(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def run_killed(folder: Path, operation: Callable[[FeatureStore], None], kill_at: int, log: Path) -> bool:
    """Run the operation in a fork; whether it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            events = Events(folder.resolve(), kill_at)
            events.install()
            operation(FeatureStore.open(folder))
            log.write_text(json.dumps(events.log))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert status == 0, f"the operation failed by itself at {kill_at}"
    return False


def main(base: Path, work: Path, operation: str) -> None:
    pa.array([])  # imports pandas, which no fork has to either
    number = 1
    while True:
        shutil.copytree(base, work / str(number))
        if not run_killed(work / str(number), OPERATIONS[operation], number, work / "log.json"):
            break
        number += 1


if __name__ == "__main__":
    arrays.CHUNK_BYTES = 24  # so that there are three chunks
    removal.ABANDONED_SECONDS = 0.0
    arrays._WRITERS = 1  # one thread at a time, so that every run has the same events in the same order
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
