"""Deleting what is not part of the store any more, in an order in which a crash never looks like damage.

What was replaced is put aside: its record, or the table's file, becomes `.<segment>.replaced`. Readers that read it
before go on. Of a segment to be deleted the record or the intent becomes `.<segment>.gone`, so that no writer can
commit it any more and everybody knows that its files may be missing; then the files go, then this mark. Readers that
still had the segment see what replaced it. On Windows a file that somebody has mapped stays until the next time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from photorank.errors import StoreError
from photorank.store import tables
from photorank.store.commits import list_hidden, put_aside, read_records
from photorank.store.durable import names_in, sync_folder, writing
from photorank.store.verify import marker_of

ABANDONED_SECONDS = 3600.0
"""What a writer has not touched for so long is that of a killed one, whatever age is asked for."""

_LOCK = ".lock"


@dataclass(frozen=True)
class Removed:
    """What was deleted: how many segments and files of tables, and how many bytes."""

    segments: int = 0
    bytes: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.segments + other.segments, self.bytes + other.bytes)


@contextlib.contextmanager
def alone(store: Path) -> Iterator[None]:
    """Let nobody else compact, remove or forget in the store meanwhile. Readers and writers of batches are not held up.
    StoreError when somebody is at it. The system frees the lock of a process that ends, however it ends; where a file
    system has no locks, filelock marks it by a file, and knows the process that left one."""
    from filelock import FileLock, Timeout

    lock = FileLock(store / _LOCK)
    with writing("The lock of compact, gc, forget and rm-space", store):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(
                f"Another compact, gc, forget or rm-space is at work on {store}; run this one when it is done."
            ) from None
    try:
        yield
    finally:
        lock.release()


def put_aside_now(folder: Path, segments: Iterable[str]) -> None:
    """Put aside the records, or files of a table, that were replaced. OSError when that fails."""
    for segment in segments:
        path = folder / f"{segment}.parquet"
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)  # its age is that of its replacement from now on
            path.replace(folder / f".{segment}.replaced")
    sync_folder(folder)


def unmark(folder: Path, segments: Iterable[str]) -> None:
    """Delete the marks of a table's files that are to go. They go first: a mark alone tells of a loss."""
    for segment in segments:
        marker_of(folder, segment).unlink(missing_ok=True)
    sync_folder(folder)


def remove_segments(space: Path, segments: Iterable[str]) -> Removed:
    """Delete segments that are replaced, or that a killed writer left unfinished, and those half deleted."""
    commits, vectors, gone = space / "commits", space / "vectors", []
    for segment in {**dict.fromkeys(segments), **list_hidden(commits, ".gone")}:
        mark = commits / f".{segment}.gone"
        for name in (f".{segment}.tmp", f"{segment}.parquet", f".{segment}.replaced"):
            with contextlib.suppress(FileNotFoundError):
                (commits / name).replace(mark)
        if mark.exists():
            gone.append(segment)
    if not gone:
        return Removed()
    sync_folder(commits)
    removed = Removed()
    for segment in gone:
        size = size_of(vectors / segment) + size_of(commits / f".{segment}.gone")
        shutil.rmtree(vectors / segment, ignore_errors=True)
        removed += Removed(1, size)
    sync_folder(vectors)
    for segment in gone:
        if not (vectors / segment).exists():
            (commits / f".{segment}.gone").unlink(missing_ok=True)
    sync_folder(commits)
    return removed


def remove_table_files(folder: Path, segments: Iterable[str]) -> Removed:
    """Delete files of a table that are replaced, or that a killed writer left unfinished."""
    removed, segments = Removed(), list(segments)
    if not segments:
        return removed
    unmark(folder, segments)
    for segment in segments:
        for name in (f"{segment}.parquet", f".{segment}.tmp", f".{segment}.replaced"):
            path = folder / name
            if path.exists():
                removed += Removed(1, size_of(path))
                path.unlink()
    sync_folder(folder)
    return removed


def collect_space(space: Path, older_than: float) -> Removed:
    """Delete the segments of a space that were replaced, or whose writer stopped, so many seconds ago."""
    commits, vectors = space / "commits", space / "vectors"
    records = read_records(commits)
    # A compaction that was killed did not get there.
    put_aside_now(commits, {segment for record in records.values() for segment in record.replaces})
    old = time.time() - older_than
    found = [segment for segment, path in put_aside(commits).items() if _modified(path) <= old]
    for segment, intent in list_hidden(commits, ".tmp").items():
        if max(_modified(intent), _modified(vectors / segment)) <= min(old, time.time() - ABANDONED_SECONDS):
            found.append(segment)
    return remove_segments(space, found)


def collect_table(store: Path, kind: tables.TableKind, older_than: float) -> Removed:
    """Delete the files of a table that were replaced, or whose writer stopped, so many seconds ago."""
    folder = store / kind.folder
    if not folder.is_dir():
        return Removed()
    files = tables.read_files(store, kind)
    replaced = {segment for file in files.values() for segment in file.replaces}
    unmark(folder, replaced)
    put_aside_now(folder, replaced)
    old = time.time() - older_than
    found = [segment for segment, path in put_aside(folder).items() if _modified(path) <= old]
    old = min(old, time.time() - ABANDONED_SECONDS)
    found += [segment for segment, path in list_hidden(folder, ".tmp").items() if _modified(path) <= old]
    return remove_table_files(folder, found)


def collect_leftovers(store: Path, older_than: float) -> Removed:
    """Delete what killed processes left beside the spaces: spaces half made or half removed."""
    removed, old = Removed(), time.time() - max(older_than, ABANDONED_SECONDS)
    spaces = store / "spaces"
    for folder, name in [(spaces, name) for name in names_in(spaces)] + [(store, name) for name in names_in(store)]:
        path = folder / name
        if name[0] == "." and (name.endswith(".removed") or (name.endswith(".tmp") and _modified(path) <= old)):
            removed += Removed(0, size_of(path))
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return removed


def remove_space(space: Path) -> int:
    """Delete a space: its folder is renamed, which takes it out of the store at once. How many bytes it had."""
    size, hidden = size_of(space), space.with_name(f".{space.name}.{secrets.token_hex(4)}.removed")
    with writing(f"The removal of {space.name}", space.parent):
        space.rename(hidden)
        sync_folder(space.parent)
    shutil.rmtree(hidden, ignore_errors=True)
    sync_folder(space.parent)
    return size


def size_of(path: Path) -> int:
    """Bytes of the file, or of all files in the folder; 0 when there is none."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(size_of(inside) for inside in path.iterdir())
    except FileNotFoundError:  # somebody else deletes it too
        return 0


def _modified(path: Path) -> float:
    """When the file was last written, in seconds since 1970; long ago when there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
