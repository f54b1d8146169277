"""Folders that are to be written to: asked before the work whether that can be, and made before anything is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from photorank.errors import PhotoError


def refuse_folder(folder: Path, new_files: bool = False) -> None:
    """PhotoError where there is no such folder and none can be made; with `new_files` also where the one that is there
    takes none. Nothing is made."""
    above = (folder.absolute(), *folder.absolute().parents)
    there = next((each for each in above if os.path.lexists(each)), None)
    if there is None:
        raise _refusal(folder, os.strerror(errno.ENOENT))
    if not there.is_dir():
        raise _refusal(folder, os.strerror(errno.EEXIST if there == above[0] else errno.ENOTDIR))
    if (new_files or there != above[0]) and not may_write(there):
        raise _refusal(folder, os.strerror(errno.EACCES))


def make_folder(folder: Path) -> None:
    """Make the folder unless it is there; PhotoError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(folder, error.strerror or str(error)) from error


def may_write(folder: Path) -> bool:
    """Whether files can be made in a folder that is there."""
    return os.access(folder, os.W_OK | os.X_OK)


def _refusal(folder: Path, cause: str) -> PhotoError:
    return PhotoError(f"there can be no folder {folder} ({cause}); name another")
