"""Which photos are of one moment: by when they were taken, by which camera, and by how alike they are.

Each camera has a timeline of its own, for clocks differ. Photos without a capture time are in the order of their names,
never of the files' dates, which copying changes. A series is a run of a timeline, cut wherever time, name or likeness
says that something else begins. Exact copies, and the RAW beside a JPEG of the same shot, are one photo.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.cells import as_text
from photorank.photos.brackets import find_brackets
from photorank.photos.finding import is_beside_raw, is_raw_name
from photorank.photos.likeness import likeness
from photorank.photos.metadata import Exposure

GAP = 20.0
"""Seconds between two frames of one series, at most."""
EXTENT = 10
"""How many times the gap a series may last, for frames may follow one another for ever."""
ALIKE = 0.75
"""The least likeness to one of the `BACK` frames before. Of pairs of photos of different things 2 % are above it, of
frames of one moment (moved, tilted, blurred, two stops apart) 0.5 % below; a walk around a building stays above.
To ask for less after a short wait does not pay: at 0.70, 7 % of the former are above, for 0.04 % of the latter."""
SURELY_ALIKE = 0.82
"""The same where no time says that two photos belong together: 0.1 % and 4 %."""
BACK = 3
UNLIKE = 0.15
"""How much less alike a frame may be than those of its series usually are."""
AT_ONCE = 0.5
"""Seconds, known to fractions, in which nobody turns to another motif."""
STEP = 2
"""How far the numbers in two names may be apart: a frame between them may have been deleted."""


UNKNOWN = Exposure()


@dataclass(frozen=True)
class Shot:
    """A photo, as far as series are concerned."""

    path: str
    key: bytes
    taken_at: str | None = None
    """ISO 8601, with a UTC offset where EXIF has one."""
    camera: str | None = None
    exposure: Exposure = UNKNOWN


@dataclass(frozen=True)
class Grouping:
    """For each photo, in the order in which they were given:"""

    series: list[str]
    """The name of its series."""
    bracket: list[str | None]
    """The name of the exposure bracket (a series of its own) that it belongs to."""
    original: list[int]
    """The number of the photo that stands for it: its own, or for an exact copy, and a RAW beside its JPEG, that of
    the other."""


@dataclass(frozen=True)
class _Frame:
    """A photo in a timeline. `seconds`: since 1970; None where there is no time. `exact`: fractions of them are known.
    `number`: the digits that its name ends with."""

    at: int
    seconds: float | None
    exact: bool
    number: int | None


def by_time(shots: Sequence[Shot], vectors: NDArray[Any], gap: float = GAP) -> Grouping:
    """Series by capture time and likeness; `vectors` (N, DIM) are those of `photorank.photos.likeness`, a row a shot.

    The order of the shots does not matter.
    """
    order = sorted(range(len(shots)), key=lambda at: os.fsencode(shots[at].path))
    originals = _originals(shots, order, [""] * len(shots))
    mains = [at for at in order if originals[at] == at]
    runs: list[tuple[list[int], bool]] = []
    for timeline in _timelines(shots, mains):
        exposures = [shots[frame.at].exposure for frame in timeline]
        brackets = find_brackets([frame.seconds for frame in timeline], exposures)
        runs += [([frame.at for frame in timeline[part]], True) for part in brackets]
        taken = {at for part in brackets for at in range(part.start, part.stop)}
        rest = [frame for at, frame in enumerate(timeline) if at not in taken]
        runs += [([frame.at for frame in run], False) for run in _runs(rest, vectors, gap)]
    series, bracket = [""] * len(shots), [""] * len(shots)
    names = dict[str, int]()
    for run, is_bracket in sorted(runs, key=lambda run: os.fsencode(shots[run[0][0]].path)):
        name = _name(shots[run[0]])
        names[name] = names.get(name, 0) + 1
        for at in run:
            series[at] = name if names[name] == 1 else f"{name} ({names[name]})"
            bracket[at] = series[at] if is_bracket else ""
    return Grouping([series[at] for at in originals], [bracket[at] or None for at in originals], originals)


def by_name(shots: Sequence[Shot], series: Sequence[str]) -> Grouping:
    """Series as they are named, one for each shot; copies and a RAW beside its JPEG are looked for within each."""
    order = sorted(range(len(shots)), key=lambda at: os.fsencode(shots[at].path))
    return Grouping(list(series), [None] * len(shots), _originals(shots, order, series))


def _originals(shots: Sequence[Shot], order: Sequence[int], within: Sequence[str]) -> list[int]:
    """For each photo the one that stands for it; of copies that is the first by path."""
    keys = [(name, shot.key) for name, shot in zip(within, shots, strict=True)]
    first: dict[tuple[str, bytes], int] = {}
    pictures: dict[tuple[str, str], int] = {}
    for at in order:
        first.setdefault(keys[at], at)
        if is_beside_raw(shots[at].path):
            pictures.setdefault((within[at], stem(shots[at].path)), at)
    beside: dict[int, int] = {}  # RAW → what stands for the picture beside it
    joined: dict[tuple[str, bytes], int] = {}  # so that its copies, whose names say nothing, stand there too
    for at in order:
        picture = pictures.get((within[at], stem(shots[at].path)))
        if (
            picture is not None
            and is_raw_name(shots[at].path)
            and same_time(shots[at].taken_at, shots[picture].taken_at)
        ):
            beside[at] = first[keys[picture]]
            joined.setdefault(keys[at], beside[at])
    return [beside.get(at, joined.get(key, first[key])) for at, key in enumerate(keys)]


def stem(path: str) -> str:
    """The path without its ending, which a RAW and the picture beside it have in common."""
    return str(Path(path).with_suffix(""))


def same_time(one: str | None, other: str | None) -> bool:
    """Whether nothing says that photos taken at these times are two shots: a clock that is read to the second."""
    return one is None or other is None or one[:19] == other[:19]


def _timelines(shots: Sequence[Shot], mains: Sequence[int]) -> Iterator[list[_Frame]]:
    """The frames of each camera by time, and those without a time by folder and name."""
    timed: dict[tuple[str, str], list[int]] = {}
    untimed: dict[tuple[str, str | None], list[_Frame]] = {}
    for at in mains:
        shot = shots[at]
        if shot.taken_at is not None:
            timed.setdefault((shot.camera or "", shot.exposure.serial or ""), []).append(at)
            continue
        folder, name = os.path.split(stem(shot.path))
        numbered = re.fullmatch(r"(.*?)([0-9]{1,18})", name, re.DOTALL)
        prefix, number = (numbered[1], int(numbered[2])) if numbered else (None, None)
        untimed.setdefault((folder, prefix), []).append(_Frame(at, None, False, number))
    for camera in timed.values():
        seconds = _seconds([str(shots[at].taken_at) for at in camera])
        frames = [
            _Frame(at, when, "." in str(shots[at].taken_at), None) for at, when in zip(camera, seconds, strict=True)
        ]
        yield sorted(frames, key=lambda frame: (frame.seconds, _natural(shots[frame.at].path)))
    for frames in untimed.values():
        yield sorted(frames, key=lambda frame: (frame.number or 0, _natural(shots[frame.at].path)))


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


def _runs(frames: Sequence[_Frame], vectors: NDArray[Any], gap: float) -> Iterator[list[_Frame]]:
    """A timeline, cut into series."""
    rows = np.array([frame.at for frame in frames], np.int64)
    alike = [np.full(len(rows), -1, np.float32) for _ in range(BACK)]
    for lag, found in enumerate(alike, 1):
        found[lag:] = likeness(vectors, rows[:-lag], rows[lag:])
    like_first = _LikeFirst(vectors, rows)
    start = same = 0  # where this series begins, and in it the frames of this very time
    for at in range(1, len(frames) + 1):
        if at < len(frames) and _could_go_on(frames[at - 1], frames[at], gap):
            same = at if frames[at].seconds != frames[at - 1].seconds else same
            if _at_once(frames[at - 1], frames[at]):
                continue
            least = SURELY_ALIKE if frames[at].seconds is None else ALIKE
            if at - start > 1:
                least = max(least, float(np.median(alike[0][start + 1 : at])) - UNLIKE)
            # Frames that no time tells apart must be like the first of them, not only each like the next.
            if max(found[at] for found in alike[: at - start]) >= least and (
                same == at or like_first(same, at) >= least
            ):
                continue
        yield from _shortened(frames[start:at], alike[0][start:at], EXTENT * gap)
        start = same = at


class _LikeFirst:
    """The likeness of frames to one that came before, computed for some at once: one takes as long as ten."""

    def __init__(self, vectors: NDArray[Any], rows: NDArray[np.int64]) -> None:
        self._vectors, self._rows = vectors, rows
        self._first = self._start = -1
        self._found = np.empty(0, np.float32)

    def __call__(self, first: int, at: int) -> float:
        if first != self._first or at >= self._start + len(self._found):
            ahead = self._rows[at : at + 16]
            self._found = likeness(self._vectors, np.full(len(ahead), self._rows[first]), ahead)
            self._first, self._start = first, at
        return float(self._found[at - self._start])


def _could_go_on(before: _Frame, frame: _Frame, gap: float) -> bool:
    """Whether neither time nor name says that a series ends between two frames."""
    if before.seconds is None or frame.seconds is None:
        return before.number is None or frame.number is None or frame.number - before.number <= STEP
    return frame.seconds - before.seconds <= gap


def _at_once(before: _Frame, frame: _Frame) -> bool:
    if before.seconds is None or frame.seconds is None:
        return False
    return before.exact and frame.exact and frame.seconds - before.seconds <= AT_ONCE


def _shortened(frames: Sequence[_Frame], alike: NDArray[np.float32], extent: float) -> Iterator[list[_Frame]]:
    """A series, cut where the wait is longest, of equal waits where the frames are least alike, until none lasts longer
    than `extent`; `alike`: of each frame and the one before."""
    pending = [(0, len(frames))]
    while pending:
        start, end = pending.pop()
        seconds = [frame.seconds or 0.0 for frame in frames[start:end]]
        if seconds[-1] - seconds[0] <= extent:
            yield list(frames[start:end])
            continue
        waits = np.diff(seconds)
        longest = np.flatnonzero(waits == waits.max())
        cut = start + 1 + int(longest[alike[start + 1 :][longest].argmin()])
        pending += [(start, cut), (cut, end)]


def _name(shot: Shot) -> str:
    """What a series is called by its first photo: so that names sort by time."""
    name = as_text(Path(shot.path).name)
    return f"{shot.taken_at[:19].replace('T', ' ')} {name}" if shot.taken_at else as_text(shot.path)
