"""sweep: stored features, comparisons and a grid of options in, a table of what each combination gives out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.comparisons import Comparisons
from photorank.config import HeadConfig, SweepConfig, dump_config, parse_config
from photorank.errors import ComparisonsError, ConfigError
from photorank.metrics import Estimate, correct
from photorank.reports.figures import comparison_figures
from photorank.reports.sweep_tables import draw, markdown, table
from photorank.runs import new_run, refuse_existing
from photorank.stages import crossing
from photorank.stages.fit_head import choose_spaces, load_comparisons, load_features
from photorank.store import FeatureStore
from photorank.training.fusion import Trained, train_heads


@dataclass(frozen=True)
class Result:
    """One combination."""

    changes: dict[str, Any]
    """Option → value, of the grid."""
    config: HeadConfig
    figures: dict[str, Estimate]
    """On average over seeds, of comparisons that were held out; intervals over series."""
    seed_deviation: float
    """Standard deviation of the accuracy from seed to seed; NaN for one seed."""
    best_epoch: float
    """Mean of its trainings."""
    diverged: bool
    """One of its trainings did: all figures are NaN."""


@dataclass(frozen=True)
class SweepReport:
    """What one sweep gave."""

    out: str
    reported_on: str
    """`val`, or how the comparisons were held out in turn."""
    comparisons: int
    series: int
    trainings: int
    seconds: float
    results: list[Result]
    """The most accurate first; of equal ones that with the smaller log loss; those that diverged last."""

    @property
    def diverged(self) -> int:
        """Combinations that did."""
        return sum(each.diverged for each in self.results)

    def summary(self) -> dict[str, Any]:
        """All of it, the configs as they are in YAML."""
        plain = asdict(self)
        for told, each in zip(plain["results"], self.results, strict=True):
            told["config"] = each.config.model_dump(mode="json")
        return plain


def sweep(
    store: Path, comparisons: Path, config: SweepConfig, out: Path, photos: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SweepReport:  # fmt: skip
    """Train every combination of the grid, in `config.folds` folds and from `config.seeds` seeds, and compare them.

    Features are loaded once, heads of one shape trained together. Writes `out`: sweep.parquet, sweep.csv, sweep.md,
    sweep.png, the config, and the best combination as a config for `fit-head`. `progress` is told the trainings done,
    of how many.

    Raises ConfigError for a wrong grid, RunError where `out` exists, and as `fit_head` does.
    """
    started = time.monotonic()
    refuse_existing(out)
    combinations = grid(config)
    opened = FeatureStore.open(store)
    spaces = [choose_spaces(opened, each.features) for _, each in combinations]
    distinct = {space.name: space for each in spaces for space in each}
    for space in (space for each in spaces for space in each):
        if distinct[space.name].fingerprint != space.fingerprint:
            raise ConfigError(f"the grid names two spaces {space.name!r} of different specs; sweep them one by one")
    data = load_comparisons(opened, comparisons, photos, config)
    parts = crossing.fold_parts(data, config.folds) if config.folds else crossing.split_parts(data)
    if not sum(len(part.held_out) for part in parts):
        raise ComparisonsError(
            f"{comparisons} has no comparisons in the split 'val'; say with --folds how many to make"
        )
    features = load_features(opened, list(distinct.values()), data.keys)
    names = [[space.name for space in each] for each in spaces]
    plans = [
        crossing.plans(each, name, parts, config.seeds) for (_, each), name in zip(combinations, names, strict=True)
    ]
    roles = {name: space.role for name, space in distinct.items()}
    trained = iter(train_heads(features, roles, data, list(itertools.chain(*plans)), progress))
    results = []
    for (changes, each), name, own in zip(combinations, names, plans, strict=True):
        heads = list(itertools.islice(trained, len(own)))
        rows, margins = crossing.held_out_margins(heads, features, name, data, parts)
        results.append(_result(changes, each, data, rows, margins, heads))
    results.sort(key=lambda each: (each.diverged, -each.figures["accuracy"].value, each.figures["log loss"].value))
    held_out = f"train and val, {config.folds} folds by series" if config.folds else "val"
    report = SweepReport(
        str(out), held_out, len(rows), len(np.unique(data.series[rows])), sum(map(len, plans)),
        time.monotonic() - started, results,
    )  # fmt: skip
    if report.diverged == len(results):
        raise ConfigError("every combination diverged (its loss is no number); ask for smaller values of learning_rate")
    write_sweep(report, config, out)
    return report


def grid(config: SweepConfig) -> list[tuple[dict[str, Any], HeadConfig]]:
    """All combinations of the grid: what is changed, and the config. ConfigError for what is wrong with it."""
    if not config.grid:
        raise ConfigError("there is no grid: say with --grid key=value,value or in the config file what to try")
    for key, values in config.grid.items():
        if not values:
            raise ConfigError(f"grid: {key} has no values; give some, as in --grid {key}=value,value")
    if "seed" in config.grid:
        raise ConfigError("grid: seeds are no options to choose from; say with --seeds how many to train")
    if "val_fraction" in config.grid:
        raise ConfigError("grid: val_fraction is of the comparisons, not of a head; say it with --set, for all alike")
    found: list[tuple[dict[str, Any], HeadConfig]] = []
    for values in itertools.product(*config.grid.values()):
        head = parse_config(HeadConfig, config.values(dict(zip(config.grid, values, strict=True))), "grid")
        found.append(({key: getattr(head, key) for key in config.grid}, head))
    for key, values in config.grid.items():
        read = [getattr(parse_config(HeadConfig, config.values({key: each}), "grid"), key) for each in values]
        if twice := [each for number, each in enumerate(values) if read[number] in read[:number]]:
            raise ConfigError(f"grid: {key} has {twice[0]!r} twice; say it once")
    return found


def write_sweep(report: SweepReport, config: SweepConfig, out: Path) -> None:
    """The files of a sweep, as the new folder `out`; RunError where it cannot be written."""
    found = table([(each.changes, each.figures, each.seed_deviation, each.best_epoch) for each in report.results])
    title = f"{report.comparisons:,} comparisons of {report.series:,} series ({report.reported_on})"
    if report.diverged:
        title += f"; {report.diverged} combinations diverged (their loss is no number): the last, without figures"
    with new_run(out) as folder:
        found.to_parquet(folder / "sweep.parquet", index=False)
        found.to_csv(folder / "sweep.csv", index=False)
        (folder / "sweep.md").write_text(markdown(found, title), encoding="utf-8")
        draw(found, title, folder / "sweep.png")
        (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
        (folder / "best.yaml").write_text(dump_config(report.results[0].config), encoding="utf-8")


def _result(
    changes: dict[str, Any], config: HeadConfig, data: Comparisons, rows: NDArray[np.int64],
    margins: NDArray[np.float64], heads: list[Trained],
) -> Result:  # fmt: skip
    diverged, deviation = any(head.diverged for head in heads), float("nan")
    figures = crossing.pooled_figures(data, rows, np.zeros_like(margins) if diverged else margins, comparison_figures)
    if diverged:
        nan = float("nan")
        figures = {name: replace(each, value=nan, low=nan, high=nan) for name, each in figures.items()}
    if len(margins) > 1 and not diverged:
        each = [float(np.nanmean(correct(seed, data.p_left[rows]))) for seed in margins]
        deviation = float(np.std(each, ddof=1))
    best_epoch = float(np.mean([head.history.best_epoch for head in heads]))
    return Result(changes, config, figures, deviation, best_epoch, diverged)
