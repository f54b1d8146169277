"""Which files are one shot: exact copies, and a camera RAW and the picture that the camera or a program made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from photorank.photos.finding import is_beside_raw, is_raw_name
from photorank.photos.metadata import Exposure

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


class Pictures:
    """The pictures among some shots, each of a group, in which RAWs look for theirs: of the same name in the same
    folder, taken in the same second as far as that is known; else, for cameras write to two cards and people sort by
    kind, of the same name, second and camera in another folder, where there is one such photo only."""

    def __init__(self, shots: Sequence[Shot], within: Sequence[str]) -> None:
        """Of several in one place the first counts. `within`: the group of each shot."""
        self._shots = shots
        self._beside: dict[tuple[str, str], int] = {}
        self._alone: dict[tuple[str, ...], dict[bytes, int]] = {}
        for at, (shot, group) in enumerate(zip(shots, within, strict=True)):
            if is_beside_raw(shot.path):
                self._beside.setdefault((group, stem(shot.path)), at)
                self._alone.setdefault(_second(shot, group), {}).setdefault(shot.key, at)

    def of(self, raw: Shot, group: str = "") -> int | None:
        """The number of the shot that is the picture of this RAW; None where there is none, or it is no RAW."""
        if not is_raw_name(raw.path):
            return None
        beside = self._beside.get((group, stem(raw.path)))
        if beside is not None and _same_time(raw.taken_at, self._shots[beside].taken_at):
            return beside
        elsewhere = list(self._alone.get(_second(raw, group), {}).values()) if raw.taken_at else []
        return elsewhere[0] if len(elsewhere) == 1 else None


def originals(shots: Sequence[Shot], within: Sequence[str]) -> list[int]:
    """For each shot the number of the one that stands for it: of copies the first, of a RAW its picture. `within`: a
    name each, and only shots of the same one are put together."""
    keys = [(group, shot.key) for group, shot in zip(within, shots, strict=True)]
    first: dict[tuple[str, bytes], int] = {}
    for at, key in enumerate(keys):
        first.setdefault(key, at)
    pictures = Pictures(shots, within)
    of_raw: dict[int, int] = {}
    joined: dict[tuple[str, bytes], int] = {}  # so that copies of a RAW, whose names say nothing, stand there too
    for at, shot in enumerate(shots):
        picture = pictures.of(shot, within[at])
        if picture is not None:
            of_raw[at] = first[keys[picture]]
            joined.setdefault(keys[at], of_raw[at])
    return [of_raw.get(at, joined.get(key, first[key])) for at, key in enumerate(keys)]


def stem(path: str) -> str:
    """The path without its ending, which a RAW and the picture beside it have in common."""
    return str(Path(path).with_suffix(""))


def _second(shot: Shot, group: str) -> tuple[str, ...]:
    return group, Path(shot.path).stem, (shot.taken_at or "")[:19], shot.camera or ""


def _same_time(one: str | None, other: str | None) -> bool:
    """Whether nothing says that photos taken at these times are two shots: a clock that is read to the second."""
    return one is None or other is None or one[:19] == other[:19]
