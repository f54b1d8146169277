"""rank: photos and a trained run in, the order of each series and the frames to keep out, with reasons."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from photorank.config import ExtractConfig
from photorank.errors import ConfigError, PhotoError
from photorank.extractors import own
from photorank.extractors.likeness import LIKENESS
from photorank.models import prediction
from photorank.photos.finding import find_photos
from photorank.photos.grouping import GAP, Grouping
from photorank.reports.reasons import reasons
from photorank.runs import Run, load_run
from photorank.stages.cache import passing_store, usable_cache_store
from photorank.stages.deciding import Keep, order
from photorank.stages.extract import ExtractReport, compute
from photorank.stages.pipeline import Progress
from photorank.stages.scoring import features_of, scores_of
from photorank.stages.series import beside, group, series_of
from photorank.store import FeatureStore

DEFAULT_RUN = Path(__file__).parents[1] / "default_run"
"""The run that comes with photorank: a head over the weightless statistics (pipelines/embedded_default.py made it)."""
COLUMNS = ("path", "key", "series", "rank", "score", "p_best", "keep", "reasons", "copies", "bracket")


@dataclass(frozen=True)
class Ranking:
    """What one call found: a row a photo, and the extraction behind it."""

    table: pd.DataFrame
    """COLUMNS, ordered by series and rank (1 is best). `key` is hex; `keep` is True, False or, undecided, <NA>;
    `reasons` (lists of text) say what cost a frame that is not kept most against the pick; `copies` are the other paths
    of the same photo; frames of an exposure bracket name it in `bracket`, and are all kept."""
    extraction: ExtractReport

    @property
    def undecided(self) -> int:
        """Photos whose call was too close to be made."""
        return int(self.table["keep"].isna().sum())


class Ranker:
    """A trained run, ready to rank photos."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @classmethod
    def load(cls, run: str | os.PathLike[str] | None = None) -> Ranker:
        """The ranker of a run folder, or the one that comes with photorank; RunError where the folder is no run."""
        return cls(load_run(Path(run) if run is not None else DEFAULT_RUN))

    def rank(
        self, paths: Iterable[str | os.PathLike[str]], store: str | os.PathLike[str] | None = None,
        config: ExtractConfig | None = None, series_by: str = "time", keep: int | str = "1",
        min_confidence: float | None = None, gap: float = GAP, retry_failed: bool = False,
    ) -> pd.DataFrame:  # fmt: skip
        """The table of `photorank rank` (see `Ranking.table`), by its options; ConfigError where it refuses one."""
        folder, wanted = Path(store) if store is not None else usable_cache_store(), Keep.parse(str(keep))
        return rank(
            paths, self.run, folder, series_by, config, None, wanted, min_confidence, gap, retry_failed=retry_failed
        ).table


def rank(
    paths: Iterable[str | os.PathLike[str]], run: Run, store: Path | None, series_by: str = "time",
    config: ExtractConfig | None = None, progress: Progress | None = None, keep: Keep | None = None,
    min_confidence: float | None = None, gap: float = GAP, thumbnails: bool = False, retry_failed: bool = False,
) -> Ranking:  # fmt: skip
    """Extract what is missing, score every photo, order each series and decide what to keep (see `deciding.order`).

    `series_by` and `gap` say what a series is (see `series.group`). Copies, and a RAW and its JPEG, are one row.
    With `thumbnails` the store keeps one of each photo that is decoded now, for a report.
    A RAW that cannot be decoded is a copy of its JPEG too. With `retry_failed` photos are tried that failed before.
    Without a store the vectors are forgotten. `config` says how to extract, and names the code that may be run where
    the run has features of `kind: own`. Photos that fail are left out and reported. Raises PhotoError where there are
    no photos or none can be used, ConfigError for own code that is not named, and for a `gap` below 0 or a
    `min_confidence` outside of 0.5 to 1.
    """
    if not gap >= 0:
        raise ConfigError(f"--gap is the most seconds between two frames of one series, 0 or more; not {gap}")
    if min_confidence is not None and not 0.5 <= min_confidence <= 1:
        raise ConfigError(f"--min-confidence is a probability of 0.5 to 1; not {min_confidence}")
    config = config or ExtractConfig()
    files, unfit = find_photos(paths)
    if not files and not unfit:
        raise PhotoError("there are no photos there; name files, or folders that hold some")
    found = [file.path for file in files]
    if series_by != "time":
        # What is wrong with a CSV is said before the work; for photos that turn out to be none it needs no row.
        series_of([], series_by)
    with ExitStack() as stack:
        opened = FeatureStore.create(store or stack.enter_context(passing_store()))
        features = [
            own.named(each, config.features.values()) if each.spec["kind"] == "own" else each for each in run.features
        ]
        if series_by == "time":
            features.append(LIKENESS)
        extraction = compute(opened, files, unfit, features, config, retry_failed, progress, thumbnails=thumbnails)
        failed = {failure.path for failure in extraction.failures}
        ranked = [path for path in found if path in extraction.keys and path not in failed]
        if not ranked:
            first = extraction.failures[0]
            raise PhotoError(
                f"none of the {extraction.photos} photos can be ranked; the first: {first.path}: {first.error}"
            )
        keys = [extraction.keys[path] for path in ranked]
        # The picture is what is ranked, so it does not matter that the RAW cannot be decoded.
        raws = beside(failed, {path: extraction.keys[path] for path in ranked})
        extraction = replace(extraction, failures=[each for each in extraction.failures if each.path not in raws])
        table = _photos(ranked, keys, group(opened, ranked, keys, series_by, gap), raws)
        values = features_of(opened, run, _packed(table["key"]))
    return Ranking(_decide(run, values, table, keep, min_confidence), extraction)


def _photos(paths: Sequence[str], keys: Sequence[bytes], grouping: Grouping, raws: Mapping[str, str]) -> pd.DataFrame:
    """A row a photo: path, key, series, copies (and the RAWs, by path, that are beside it or one of them), bracket."""
    beside_it: dict[str, list[str]] = {}
    for raw, picture in sorted(raws.items()):
        beside_it.setdefault(picture, []).append(raw)
    copies: dict[int, list[str]] = {original: [] for original in sorted(set(grouping.original))}
    for at, original in enumerate(grouping.original):
        if at != original:
            copies[original].append(paths[at])
        copies[original] += beside_it.get(paths[at], [])
    # As objects: pandas' own strings are UTF-8 and cannot hold every file name.
    table = pd.DataFrame({"path": pd.Series([paths[at] for at in copies], dtype=object)})
    table["key"] = [keys[at].hex() for at in copies]
    table["series"] = [grouping.series[at] for at in copies]
    table["copies"] = pd.Series(list(copies.values()), dtype=object)
    table["bracket"] = pd.Series([grouping.bracket[at] for at in copies], dtype=object)
    return table


def _packed(keys: pd.Series) -> NDArray[np.uint8]:
    """(N, 32) of keys in hex."""
    return np.frombuffer(b"".join(map(bytes.fromhex, keys)), np.uint8).reshape(-1, 32)


def _decide(
    run: Run, features: dict[str, Tensor], table: pd.DataFrame, keep: Keep | None, min_confidence: float | None
) -> pd.DataFrame:
    """The table with scores, order, what to keep and why not; `features` holds a row for each of its rows."""
    groups = pd.factorize(table["series"])[0].astype(np.int64)
    table = table.assign(score=scores_of(run, features, groups), row=np.arange(len(table)))
    table = order(table, keep, min_confidence, partial(prediction.margins, run.model, features))
    rows, pick = table["row"].to_numpy(), table["pick"].to_numpy()
    lost = np.flatnonzero(~table["keep"].fillna(False) & (pick >= 0) & (pick != np.arange(len(table))))
    told: list[list[str]] = [[] for _ in range(len(table))]
    for at, why in zip(lost, reasons(run.model, run.features, features, rows[lost], rows[pick[lost]]), strict=True):
        told[at] = why
    table["reasons"] = pd.Series(told, dtype=object)
    return table[list(COLUMNS)]
