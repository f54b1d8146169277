"""evaluate: a run and comparisons in, its figures and where it fails out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from photorank import metrics
from photorank.comparisons import SPLITS, Comparisons, read_comparisons, resolve
from photorank.errors import ComparisonsError
from photorank.reports import figures
from photorank.reports.figure_tables import DIFFERENCE
from photorank.runs import load_run, refuse_existing, training_photos
from photorank.stages.baselines import baselines
from photorank.stages.cache import cache_store
from photorank.stages.fit_head import keys_by_path
from photorank.stages.scoring import margins
from photorank.store import FeatureStore

UNSEEN, ALL = "unseen", "all"


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation gave."""

    run: str
    against: str | None
    comparisons_file: str
    split: str
    """train, val, test; `unseen`: series without a photo that a run was trained on; or `all`."""
    comparisons: int
    series: int
    photos: int
    tables: dict[str, figures.Figures]
    """Title → row → column → estimate."""
    warnings: list[str]
    predictions: pd.DataFrame
    """A row a comparison: series, split, left, right (keys in hex), p_left, predicted (P(left)); where there are such,
    `against` (the other run's P(left)) and `variant`."""

    def title(self) -> str:
        """What was evaluated, as a line."""
        return (
            f"{self.run} on {self.comparisons_file} ({self.split}): {self.comparisons:,} comparisons, {self.series:,} "
            f"series, {self.photos:,} photos; 95 % intervals over series"
        )

    def summary(self) -> dict[str, Any]:
        """All but the predictions; what cannot be said is NaN."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "predictions"}
        plain["tables"] = {
            title: {row: {column: asdict(each) for column, each in cells.items()} for row, cells in table.items()}
            for title, table in self.tables.items()
        }
        return plain


@dataclass(frozen=True)
class _Chosen:
    """The comparisons to evaluate."""

    data: Comparisons
    split: str
    variant: NDArray[np.object_] | None
    """(C,) what the worse photo is, where the file says it."""
    warnings: list[str]


def evaluate(
    run: Path, comparisons: Path, store: Path | None = None, split: str | None = None, photos: Path | None = None,
    against: Path | None = None, out: Path | None = None,
) -> Evaluation:  # fmt: skip
    """Measure a run on the comparisons of a split, beside the trivial answers and, if given, another run.

    `split` is train, val, test, `unseen` or `all` (see `Evaluation`); None: test if the file has such comparisons, else
    val; of a file without the column `split`, `unseen`. `store` is by default that of `rank`; `photos` as for
    `fit_head`. With `out` a new folder is written, see `photorank.stages.evaluation_folder`.

    Raises RunError for a folder that is no run, for features that are not those that the run was trained on, and where
    `out` is there; ComparisonsError for a wrong file and where it has nothing to evaluate; StoreError for photos
    without features.
    """
    if out is not None:
        refuse_existing(out)
    runs = {"run": load_run(run)} | ({"against": load_run(against)} if against is not None else {})
    opened = FeatureStore.open(store if store is not None else cache_store())
    chosen = _choose(opened, comparisons, split, photos, [each.path for each in runs.values()])
    data = chosen.data
    found = {name: margins(opened, each, data) for name, each in runs.items()}
    trivial = metrics.trivial_margins(data.left, data.right, baselines(opened, data.keys))
    report = Evaluation(
        str(run), str(against) if against is not None else None, str(comparisons), chosen.split, len(data),
        len(data.series_names), len(data.keys), evaluation_tables(data, found, trivial, chosen.variant),
        chosen.warnings, predictions(data, found, chosen.variant),
    )  # fmt: skip
    if out is not None:
        from photorank.stages.evaluation_folder import write_evaluation  # it opens photos, which nothing else here does

        write_evaluation(report, opened, out)
    return report


def evaluation_tables(
    data: Comparisons, found: dict[str, figures.Floats], trivial: dict[str, figures.Floats],
    variant: NDArray[np.object_] | None = None,
) -> dict[str, figures.Figures]:  # fmt: skip
    """Title → table. `found` holds the margins (C,) of `run`, and of `against` if there is such; `trivial` likewise."""
    resamples = metrics.Resamples(data.group)
    each = figures.Evaluated(data, found["run"], resamples)
    columns = {name: figures.main_figures(figures.Evaluated(data, other, resamples)) for name, other in found.items()}
    if "against" in found:
        columns[DIFFERENCE] = figures.differences(each, found["against"])
    main = {row: {name: column[row] for name, column in columns.items() if row in column} for row in columns["run"]}
    tables = {
        "figures": main,
        "beside trivial answers": figures.trivial_figures(each, {"the run": found["run"]} | trivial),
        "the most certain comparisons only": figures.coverage_figures(each),
        "by size of series": figures.by_size(each),
        "by agreement of people": figures.by_agreement(each),
        "calibration: by how sure the run is": figures.reliability(each),
    }
    if variant is not None:
        tables["by degradation"] = figures.by_variant(each, variant)
    return tables


def _choose(store: FeatureStore, path: Path, split: str | None, photos: Path | None, runs: Sequence[Path]) -> _Chosen:
    table = read_comparisons(path)
    split = _which(path, table, split)
    if split in SPLITS:  # before photos are looked up: a store need not hold those of the other splits
        table = table[table["split"] == split]
    data = resolve(path, table, photos, keys_by_path(store).get, val_fraction=0, seed=0)
    trained = {run: training_photos(run) for run in runs}
    seen = np.isin(_hexes(data), list(set().union(*(keys for keys in trained.values() if keys))))
    told = np.isin(data.series, data.series[seen[data.left] | seen[data.right]])
    rows = np.flatnonzero(~told) if split == UNSEEN else np.arange(len(data))
    if not len(rows):
        raise ComparisonsError(
            f"{path}: every series has a photo that the run was trained on; there is nothing to evaluate but with "
            f"--split {ALL}, whose figures say nothing of other photos"
        )
    variant = None
    if "variant" in table:
        named = table["variant"].astype(object)
        variant = named.where(named.notna(), "none").map(str).to_numpy(dtype=object)[rows]
    chosen = data.take(rows)
    return _Chosen(chosen, split, variant, [text for run in runs if (text := _warning(run, trained[run], chosen))])


def _which(path: Path, table: pd.DataFrame, split: str | None) -> str:
    there = set(table["split"]) if "split" in table else set()
    if split is None and there:
        split = next((name for name in ("test", "val") if name in there), None)
        if split is None:
            raise ComparisonsError(
                f"{path} has only the split 'train'; say with --split train, {UNSEEN} or {ALL} what to evaluate"
            )
    split = split or UNSEEN
    if split in SPLITS and split not in there:
        has = f"only {', '.join(name for name in SPLITS if name in there)}" if there else "no column 'split'"
        raise ComparisonsError(
            f"{path} has no comparisons in the split {split!r} ({has}); --split {UNSEEN} evaluates series that the run "
            f"was not trained on, --split {ALL} everything"
        )
    return split


def _warning(run: Path, trained: set[str] | None, data: Comparisons) -> str | None:
    if trained is None:
        return (
            f"{run} does not say which photos it was trained on (its predictions.parquet is not to be read), so it "
            f"cannot be known whether these figures are of photos that it never saw"
        )
    seen = np.isin(_hexes(data), list(trained))
    if not seen.any():
        return None
    series = len(np.unique(data.series[seen[data.left] | seen[data.right]]))
    return (
        f"{run} WAS TRAINED ON {seen.sum():,} of these {len(seen):,} photos, in {series:,} of "
        f"{len(data.series_names):,} series: the figures say nothing of photos that it never saw; "
        f"--split {UNSEEN} leaves these series out"
    )


def predictions(
    data: Comparisons, found: dict[str, figures.Floats], variant: NDArray[np.object_] | None
) -> pd.DataFrame:
    """The table `Evaluation.predictions`; `found` as for `evaluation_tables`."""
    hexes = _hexes(data)
    columns: dict[str, Any] = {
        "series": np.array(data.series_names, dtype=object)[data.series], "split": data.split,
        "left": hexes[data.left], "right": hexes[data.right], "p_left": data.p_left,
    }  # fmt: skip
    names = {"run": "predicted", "against": "against"}
    columns |= {names[name]: metrics.sigmoid(margin) for name, margin in found.items()}
    return pd.DataFrame(columns | ({"variant": variant} if variant is not None else {}))


def _hexes(data: Comparisons) -> NDArray[np.str_]:
    return np.array([key.tobytes().hex() for key in data.keys], dtype="U64")
