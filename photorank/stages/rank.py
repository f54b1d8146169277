"""rank: photos and a trained run in, the order of each series and the frame to keep out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from photorank.config import ExtractConfig
from photorank.errors import PhotoError, RunError
from photorank.extractors import own
from photorank.photos import find_photos
from photorank.runs import Run, load_run
from photorank.stages.cache import cache_store
from photorank.stages.extract import ExtractReport, compute
from photorank.stages.pipeline import Progress
from photorank.stages.scoring import scores
from photorank.stages.series import as_text, series_of
from photorank.store import FeatureStore


@dataclass(frozen=True)
class Ranking:
    """What one call found: a row a photo, and the extraction behind it."""

    table: pd.DataFrame
    """path, key (hex), series, rank (1 is best), score, p_best, keep; ordered by series and rank."""
    extraction: ExtractReport


class Ranker:
    """A trained run, ready to rank photos."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @classmethod
    def load(cls, run: str | os.PathLike[str]) -> Ranker:
        """The ranker of a run folder; RunError where it is none."""
        return cls(load_run(Path(run)))

    def rank(
        self, paths: Iterable[str | os.PathLike[str]], store: str | os.PathLike[str] | None = None,
        config: ExtractConfig | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """The table of `photorank rank` (see `Ranking.table`); a folder is a series."""
        return rank(paths, self.run, Path(store) if store is not None else cache_store(), config=config).table


def rank(
    paths: Iterable[str | os.PathLike[str]], run: Run, store: Path | None, series_by: str = "folder",
    config: ExtractConfig | None = None, progress: Progress | None = None, thumbnails: bool = False,
) -> Ranking:  # fmt: skip
    """Extract what is missing, score every photo, order each series. With `thumbnails`, for a report, the store keeps
    one of each photo that is decoded.

    `series_by` is `folder`, or a CSV with columns `path, series` (paths absolute or relative to the CSV's folder).
    Without a store the vectors are forgotten. `config` says how to extract, and names the code that may be run where
    the run has features of `kind: own`. Photos that fail are left out and reported. Raises PhotoError where there are
    no photos or none can be used, ConfigError for own code that is not named.
    """
    config = config or ExtractConfig()
    files, unfit = find_photos(paths)
    if not files:
        raise PhotoError("there are no photos there; name files, or folders that hold some")
    found = [file.path for file in files]
    series = dict(
        zip(found, series_of(found, series_by), strict=True)
    )  # what is wrong with a CSV is said before the work
    with ExitStack() as stack:
        if store is None:
            cache = cache_store().parent
            cache.mkdir(parents=True, exist_ok=True)
            store = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="no-store-", dir=cache))) / "store"
        opened = FeatureStore.create(store)
        features = [
            own.named(each, config.features.values()) if each.spec["kind"] == "own" else each for each in run.features
        ]
        extraction = compute(opened, files, unfit, features, config, progress=progress, thumbnails=thumbnails)
        failed = {failure.path for failure in extraction.failures}
        ranked = [path for path in found if path in extraction.keys and path not in failed]
        if not ranked:
            first = extraction.failures[0]
            raise PhotoError(
                f"none of the {extraction.photos} photos can be ranked; the first: {first.path}: {first.error}"
            )
        keys = [extraction.keys[path] for path in ranked]
        table = pd.DataFrame({"key": [key.hex() for key in keys], "score": _scores(opened, run, keys)})
        # As objects: pandas' own strings are UTF-8 and cannot hold every file name.
        table["path"] = pd.Series(ranked, dtype=object)
        table["series"] = [series[path] for path in ranked]
    return Ranking(order(table), extraction)


def _scores(store: FeatureStore, run: Run, keys: Sequence[bytes]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    distinct, at = np.unique(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32), axis=0, return_inverse=True)
    return scores(store, run, distinct)[at.reshape(-1)]


def order(table: pd.DataFrame) -> pd.DataFrame:
    """Add rank, p_best and keep to a table with `series` and `score`, and sort it.

    `p_best` is the softmax of the scores within a series: the probability that Luce's choice axiom (1959), of which
    Bradley-Terry is the case of two, gives to a frame of being chosen among all of them.
    """
    best = table.groupby("series")["score"].transform("max")
    shifted = pd.Series(np.exp(table["score"] - best), index=table.index)
    table["p_best"] = shifted / shifted.groupby(table["series"]).transform("sum")
    table = table.sort_values(["series", "score"], ascending=[True, False], ignore_index=True)
    table["rank"] = table.groupby("series").cumcount() + 1
    table["keep"] = table["rank"] == 1
    return table[["path", "key", "series", "rank", "score", "p_best", "keep"]]


def write_ranking(table: pd.DataFrame, out: Path) -> list[Path]:
    """`ranking.csv` and `ranking.parquet` in the folder `out`, each written whole or not at all.

    Raises RunError where they cannot be written.
    """
    shown = table.assign(path=[as_text(path) for path in table["path"]])
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, write in (("ranking.csv", shown.to_csv), ("ranking.parquet", shown.to_parquet)):
            part = out / f".{name}.part"
            write(part, index=False)
            part.replace(out / name)
            written.append(out / name)
    except OSError as error:
        raise RunError(
            f"the ranking cannot be written to {out}: {error.strerror or error}; name another --out"
        ) from error
    return written
