"""degrade: photos in, each with worse variants of it and comparisons that say so out.

DIR/degrade.json              what it was made with; the same call goes on where it was, another one is refused
DIR/photos/SERIES/NN.png      a folder a photo, named by its key: original and variants in an order drawn by seed
DIR/comparisons.csv           the original against each variant, on a side drawn by seed; written last
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from photorank.cells import as_text
from photorank.comparisons.writing import write_comparisons
from photorank.errors import ComparisonsError, ConfigError, PhotoError
from photorank.photos import decode_photo, photo_key, read_photo
from photorank.photos.finding import FailedPath, find_photos
from photorank.stages.frames import Pixels
from photorank.stages.pipeline import Progress
from photorank.stages.variants import VARIANTS, choose
from photorank.stages.workers import each

SMALLEST = 32
"""Pixels of a photo's shorter side below which a variant shows nothing."""
_SECONDS = 600.0
_ABOUT = "degrade.json"
_FORMAT = 1
"""Raised when the same settings would make other files."""


@dataclass(frozen=True)
class Settings:
    """What decides the files that are made."""

    photos: tuple[str, ...]
    """The files and folders named, absolute."""
    variants: tuple[str, ...]
    long_side: int
    """Larger photos are reduced to so many pixels (0: none is), before they are made worse."""
    seed: int


@dataclass
class DegradeReport:
    """What was made."""

    path: str
    comparisons_file: str
    photos: int
    """Photos found; `series` of them have variants here, some made by an earlier call."""
    series: int
    comparisons: dict[str, int]
    """Variant → comparisons. Fewer than series where a variant equals its original, and was left out."""
    failures: list[FailedPath]


def degrade(
    paths: Iterable[str | os.PathLike[str]], out: Path, variants: Sequence[str] = (), long_side: int = 800,
    seed: int = 0, workers: int = 0, progress: Progress | None = None,
) -> DegradeReport:  # fmt: skip
    """Make the variants (names as of `variants.choose`; none: all 27) of every photo under `paths` in the folder `out`.

    Raises ConfigError where `out` holds other things or was made with other settings, PhotoError where there are no
    photos or none can be used, ComparisonsError where `out` cannot be written. Single photos that fail are in the
    report.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    named = tuple(sorted(as_text(os.path.abspath(path)) for path in paths))
    settings = Settings(named, tuple(choose(variants)), long_side, seed)
    files, failures = find_photos(paths)
    inside = os.path.abspath(out) + os.sep
    found = [file.path for file in files if not file.path.startswith(inside)]  # what an earlier call made
    if not found:
        raise PhotoError("there are no photos there; name files, or folders that hold some")
    series: dict[str, str] = {}
    try:
        _begin(out, settings)
        for number, (path, made) in enumerate(each(partial(_make, out, settings), found, workers, _SECONDS), 1):
            if isinstance(made, PhotoError):
                failures.append(FailedPath(path, str(made)))
            else:
                series[path] = made
            if progress is not None:
                progress(number, len(found), len(failures))
    except OSError as error:
        raise ComparisonsError(
            f"the variants cannot be written to {out}: {error.strerror or error}; what was made is kept, and the same "
            f"call goes on from there"
        ) from error
    failures.sort(key=lambda failure: failure.path)
    if not series:
        first = failures[0]
        raise PhotoError(f"none of the {len(found)} photos can be used; the first: {first.path}: {first.error}")
    _tidy(out)
    # A photo that is there twice is one series, called by the first of its paths.
    sources = {name: path for path, name in sorted(series.items(), reverse=True)}
    table = pd.concat([_comparisons(out, settings, sources[name], name) for name in sorted(sources)], ignore_index=True)
    write_comparisons(table, out / "comparisons.csv", replace=True)
    counts = Counter(table["variant"])
    return DegradeReport(
        str(out), str(out / "comparisons.csv"), len(found), len(sources),
        {name: counts[name] for name in settings.variants}, failures,
    )  # fmt: skip


def _begin(out: Path, settings: Settings) -> None:
    """The folder, new or as an earlier call of these settings left it."""
    about, text = out / _ABOUT, json.dumps({"format": _FORMAT, **asdict(settings)})
    if about.is_file():
        if about.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{out} was made of other photos, or with other variants or settings, and is kept; name another --out"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already and is kept; name another --out, or remove it")
    (out / "photos").mkdir(parents=True, exist_ok=True)
    _tidy(out)
    part = out / f".{_ABOUT}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(about)


def _tidy(out: Path) -> None:
    """Delete what processes that were killed left behind."""
    for left in (out / "photos").glob(".*.part"):
        shutil.rmtree(left, ignore_errors=True)


def _make(out: Path, settings: Settings, path: str) -> str:
    """Write the folder of one photo, whole or not at all, unless it is there; its name."""
    data = read_photo(path)
    key = photo_key(data)
    folder = out / "photos" / key.hex()[:16]
    if folder.is_dir():
        return folder.name
    original = _reduced(decode_photo(data).rgb, settings.long_side)
    if min(original.shape[:2]) < SMALLEST:
        raise PhotoError(f"is smaller than {SMALLEST} × {SMALLEST} pixels")
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    # In the order of their names, so that the files' times tell nothing either; not compressed, so that their sizes are
    # the same.
    for name, variant in sorted(_names(settings, folder.name).items()):
        pixels = VARIANTS[variant](original) if variant else original
        # Light on a black photo changes nothing, say: what equals the original is no worse, and left out.
        if not variant or not np.array_equal(pixels, original):
            Image.fromarray(np.ascontiguousarray(pixels)).save(part / name, compress_level=0)
    caller = multiprocessing.parent_process()
    if caller is not None and not caller.is_alive():  # it was killed, and another call may be tidying up
        raise PhotoError("was not finished")
    try:
        part.rename(folder)
    except OSError:
        shutil.rmtree(part)
        if not folder.is_dir():  # else a copy of this photo came first
            raise
    return folder.name


def _reduced(pixels: Pixels, long_side: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = long_side / max(height, width)
    if not long_side or scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _generator(settings: Settings, series: str) -> np.random.Generator:
    return np.random.default_rng([settings.seed, int(series, 16)])


def _names(settings: Settings, series: str) -> dict[str, str]:
    """File name → variant, "" for the original."""
    frames = ["", *settings.variants]
    order = _generator(settings, series).permutation(len(frames))
    return {f"{place + 1:02d}.png": frame for place, frame in zip(order.tolist(), frames, strict=True)}


def _comparisons(out: Path, settings: Settings, source: str, series: str) -> pd.DataFrame:
    names = {variant: f"photos/{series}/{name}" for name, variant in _names(settings, series).items()}
    made = [variant for variant in settings.variants if (out / names[variant]).is_file()]
    generator = _generator(settings, series)
    generator.permutation(len(names))  # the sides are drawn after the order
    sides = dict(zip(settings.variants, (generator.random(len(settings.variants)) < 0.5).tolist(), strict=True))
    rows = []
    for variant in made:
        pair = (names[""], names[variant]) if sides[variant] else (names[variant], names[""])
        rows.append((series, *pair, float(sides[variant]), variant, as_text(source)))
    return pd.DataFrame(rows, columns=["series", "left", "right", "p_left", "variant", "source"])
