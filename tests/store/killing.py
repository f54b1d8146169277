"""A process that seems to die in the middle of what it does, in a thread that lives on to look at what is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """Raised where the process would have died. Not an Exception, so that nothing is tidied up for it."""


class _Killer:
    """From the chosen file operation on nothing below the folder is made, opened for writing, renamed or removed."""

    def __init__(self) -> None:
        self.root, self.left = "", 0
        sys.addaudithook(self._audit)  # it can never be taken away again

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.root or event not in ("open", "os.mkdir", "os.utime", "os.rename", "os.remove", "os.rmdir"):
            return
        if event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        path, folder = args[0], args[1] if event in ("os.remove", "os.rmdir") else -1
        if isinstance(path, (str, os.PathLike)) and (folder != -1 or os.fspath(path).startswith(self.root)):
            self.left -= 1
            if self.left < 0:
                raise Killed


_killer: list[_Killer] = []


def run_killed(folder: str, operation: Callable[[], object], after: int) -> bool:
    """Run the operation, killed when it has done so many file operations below the folder. Whether it was."""
    if not _killer:
        _killer.append(_Killer())
    killer = _killer[0]
    killer.root, killer.left = folder, after
    try:
        operation()
    except Killed:
        return True
    finally:
        killer.root = ""
    return killer.left < 0
