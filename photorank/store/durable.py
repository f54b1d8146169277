"""File operations whose effect survives a power cut, in the order in which they were made."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

from photorank.errors import StoreError


def sync_folder(path: Path) -> None:
    """Return when the folder's entries (what was created in it or renamed) are on the disk."""
    if os.name == "nt":  # Windows opens no folders, and keeps its entries in a journal
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems cannot do it; the others' errors are errors.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def names_in(folder: Path) -> list[str]:
    """The names in the folder, sorted; none when there is no such folder."""
    try:
        with os.scandir(folder) as entries:  # in half the time of `Path.iterdir`
            return sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def make_folder(path: Path) -> None:
    """Make the folder and its parents where they are missing, each one synced into its parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write the file and sync its bytes; its entry in the folder is not synced yet."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_all(file: RawIOBase, data: bytes | memoryview) -> None:
    """Write all the bytes to an unbuffered file; the disk may take fewer at a time."""
    view = memoryview(data)
    while view:
        count = file.write(view)
        view = view[count:]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, and on the disk on return. What it replaces is gone."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_synced(temporary, data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def writing(what: str, place: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that says what could not be written where, and what is safe."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full; make room and run it again"
        else:
            reason = error.strerror or str(error)
        raise StoreError(
            f"{what} could not be written to {place}: {reason}; what was committed before is kept."
        ) from error
