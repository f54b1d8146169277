"""Which photos are of one moment: by when they were taken, by which camera, and by how alike they are.

Each camera has a timeline of its own, for clocks differ. Photos without a capture time are in the order of their names,
never of the files' dates, which copying changes. A timeline is cut wherever time, name or likeness says that something
else begins, and pieces of one scene are put together again: these are the series. Exact copies, and the RAW and the
JPEG of one shot, are one photo.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.cells import as_text
from photorank.photos.brackets import find_brackets
from photorank.photos.likeness import likeness
from photorank.photos.pairs import Shot, originals
from photorank.photos.timelines import Frame, slots, timelines

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
OPEN = 4
"""Scenes that frames of one timeline go back and forth between, at most."""


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


def by_time(shots: Sequence[Shot], vectors: NDArray[Any], gap: float = GAP) -> Grouping:
    """Series by capture time and likeness; `vectors` (N, DIM) are those of `photorank.photos.likeness`, a row a shot.

    The order of the shots does not matter.
    """
    order, stands = _by_path(shots, [""] * len(shots))
    runs: list[tuple[list[int], bool]] = []
    for timeline in timelines(shots, [at for at in order if stands[at] == at]):
        taken = slots(timeline, shots)
        # Names that follow one another do for a clock.
        clock = [frame.number if frame.seconds is None else frame.seconds for frame, *_ in taken]
        brackets = find_brackets(clock, [shots[frame.at].exposure for frame, *_ in taken], gap)
        whole = [[frame for slot in taken[part] for frame in slot] for part in brackets]
        inside = {frame.at for frames in whole for frame in frames}
        rest = [frame for frame in timeline if frame.at not in inside]
        runs += [([frame.at for frame in frames], True) for frames in whole]
        for joined in _joined(_runs(rest, vectors, gap), vectors, gap):
            runs += [([frame.at for frame in part], False) for part in _shortened(joined, vectors, EXTENT * gap)]
    series, bracket = [""] * len(shots), [""] * len(shots)
    names = dict[str, int]()
    for run, is_bracket in sorted(runs, key=lambda run: os.fsencode(shots[run[0][0]].path)):
        name = _name(shots[run[0]])
        names[name] = names.get(name, 0) + 1
        for at in run:
            series[at] = name if names[name] == 1 else f"{name} ({names[name]})"
            bracket[at] = series[at] if is_bracket else ""
    return Grouping([series[at] for at in stands], [bracket[at] or None for at in stands], stands)


def by_name(shots: Sequence[Shot], series: Sequence[str], bracket: Sequence[str | None]) -> Grouping:
    """Series and brackets as they are named, one for each shot; copies and a RAW beside its JPEG are looked for within
    each series."""
    stands = _by_path(shots, series)[1]
    return Grouping(list(series), [bracket[at] for at in stands], stands)


def _by_path(shots: Sequence[Shot], within: Sequence[str]) -> tuple[list[int], list[int]]:
    """The shots' numbers by path, of which the first copy counts; and for each shot the one that stands for it."""
    order = sorted(range(len(shots)), key=lambda at: os.fsencode(shots[at].path))
    stands = [0] * len(shots)
    for at, found in zip(order, originals([shots[at] for at in order], [within[at] for at in order]), strict=True):
        stands[at] = order[found]
    return order, stands


def _runs(frames: Sequence[Frame], vectors: NDArray[Any], gap: float) -> Iterator[list[Frame]]:
    """A timeline, cut where time, name or likeness says that something else begins."""
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
        if at > start:
            yield list(frames[start:at])
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


def _joined(runs: Iterable[list[Frame]], vectors: NDArray[Any], gap: float) -> list[list[Frame]]:
    """The runs of a timeline, those of one scene put together that others came between: somebody goes back and forth,
    or two bodies of one model take their frames at the same time. The first and the last frame must surely be alike."""
    found: list[list[Frame]] = []
    before: list[Frame] = []
    for run in runs:
        wanted = [each for each in found[-OPEN:] if each is not before and _could_join(each, run, gap)]
        best = max(((_alike(each, run, vectors), at) for at, each in enumerate(wanted)), default=(-1.0, 0))
        if best[0] < SURELY_ALIKE:
            before = run
            found.append(run)
        else:
            before = wanted[best[1]]
            before += run
            # The last ones are those that frames may still come to.
            found[-OPEN:] = sorted(found[-OPEN:], key=lambda each: each[-1].seconds or 0.0)
    return found


def _alike(before: Sequence[Frame], run: Sequence[Frame], vectors: NDArray[Any]) -> float:
    ends = np.array([before[0].at, before[-1].at])
    return float(likeness(vectors, ends, np.full(2, run[0].at)).min())


def _could_join(before: Sequence[Frame], run: Sequence[Frame], gap: float) -> bool:
    end, at = before[-1].seconds, run[0].seconds
    return end is not None and at is not None and at - end <= gap


def _could_go_on(before: Frame, frame: Frame, gap: float) -> bool:
    """Whether neither time nor name says that a series ends between two frames."""
    if before.seconds is None or frame.seconds is None:
        return before.number is None or frame.number is None or frame.number - before.number <= STEP
    return frame.seconds - before.seconds <= gap


def _at_once(before: Frame, frame: Frame) -> bool:
    """Whether the wait is too short for another motif, surely of one body. (Some programs write fractions of zero.)"""
    if before.seconds is None or frame.seconds is None or not (before.exact and frame.exact):
        return False
    wait = frame.seconds - before.seconds
    followed = before.prefix == frame.prefix and abs((frame.number or 0) - (before.number or 0)) <= STEP
    return wait <= AT_ONCE and (wait > 0 or frame.seconds % 1 > 0) and (frame.one_body or followed)


def _shortened(frames: Sequence[Frame], vectors: NDArray[Any], extent: float) -> Iterator[Sequence[Frame]]:
    """A series, cut where the wait is longest, of equal waits where the frames are least alike, until none lasts longer
    than `extent`."""
    seconds = np.array([frame.seconds or 0.0 for frame in frames])
    if seconds[-1] - seconds[0] <= extent:
        yield frames
        return
    rows, waits = np.array([frame.at for frame in frames]), np.diff(seconds)
    alike = likeness(vectors, rows[:-1], rows[1:])
    pending = [(0, len(frames))]
    while pending:
        start, end = pending.pop()
        if seconds[end - 1] - seconds[start] <= extent:
            yield frames[start:end]
            continue
        inside = waits[start : end - 1]
        longest = start + np.flatnonzero(inside == inside.max())
        cut = 1 + int(longest[alike[longest].argmin()])
        pending += [(start, cut), (cut, end)]


def _name(shot: Shot) -> str:
    """What a series is called by its first photo: so that names sort by time."""
    name = as_text(Path(shot.path).name)
    return f"{shot.taken_at[:19].replace('T', ' ')} {name}" if shot.taken_at else as_text(shot.path)
