"""What was decided, as ratings and labels in XMP sidecars, where photo software looks for them. No photo is touched."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from photorank.errors import PhotoError
from photorank.photos import read_photo
from photorank.photos.finding import FailedPath
from photorank.photos.xmp import mark, new_xmp
from photorank.stages.folders import may_write

Style = Literal["lightroom", "darktable"]
MARKS = {True: {"Rating": "5", "Label": "Green"}, False: {"Rating": "1", "Label": "Red"}}
"""What a frame to keep gets, and one not to keep. Nothing is rejected (−1): some programs hide or delete what is."""


@dataclass
class SidecarsReport:
    """What was done, or with `dry_run` would be."""

    written: list[tuple[str, bool]] = field(default_factory=list)
    """Sidecars that were made or changed, and whether their photo is kept."""
    unchanged: int = 0
    given: int = 0
    """Sidecars with a rating or label of their own, which was left as it is."""
    failures: list[FailedPath] = field(default_factory=list)


def write_sidecars(
    ranking: pd.DataFrame, style: Style = "lightroom", overwrite: bool = False, dry_run: bool = False
) -> SidecarsReport:
    """Put `MARKS` into the sidecars of a ranking's photos and their copies; undecided ones are left alone.

    `lightroom`: `IMG.xmp`; `darktable`: `IMG.CR2.xmp`. Only the two marks change in a sidecar that is there, and those
    that it has already are left alone unless `overwrite`. One that cannot be parsed, read or written, or that photos of
    several rows would share, is reported, and the others are done.
    """
    report = SidecarsReport()
    rows: dict[Path, dict[int, str]] = {}
    for row, (path, copies) in enumerate(zip(ranking["path"], ranking["copies"], strict=True)):
        for each in (path, *copies):
            rows.setdefault(_sidecar(each, style), {}).setdefault(row, each)
    keeps = [None if pd.isna(keep) else bool(keep) for keep in ranking["keep"]]
    for sidecar, photos in rows.items():
        decided = [keep for row in photos if (keep := keeps[row]) is not None]
        try:
            if decided and len(photos) > 1:
                names = ", ".join(sorted(Path(photo).name for photo in photos.values()))
                raise PhotoError(f"would be that of different photos ({names}); take --xmp-style darktable")
            if decided:
                _write(sidecar, decided[0], overwrite, dry_run, report)
        except PhotoError as error:
            report.failures.append(FailedPath(str(sidecar), str(error)))
        except OSError as error:
            report.failures.append(FailedPath(str(sidecar), f"cannot be written ({error.strerror or error})"))
    return report


def _sidecar(path: str, style: Style) -> Path:
    photo = Path(path)
    name = photo.stem if style == "lightroom" else photo.name
    lower, upper = photo.with_name(f"{name}.xmp"), photo.with_name(f"{name}.XMP")
    return upper if os.path.lexists(upper) and not os.path.lexists(lower) else lower


def _write(sidecar: Path, keep: bool, overwrite: bool, dry_run: bool, report: SidecarsReport) -> None:
    there = os.path.lexists(sidecar)
    data = read_photo(str(sidecar)) if there else b""
    marked = mark(data, MARKS[keep], overwrite) if there else new_xmp(MARKS[keep])
    if there and not overwrite and _is_given(data, MARKS[keep], marked):
        report.given += 1
    if marked == data:
        report.unchanged += 1
        return
    if there and not os.access(sidecar, os.W_OK):
        raise PhotoError("is read-only")
    file = Path(os.path.realpath(sidecar))  # of a link, the file that it leads to
    if not dry_run:
        _replace(file, marked)
    elif not may_write(file.parent):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    report.written.append((str(sidecar), keep))


def _is_given(data: bytes, marks: Mapping[str, str], marked: bytes) -> bool:
    """Whether a sidecar that was marked without overwriting kept a mark of its own."""
    try:
        return marked != mark(data, marks, overwrite=True)
    except PhotoError:  # one that could not even be overwritten
        return True


def _replace(file: Path, data: bytes) -> None:
    """Write a file whole or not at all, with the permissions of the one that it replaces."""
    part = file.with_name(f".{secrets.token_hex(4)}.xmp.part")
    try:
        with part.open("xb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            shutil.copymode(file, part)
        part.replace(file)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
