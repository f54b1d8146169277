"""Folders of photos as cameras write them, whose series are known: real JPEGs with real EXIF."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from PIL.TiffImagePlugin import IFDRational

from photorank.stages.frames import expose

NOON = datetime(2024, 6, 1, 12)
Scene = Callable[[int], Image.Image]
"""Its number → the picture of a scene, a bit larger than the frames of it."""


def exif(
    taken_at: datetime | None = None, parts: int = 0, offset: str | None = None, camera: str = "Maker Camera",
    serial: str | None = None, bias: float | None = None, seconds: float | None = None, mode: int | None = None,
) -> Image.Exif:  # fmt: skip
    """EXIF as cameras write it; `parts`: digits of the sub-seconds."""
    made = Image.Exif()
    made[0x010F], made[0x0110] = camera.split()[0], camera
    below: dict[int, Any] = {}
    if taken_at is not None:
        below[0x9003] = taken_at.strftime("%Y:%m:%d %H:%M:%S")
        if parts:
            below[0x9291] = f"{taken_at.microsecond:06d}"[:parts]
    if offset is not None:
        below[0x9011] = offset
    if serial is not None:
        below[0xA431] = serial
    if bias is not None:
        below[0x9204] = IFDRational(round(100 * bias), 100)
    if seconds is not None:
        below.update({0x829A: IFDRational(1, round(1 / seconds)), 0x829D: IFDRational(4), 0x8827: 200})
    if mode is not None:
        below[0xA402] = mode
    made[0x8769] = below
    return made


@dataclass
class Roll:
    """A folder that photos are written into, and the truth about them: path → series, path → bracket."""

    folder: Path
    scene: Scene
    series: dict[str, str] = field(default_factory=dict)
    brackets: dict[str, str] = field(default_factory=dict)

    def frame(self, scene: int, seed: int, stops: float = 0.0) -> Image.Image:
        """A frame of a scene, held by hand: moved by up to a tenth, tilted by up to 2°, not always sharp."""
        generator = np.random.default_rng((scene, seed))
        picture = self.scene(scene).rotate(generator.uniform(-2, 2), Image.Resampling.BICUBIC)
        width, height = picture.size
        left, top = (generator.uniform(0.02, 0.12, 2) * (width, height)).astype(int)
        picture = picture.crop((left, top, left + int(0.86 * width), top + int(0.86 * height)))
        if generator.random() < 0.2:
            picture = picture.filter(ImageFilter.GaussianBlur(width / 200))
        return Image.fromarray(expose(np.asarray(picture), stops + generator.normal(0, 0.15)))

    def add(self, name: str, scene: int, seed: int, series: object, stops: float = 0.0, **about: Any) -> Path:
        """Write one photo; `about` as for `exif`, or nothing for a file without."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self.frame(scene, seed, stops)
        if about:
            picture.save(path, "JPEG", quality=90, exif=exif(**{"camera": f"Maker {self.folder.name}", **about}))
        else:
            picture.save(path, "JPEG", quality=90)
        self.series[str(path)] = f"{self.folder.name}/{series}"
        return path

    def bracket(self, name: str, scene: int, at: datetime, stops: Iterator[float] | tuple[float, ...], by: str) -> None:
        """Write a bracket of a scene that begins at a time; `by`: whether `bias` or `seconds` tells, or `mode` too."""
        for number, each in enumerate(stops):
            told = {"seconds": 0.005 * 2**each} if by == "seconds" else {"bias": each}
            if by == "mode":
                told["mode"] = 2
            when = at + timedelta(seconds=0.4 * number)
            seed = 100 * at.second + number  # two brackets of a scene are not copies
            path = self.add(f"{name}_{number}.jpg", scene, seed, f"bracket {name}", each, taken_at=when, **told)
            self.brackets[str(path)] = self.series[str(path)]


def bursts(roll: Roll, scenes: range, **about: Any) -> None:
    """Bursts at 10 frames a second; half of the next scenes come seconds later, half after a while."""
    at, number = NOON, 0
    generator = np.random.default_rng(scenes.start)
    for scene in scenes:
        for seed in range(generator.integers(3, 8)):
            number += 1
            roll.add(f"IMG_{number:04d}.jpg", scene, seed, scene, taken_at=at, **about)
            at += timedelta(seconds=0.1)
        at += timedelta(seconds=float(generator.uniform(2, 9) if scene % 2 else generator.uniform(40, 200)))


def two_cameras(roll: Roll, scenes: range) -> None:
    """Both at the same scenes at the same time, the clock of one 4.3 s ahead."""
    for number, (camera, ahead) in enumerate((("One Camera", 0.0), ("Other Cam", 4.3))):
        for scene in scenes:
            for seed in range(3):
                at = NOON + timedelta(seconds=ahead + 50 * scene + 1.5 * seed)
                name = f"{camera.split()[0]}/DSC{3 * scene + seed:05d}.jpg"
                roll.add(name, scene, 3 * number + seed, f"{camera} {scene}", taken_at=at, parts=2, camera=camera)


def two_bodies(roll: Roll, scenes: range) -> None:
    """Two cameras of one model, told apart by their serial numbers, at different scenes."""
    for number, scene in enumerate(scenes):
        for seed in range(3):
            at = NOON + timedelta(seconds=5.0 * (number // 2) * 6 + 2.0 * seed + number % 2)
            serial = f"{100 + number % 2}"
            roll.add(f"{serial}/P{number:03d}{seed}.jpg", scene, seed, scene, taken_at=at, serial=serial)


def brackets(roll: Roll, scenes: range) -> None:
    """Brackets told by bias, by settings, by the camera's word; back to back, after single frames, within a burst."""
    at = NOON
    for number, scene in enumerate(scenes):
        by = ("bias", "seconds", "mode")[number % 3]
        stops = ((-2.0, 0.0, 2.0), (0.0, -1.0, 1.0), (-4.0, -2.0, 0.0, 2.0, 4.0))[number // 3 % 3]
        told = {"seconds": 0.005} if by == "seconds" else {"bias": 0.0}
        for seed in range(number % 2):
            roll.add(f"A{number:03d}_{seed}.jpg", scene, 20 + seed, f"{scene} single", taken_at=at, **told)
            at += timedelta(seconds=3)
        for turn in range(1 + number % 2):
            roll.bracket(f"B{number:03d}-{turn}", scene, at, stops, by)
            at += timedelta(seconds=2.5)
        at += timedelta(seconds=5 if number % 4 else 60)


def time_zones(roll: Roll, scenes: range) -> None:
    """A phone that crosses a border: the clock jumps by an hour in a scene. Every third frame has lost its offset."""
    for scene in scenes:
        for seed in range(5):
            utc = NOON + timedelta(seconds=60 * scene + 1.3 * seed)
            hours = 1 if seed < 3 else 2
            about = {"offset": f"+0{hours}:00"} if seed % 3 else {}
            at = utc + timedelta(hours=hours)
            roll.add(f"PXL_{scene:03d}{seed}.jpg", scene, seed, scene, taken_at=at, parts=3, **about)


def no_exif(roll: Roll, scenes: range) -> None:
    """Names alone, the next scene's numbers going on at once."""
    number = 100
    for scene in scenes:
        for seed in range(4):
            number += 1 + (seed == 2)  # a frame was deleted
            roll.add(f"shot{number}.jpg", scene, seed, scene)


def all_rolls(folder: Path, scene: Scene, scenes: int) -> list[Roll]:
    """One roll of each kind, each of so many scenes of its own."""
    kinds: list[Callable[[Roll, range], None]] = [
        lambda roll, numbers: bursts(roll, numbers, parts=2),
        bursts, brackets, two_cameras, two_bodies, time_zones, no_exif,
    ]  # fmt: skip
    rolls = []
    for number, make in enumerate(kinds):
        rolls.append(Roll(folder / f"roll-{number}", scene))
        make(rolls[-1], range(number * scenes, (number + 1) * scenes))
    return rolls


def pairs(series: dict[str, str]) -> set[tuple[str, str]]:
    """All pairs of photos of one series."""
    members: dict[str, list[str]] = {}
    for path in sorted(series):
        members.setdefault(series[path], []).append(path)
    return {pair for each in members.values() for pair in combinations(each, 2)}


def f1(found: dict[str, str], truth: dict[str, str]) -> float:
    """Pairwise F1: of precision and recall of the pairs that are in one series."""
    ours, real = pairs(found), pairs(truth)
    return 2 * len(ours & real) / (len(ours) + len(real))
