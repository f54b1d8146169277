"""The frames to keep, copied or linked into a folder. Nothing is overwritten, moved or deleted."""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from photorank.errors import PhotoError
from photorank.photos.finding import FailedPath, is_raw_name

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

    Where another photo has the name, `IMG_2.JPG` is taken, and so on. Raises PhotoError where the folder cannot be
    made; photos that cannot be copied or linked are reported, and the others are done.
    """
    report = PlacingReport()
    try:
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PhotoError(f"there can be no folder {folder} ({error.strerror or error}); name another") from error
    taken: set[Path] = set()
    for path in _kept(ranking):
        try:
            _place(path, folder, how, dry_run, report, taken)
        except OSError as error:
            remedy = "; use --copy-to" if how == "link" else ""
            verb = "copied" if how == "copy" else "linked"
            report.failures.append(FailedPath(path, f"cannot be {verb} ({error.strerror or error}){remedy}"))
    return report


def _kept(ranking: pd.DataFrame) -> Iterator[str]:
    for path, keep, copies in zip(ranking["path"], ranking["keep"], ranking["copies"], strict=True):
        if not pd.isna(keep) and keep:
            yield path
            yield from (each for each in copies if is_raw_name(each) and not is_raw_name(path))


def _place(path: str, folder: Path, how: How, dry_run: bool, report: PlacingReport, taken: set[Path]) -> None:
    for target in _names(folder, Path(path).name):
        if target in taken or os.path.lexists(target):
            if _is_same(path, target, how):
                report.unchanged += 1
                return
            continue
        if dry_run:
            taken.add(target)
        else:
            try:
                _copy(path, target) if how == "copy" else target.symlink_to(path)
            except FileExistsError:  # made meanwhile, or it is there under a name that differs by case
                continue
        report.placed.append((path, str(target)))
        return


def _names(folder: Path, name: str) -> Iterator[Path]:
    stem, suffix = Path(name).stem, Path(name).suffix
    yield folder / name
    number = 2
    while True:
        yield folder / f"{stem}_{number}{suffix}"
        number += 1


def _is_same(path: str, target: Path, how: How) -> bool:
    if not target.is_file():  # a dangling link, a folder, or what a dry run only names
        return False
    if how == "link" or target.is_symlink():
        return target.samefile(path)
    return filecmp.cmp(path, target, shallow=False)


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
