"""Which series a photo is of: by time and likeness, its folder's, the one that a CSV names, or one for all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from photorank.cells import as_text
from photorank.comparisons.reading import read_csv
from photorank.errors import ConfigError, StoreError
from photorank.extractors.likeness import LIKENESS
from photorank.photos import read_details, read_exposure
from photorank.photos.finding import is_raw_name
from photorank.photos.grouping import GAP, Grouping, by_name, by_time
from photorank.photos.pairs import UNKNOWN, Pictures, Shot
from photorank.store import FeatureStore

_BETWEEN_PATHS = re.compile(r"; (?=/|\\\\|[A-Za-z]:[\\/])")
"""Between the absolute paths in one cell of ranking.csv."""


def group(
    store: FeatureStore, paths: Sequence[str], keys: Sequence[bytes], series_by: str = "time", gap: float = GAP
) -> Grouping:
    """The series of the photos at `paths`, whose keys are `keys` and which the store has seen; see `Grouping`.

    `series_by` is `time` (by capture time and likeness: the store must have `LIKENESS` of the photos; `gap`: the most
    seconds between two frames of one series), or as for `series_of`. Raises ConfigError as of `series_of`, StoreError
    where the store has no likeness of a photo.
    """
    by_clock = series_by == "time"
    table = store.files()
    columns = (table[name].to_pylist() for name in ("path", "taken_at", "camera"))
    seen = {path: about for path, *about in zip(*columns, strict=True)}
    shots = []
    for path, key in zip(paths, keys, strict=True):
        taken_at, camera = seen[os.fsencode(path)]
        shots.append(Shot(path, key, taken_at, camera, read_exposure(path) if by_clock else UNKNOWN))
    if not by_clock:
        named = _named(paths, series_by)
        return by_name(shots, [series for series, _ in named], [bracket for _, bracket in named])
    space = store.find_space(LIKENESS.name, LIKENESS.spec)
    if space is None:
        raise StoreError(f"{store.path} has no {LIKENESS.name} of these photos; extract it with the other features")
    return by_time(shots, space.load(keys)[1], gap)


def beside(raws: Iterable[str], pictures: Mapping[str, bytes]) -> dict[str, str]:
    """Of files of which some are camera RAWs those that have their picture among `pictures` (path → key), and which;
    see `Pictures`. Nothing is decoded."""
    raws = [path for path in raws if is_raw_name(path) and os.path.isfile(path)]  # noqa: PTH113  (Path.is_file raises)
    names = {Path(path).stem for path in raws}
    shots = [Shot(path, key, *read_details(path)) for path, key in pictures.items() if Path(path).stem in names]
    among = Pictures(shots, [""] * len(shots))
    found = {path: among.of(Shot(path, b"", *read_details(path))) for path in raws}
    return {path: shots[at].path for path, at in found.items() if at is not None}


def series_of(paths: Sequence[str], series_by: str) -> list[str]:
    """The series of each photo, by what needs no look at it: `folder`, `all` (one series), or a CSV with columns
    `path, series`, paths absolute or relative to the CSV's folder, as ranking.csv is one; ConfigError where that names
    none for a photo, or two."""
    return [series for series, _ in _named(paths, series_by)]


def _named(paths: Sequence[str], series_by: str) -> list[tuple[str, str | None]]:
    """As `series_of`, with each the exposure bracket that a CSV's column `bracket` says that the photo is of."""
    if series_by == "folder":
        return [(as_text(str(Path(path).parent)), None) for path in paths]
    if series_by == "all":
        return [("all", None)] * len(paths)
    file = Path(series_by)
    if not file.is_file():
        raise ConfigError(
            "--series-by is `folder`, `all`, a CSV file with columns path, series, or for rank `time`; "
            f"{series_by!r} is neither"
        )
    try:
        given = _given(file)
    except (KeyError, TypeError, ValueError, pd.errors.ParserError) as error:
        raise ConfigError(f"{file} is not a CSV with the columns path and series") from error
    unnamed = [path for path in paths if as_text(path) not in given]
    if unnamed:
        more = f" and {len(unnamed) - 1} more photos" if len(unnamed) > 1 else ""
        raise ConfigError(f"{file} names no series for {as_text(unnamed[0])}{more}; add a row for each")
    return [given[as_text(path)] for path in paths]


def _given(file: Path) -> dict[str, tuple[str, str | None]]:
    """Path → series and bracket, by a CSV. Raises what pandas raises."""
    table = read_csv(file, dtype=str, encoding="utf-8-sig")  # a series may be called NA or null
    empty = [""] * len(table)
    columns = (table["path"], table["series"], table.get("bracket", empty), table.get("copies", empty))
    rows = [row for row in zip(*columns, strict=True) if row[1]]
    given: dict[str, tuple[str, str | None]] = {}
    for cell, series, bracket, _ in rows:
        path = os.path.abspath(file.parent / cell)
        if given.setdefault(path, (series, bracket or None))[0] != series:
            raise ConfigError(
                f"{file} has {as_text(cell)} in two series, {given[path][0]!r} and {series!r}; leave one row of it"
            )
    for _, series, bracket, copies in rows:  # of a ranking, in which they have no row of their own
        for path in _BETWEEN_PATHS.split(copies):
            given.setdefault(path, (series, bracket or None))
    return given
