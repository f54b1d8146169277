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
        return by_name(shots, series_of(paths, series_by))
    space = store.find_space(LIKENESS.name, LIKENESS.spec)
    if space is None:
        raise StoreError(f"{store.path} has no {LIKENESS.name} of these photos; extract it with the other features")
    return by_time(shots, space.load(keys)[1], gap)


def beside(raws: Iterable[str], pictures: Mapping[str, bytes]) -> dict[str, str]:
    """Of files of which some are camera RAWs those that have their picture among `pictures` (path → key), and which;
    see `Pictures`. Nothing is decoded."""
    raws = list(raws)
    names = {Path(path).stem for path in raws}
    shots = [Shot(path, key, *read_details(path)) for path, key in pictures.items() if Path(path).stem in names]
    among = Pictures(shots, [""] * len(shots))
    found = {path: among.of(Shot(path, b"", *read_details(path))) for path in raws}
    return {path: shots[at].path for path, at in found.items() if at is not None}


def series_of(paths: Sequence[str], series_by: str) -> list[str]:
    """The series of each photo, by what needs no look at it: `folder`, `all` (one series), or a CSV with columns
    `path, series`, paths absolute or relative to the CSV's folder, as ranking.csv is one; ConfigError where that names
    none for a photo."""
    if series_by == "folder":
        return [as_text(str(Path(path).parent)) for path in paths]
    if series_by == "all":
        return ["all"] * len(paths)
    file = Path(series_by)
    if not file.is_file():
        raise ConfigError(
            "--series-by is `folder`, `all`, a CSV file with columns path, series, or for rank `time`; "
            f"{series_by!r} is neither"
        )
    try:
        # A series may be called NA or null.
        table = read_csv(file, dtype=str, encoding="utf-8-sig")
        rows = list(zip(table["path"], table["series"], strict=True))
        given = {os.path.abspath(file.parent / path): name for path, name in rows if name}
        if "copies" in table:  # of a ranking, in which they have no row of their own
            for (_, name), cell in zip(rows, table["copies"], strict=True):
                for path in _BETWEEN_PATHS.split(cell) if name else ():
                    given.setdefault(path, name)
    except (KeyError, TypeError, ValueError, pd.errors.ParserError) as error:
        raise ConfigError(f"{file} is not a CSV with the columns path and series") from error
    unnamed = [path for path in paths if as_text(path) not in given]
    if unnamed:
        more = f" and {len(unnamed) - 1} more photos" if len(unnamed) > 1 else ""
        raise ConfigError(f"{file} names no series for {as_text(unnamed[0])}{more}; add a row for each")
    return [given[as_text(path)] for path in paths]
