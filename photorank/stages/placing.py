"""The frames to keep, copied or linked into a folder. Nothing is overwritten, moved or deleted."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import itertools
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from photorank.photos.finding import PHOTO_SUFFIXES, FailedPath, is_raw_name
from photorank.stages.folders import make_folder, may_write, refuse_folder

How = Literal["copy", "link"]


@dataclass
class PlacingReport:
    """What was done, or with `dry_run` would be."""

    placed: list[tuple[str, str]] = field(default_factory=list)
    """Each photo, and where it is now too."""
    unchanged: int = 0
    """Photos that were there already."""
    failures: list[FailedPath] = field(default_factory=list)


def place(ranking: pd.DataFrame, folder: Path, how: How, dry_run: bool = False) -> PlacingReport:
    """Copy the kept photos of a ranking, and the RAWs beside them, into a folder; or make links to them there.

    Where another photo has the name, `IMG_2.JPG` is taken, and so on: one number for a photo and the RAWs beside
    it, and none at which a RAW would stand beside the picture of another. Raises PhotoError where the folder cannot be
    made; photos that cannot be copied or linked are reported, and the others are done.
    """
    refuse_folder(folder)
    if not dry_run:
        make_folder(folder)
    placing = _Placing(folder, how, dry_run)
    for shot in _kept(ranking):
        placing.place(shot)
    return placing.report


def _kept(ranking: pd.DataFrame) -> Iterator[list[str]]:
    """The kept shots: a frame, and the RAWs that go with it. A RAW that has the name of another one of them, in another
    folder, stands for itself: no number fits both."""
    for path, keep, copies in zip(ranking["path"], ranking["keep"], ranking["copies"], strict=True):
        if not pd.isna(keep) and keep:
            raws = [] if is_raw_name(path) else [each for each in copies if is_raw_name(each)]
            of_name: dict[str, str] = {}
            for each in (path, *raws):
                of_name.setdefault(Path(each).name.casefold(), each)
            yield list(of_name.values())
            yield from ([each] for each in raws if each not in of_name.values())


class _Placing:
    """Placing under way, in one folder."""

    def __init__(self, folder: Path, how: How, dry_run: bool) -> None:
        self.report = PlacingReport()
        self._folder, self._how, self._dry_run = folder, how, dry_run
        self._placed: dict[Path, str] = {}
        """Of a dry run: target → the photo that would be there."""
        self._photos: dict[str, list[str]] = {}
        """Stem, of which case is not told → the names in the folder that have it."""
        with contextlib.suppress(OSError):  # not there yet
            for each in folder.iterdir():
                if each.suffix.lower() in PHOTO_SUFFIXES:
                    self._note(each.name)

    def place(self, shot: Sequence[str]) -> None:
        """Place the files of one shot, at the first number that fits all of them."""
        for number in itertools.count(1):
            targets = {path: self._folder / _numbered(Path(path).name, number) for path in shot}
            there = [path for path, target in targets.items() if target in self._placed or os.path.lexists(target)]
            if not all(self._is_same(path, targets[path]) for path in there):
                continue
            if not there and self._makes_foreign_pair(target.name for target in targets.values()):
                continue
            if all(self._put(path, target) for path, target in targets.items() if path not in there):
                self.report.unchanged += len(there)
                return

    def _is_same(self, path: str, target: Path) -> bool:
        there = Path(self._placed.get(target, target))
        try:
            if not there.is_file():  # a dangling link, or a folder
                return False
            if self._how == "link" or target.is_symlink():
                return there.samefile(path)
            return filecmp.cmp(path, there, shallow=False)
        except OSError:  # the photo is gone, say: placing it tells
            return False

    def _makes_foreign_pair(self, names: Iterable[str]) -> bool:
        """Whether of names that are not there yet a RAW would stand beside a picture of another shot, or vice versa."""
        beside = ((name, other) for name in names for other in self._photos.get(_stem(name), ()))
        return any(is_raw_name(name) != is_raw_name(other) for name, other in beside)

    def _put(self, path: str, target: Path) -> bool:
        """Place a file; False where something took the name meanwhile. What goes wrong otherwise is reported."""
        try:
            if self._dry_run:
                self._try(path)
                self._placed[target] = path
            else:
                _copy(path, target) if self._how == "copy" else target.symlink_to(path)
        except FileExistsError:
            return False
        except OSError as error:
            remedy = "; use --copy-to" if self._how == "link" else ""
            verb = "copied" if self._how == "copy" else "linked"
            self.report.failures.append(FailedPath(path, f"cannot be {verb} ({error.strerror or error}){remedy}"))
            return True
        self._note(target.name)
        self.report.placed.append((path, str(target)))
        return True

    def _try(self, path: str) -> None:
        """OSError where placing the file would fail, as far as can be seen without writing."""
        if self._folder.exists() and not may_write(self._folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if self._how == "copy":
            Path(path).open("rb").close()

    def _note(self, name: str) -> None:
        self._photos.setdefault(_stem(name), []).append(name)


def _stem(name: str) -> str:
    return Path(name).stem.casefold()


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{Path(name).stem}_{number}{Path(name).suffix}"


def _copy(path: str, target: Path) -> None:
    """Copy with times and permissions; only a whole copy has the name. FileExistsError where something has it."""
    part = target.with_name(f".{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as copy, Path(path).open("rb") as original:
            shutil.copyfileobj(original, copy, 1 << 20)
        _give_name(part, target)
    finally:
        part.unlink(missing_ok=True)
    shutil.copystat(path, target)


def _give_name(part: Path, target: Path) -> None:
    """Move a file to a name that nothing has; FileExistsError where something does. Renaming alone would replace it, on
    most systems."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # memory cards and some shares have no hard links: the name is taken by an empty file of our own
        target.open("xb").close()
        part.replace(target)
