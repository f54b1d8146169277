"""Photos in the order in which they were taken: a timeline for each camera, for clocks differ.

Photos without a capture time are in the order of the time that their names tell, or of the numbers in these; never of
the files' dates, which copying changes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from photorank.photos.pairs import Shot, stem

_BEGINNING = re.compile(r"[^0-9]*[0-9]*")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)
_TIME = re.compile(
    r"(?<![0-9])((?:19|20)[0-9]{2})([-_.]?)([0-9]{2})\2([0-9]{2})(?:[-_. T]| at )?"
    r"([0-9]{2})([-_.]?)([0-9]{2})\6([0-9]{2})(?:[-_.]?[0-9]{3})?(?![0-9])"
)
"""As in PXL_20240501_100100123, signal-2024-05-01-10-01-00-123 and 2024-05-01 10.01.00; milliseconds are left out."""


@dataclass(frozen=True)
class Frame:
    """A photo in a timeline."""

    at: int
    """Its number."""
    prefix: str
    """Its path without the ending and the digits before that,"""
    number: int | None
    """and these."""
    seconds: float | None = None
    """Since 1970; None where there is no time."""
    exact: bool = False
    """Whether fractions of them are known."""
    one_body: bool = False
    """Whether every frame of its timeline is of one camera. Those of one model, without a serial number, may not be."""


def timelines(shots: Sequence[Shot], mains: Sequence[int]) -> Iterator[list[Frame]]:
    """The frames of each camera by time, and those without a time by folder and name; `mains`: the shots to look at."""
    timed: dict[tuple[str, str], list[int]] = {}
    named: dict[tuple[str, str], list[Frame]] = {}
    numbered: dict[tuple[str, bool], list[Frame]] = {}
    for at in mains:
        shot = shots[at]
        if shot.taken_at is not None:
            timed.setdefault((shot.camera or "", shot.exposure.serial or ""), []).append(at)
            continue
        frame = _frame(shot, at)
        folder, name = os.path.split(stem(shot.path))
        if (told := _told_by_name(name)) is not None:
            named.setdefault((folder, told[0]), []).append(Frame(at, frame.prefix, None, told[1]))
        else:
            numbered.setdefault((frame.prefix, frame.number is None), []).append(frame)
    for camera in timed.values():
        seconds = _seconds([str(shots[at].taken_at) for at in camera])
        frames = [_frame(shots[at], at, when) for at, when in zip(camera, seconds, strict=True)]
        yield sorted(frames, key=lambda frame: (frame.seconds, _natural(shots[frame.at].path)))
    for frames in named.values():
        yield sorted(frames, key=lambda frame: (frame.seconds, _natural(shots[frame.at].path)))
    for frames in numbered.values():
        yield sorted(frames, key=lambda frame: (frame.number or 0, _natural(shots[frame.at].path)))


def slots(frames: Sequence[Frame], shots: Sequence[Shot]) -> list[list[Frame]]:
    """The frames of a timeline in its order, exports and edits with the frame that they were made of: of the same time
    and exposure, and of its name or one that begins with it (`web/IMG_1`, `IMG_1-edit`)."""
    found: list[list[Frame]] = []
    alike: dict[tuple[object, ...], list[list[Frame]]] = {}
    for frame in frames:
        shot, name = shots[frame.at], Path(shots[frame.at].path).stem
        # The beginning of a name is what edits have in common, and it keeps those to be looked at few.
        same = alike.setdefault((frame.seconds, shot.exposure, _BEGINNING.match(name)[0]), [])  # type: ignore[index]
        slot = next((each for each in same if _is_edit(Path(shots[each[0].at].path).stem, name)), None)
        if slot is None or frame.seconds is None:
            slot = []
            found.append(slot)
            same.append(slot)
        slot.append(frame)
    return found


def _frame(shot: Shot, at: int, seconds: float | None = None) -> Frame:
    folder, name = os.path.split(stem(shot.path))
    parts = _NUMBERED.fullmatch(name)
    prefix, number = (parts[1], int(parts[2])) if parts else ("", None)
    exact, one_body = "." in (shot.taken_at or ""), shot.exposure.serial is not None
    return Frame(at, folder + os.sep + prefix, number, seconds, exact, one_body)


def _told_by_name(name: str) -> tuple[str, float] | None:
    """What comes before the time in a name, and the time, in seconds since 1970 as if it were UTC's."""
    match = _TIME.search(name)
    if match is None:
        return None
    try:
        when = datetime(*(int(match[group]) for group in (1, 3, 4, 5, 7, 8)), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:  # the 31st of February
        return None
    return name[: match.start()], when.timestamp()


def _is_edit(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter) and not longer[len(shorter) :][:1].isdigit()


def _natural(path: str) -> tuple[list[tuple[int, str]], bytes]:
    """A key that sorts names with the numbers in them as numbers."""
    parts = re.findall(r"([0-9]{1,18})|([^0-9]+)", Path(path).name)
    return [(int(number or 0), text) for number, text in parts], os.fsencode(path)


def _seconds(times: Sequence[str]) -> list[float]:
    """Seconds since 1970 of one camera's times.

    One without an offset is taken to have that of the time nearest by the clock that has one; where none has, UTC's.
    """
    parsed = [datetime.fromisoformat(text) for text in times]
    clock = np.array([each.replace(tzinfo=UTC).timestamp() for each in parsed])
    offsets = np.array([each.utcoffset().total_seconds() if each.tzinfo else np.nan for each in parsed])  # type: ignore[union-attr]
    known = np.flatnonzero(~np.isnan(offsets))
    for at in np.flatnonzero(np.isnan(offsets)):
        offsets[at] = offsets[known[np.abs(clock[known] - clock[at]).argmin()]] if len(known) else 0.0
    return [float(each) for each in clock - offsets]
