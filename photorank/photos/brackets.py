"""Exposure brackets: frames of one motif that a camera exposed in steps, one right after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from photorank.photos.metadata import Exposure

_LENGTHS = (9, 7, 5, 3)
_WAIT = 2.5
"""Seconds from the end of one frame to the next, at most; one of them for clocks that are read to the second. Where a
camera says that it brackets, each frame may have been released by hand, and they may be as far apart as in a series."""
_UNEVEN = 0.25
"""Stops that steps may differ by: EXIF has thirds as 33/100, and shutter speeds by their names (1/60, not 1/64)."""
_LEAST = {"bias": 0.3, "light": 0.6}
"""Stops of a step, at least. Where only the settings tell, more: exposing by itself, a camera wanders in small ones."""


def find_brackets(seconds: Sequence[float | None], exposures: Sequence[Exposure], gap: float = _WAIT) -> list[slice]:
    """The brackets among the frames of one camera, which are sorted by time (seconds; None: not known), as ranges.
    `gap`: the most seconds between two frames of a series.

    A bracket is 3, 5, 7 or 9 frames whose EXIF exposure biases are all different and evenly spaced; where no bias is
    known or all are equal, the light that their settings let in. Of frames that a camera says it bracketed, 2 do.
    """
    found, at = list[slice](), 0
    while at < len(exposures):
        length = next(
            (n for n in _lengths(exposures[at]) if _is_bracket(seconds[at : at + n], exposures[at : at + n], n, gap)), 1
        )
        if length > 1:
            found.append(slice(at, at + length))
        at += length
    return found


def _lengths(exposure: Exposure) -> Sequence[int]:
    return range(9, 1, -1) if exposure.bracketed else _LENGTHS


def _is_bracket(seconds: Sequence[float | None], frames: Sequence[Exposure], length: int, gap: float) -> bool:
    if len(frames) < length or len({bool(frame.bracketed) for frame in frames}) > 1:
        return False
    wait = max(_WAIT, gap) if frames[0].bracketed else _WAIT
    for before, after, frame in zip(seconds[:-1], seconds[1:], frames[:-1], strict=True):
        if before is None or after is None or after - before > wait + (frame.seconds or 0.0):
            return False
    biases = [frame.bias for frame in frames if frame.bias is not None]
    if len(biases) == length and len(set(biases)) > 1:
        return _steps(biases, _LEAST["bias"])
    light = [frame.light for frame in frames if frame.light is not None]
    return len(light) == length and _steps(light, _LEAST["light"])


def _steps(stops: Sequence[float], least: float) -> bool:
    steps = np.diff(np.sort(stops))
    return bool(steps.min() >= least and np.ptp(steps) <= _UNEVEN)
