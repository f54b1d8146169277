"""stars: ratings that photos have already, as comparisons within their series."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from photorank.comparisons.writing import refuse_output, write_comparisons
from photorank.errors import ComparisonsError, PhotoError
from photorank.photos import photo_key, read_photo
from photorank.photos.finding import FailedPath, find_photos
from photorank.photos.ratings import stars_of
from photorank.stages.pipeline import Progress
from photorank.stages.series import series_of

ODDS = 3.0
"""The odds that somebody prefers the photo with one star more; of two stars more they are the square, and so on."""
MOST = 2_000_000
"""Pairs that are compared, at most: a table of more takes gigabytes, and its photos are hardly of moments."""
LARGE = 50
"""A series with more rated photos is hardly one moment."""


@dataclass
class StarsReport:
    """What was made of the ratings."""

    path: str
    photos: int
    rated: int
    """Photos with 1 to 5 stars, or rejected."""
    rejected: int
    series: int
    """Series that have comparisons."""
    comparisons: int
    ties: int
    """Pairs of equal rating, left out: they say nothing of which to keep."""
    failures: list[FailedPath]
    """Photos whose rating cannot be read."""
    warnings: list[str]


def stars(
    paths: Iterable[str | os.PathLike[str]], out: Path, series_by: str = "folder", progress: Progress | None = None
) -> StarsReport:
    """Compare the rated photos of each series, two by two, and write the new comparisons file `out`.

    `series_by` as for `series_of`. A rejected photo counts as one of 0 stars; photos without a rating are not compared.
    p_left is logistic in the difference of stars (Bradley-Terry), with the odds `ODDS` a star; the sides are drawn by a
    fixed seed. Raises PhotoError where there are no photos, ComparisonsError where no two ratings of a series differ or
    there are more than `MOST` pairs.
    """
    refuse_output(out)
    files, failures = find_photos(paths)
    if not files:
        raise PhotoError("there are no photos there; name files, or folders that hold some")
    found = [file.path for file in files]
    series = series_of(found, series_by)
    rated: dict[str, list[tuple[str, float]]] = {}
    rejected = 0
    for number, (path, name) in enumerate(zip(found, series, strict=True), 1):
        try:
            given = stars_of(path)
            if given:  # neither unrated nor 0
                rated.setdefault(name, []).append((_name(path), max(given, 0.0)))
                rejected += given < 0
        except PhotoError as error:
            failures.append(FailedPath(path, str(error)))
        if progress is not None:
            progress(number, len(found), len(failures))
    _refuse_too_many(rated)
    table, ties = _compare(rated)
    count = sum(map(len, rated.values()))
    if table.empty:
        raise ComparisonsError(
            f"{count} of {len(found)} photos are rated, and no two of one series differently: there is nothing to "
            f"compare; rate the frames of a series, or say with --series-by what a series is"
        )
    write_comparisons(table, out)
    warnings = [
        f"{name} has {len(each)} rated photos; if they are not of one moment, say with --series-by CSV which are"
        for name, each in rated.items() if len(each) > LARGE
    ]  # fmt: skip
    compared = table["series"].nunique()
    return StarsReport(str(out), len(found), count, rejected, compared, len(table), ties, failures, warnings)


def _refuse_too_many(rated: dict[str, list[tuple[str, float]]]) -> None:
    """ComparisonsError where they make more than `MOST` pairs."""
    pairs = sum(math.comb(len(photos), 2) for photos in rated.values())
    if pairs > MOST:
        largest = max(rated, key=lambda name: len(rated[name]))
        raise ComparisonsError(
            f"the rated photos of each series make {pairs:,} pairs, more than {MOST:,} (the largest series, {largest}, "
            f"has {len(rated[largest]):,}); say with --series-by CSV which photos are of one moment"
        )


def _compare(rated: dict[str, list[tuple[str, float]]]) -> tuple[pd.DataFrame, int]:
    """The comparisons, and how many pairs are tied."""
    rows, ties = [], 0
    generator = np.random.default_rng(0)
    for name, photos in rated.items():
        for pair in itertools.combinations(photos, 2):
            (left, one), (right, other) = pair if generator.random() < 0.5 else pair[::-1]
            if one == other:
                ties += 1
            else:
                rows.append((name, left, right, round(1 / (1 + ODDS ** (other - one)), 4)))
    return pd.DataFrame(rows, columns=["series", "left", "right", "p_left"]), ties


def _name(path: str) -> str:
    """The path; the photo's key where the path is no text that a table could hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return photo_key(read_photo(path)).hex()
    return path
