"""Heads trained several times, in folds and from several seeds, and their figures: each a mean with an interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photorank.comparisons import Comparisons
from photorank.config import HeadConfig
from photorank.errors import ComparisonsError, ConfigError
from photorank.metrics import Estimate, Resamples
from photorank.models.prediction import Features, margins_of
from photorank.reports.figures import Evaluated
from photorank.training.fusion import Plan, Trained

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Comparisons to train on, and those of other series to report."""

    train: Ints
    held_out: Ints


def split_parts(data: Comparisons) -> list[Part]:
    """Trained on the split train, reported on val."""
    return [Part(data.rows("train"), data.rows("val"))]


def fold_parts(data: Comparisons, folds: int) -> list[Part]:
    """The comparisons of train and val in `folds` parts of whole series, each held out once; the same for every seed.
    Series that share photos are in one part.

    Raises ConfigError where there are fewer than two folds, ComparisonsError where there are more than series.
    """
    if folds < 2:
        raise ConfigError(f"folds: {folds} leaves nothing to train on; say 2 or more")
    rows = np.flatnonzero(data.split != "test")
    groups, number = np.unique(data.group[rows], return_inverse=True)
    if folds > len(groups):
        raise ComparisonsError(
            f"{folds} folds cannot be made of {len(groups)} series (train and val together, and series that share "
            f"photos as one); ask for fewer folds"
        )
    fold = (np.random.default_rng(0).permutation(len(groups)) % folds)[number.reshape(-1)]
    return [Part(rows[fold != each], rows[fold == each]) for each in range(folds)]


def plans(config: HeadConfig, spaces: Sequence[str], parts: Sequence[Part], seeds: int) -> list[Plan]:
    """A training a seed and part, part after part: all of the first seed, all of the second, …"""
    return [
        Plan(config.model_copy(update={"seed": config.seed + seed}), part.train, tuple(spaces))
        for seed in range(seeds)
        for part in parts
    ]


def held_out_margins(
    trained: Sequence[Trained], features: Features, spaces: Sequence[str], data: Comparisons, parts: Sequence[Part]
) -> tuple[Ints, NDArray[np.float64]]:
    """The comparisons that are held out (R,), and their margins (seeds, R) by heads trained as `plans` says."""
    rows = np.concatenate([part.held_out for part in parts])
    seen = {space: features[space] for space in spaces}
    found = [
        margins_of(each.model, seen, data, parts[number % len(parts)].held_out) for number, each in enumerate(trained)
    ]
    return rows, np.concatenate(found).reshape(-1, len(rows))


def pooled_figures(
    data: Comparisons, rows: Ints, margins: NDArray[np.float64], figures: Callable[[Evaluated], dict[str, Estimate]]
) -> dict[str, Estimate]:
    """The figures of comparisons `rows` (R,) with the margins (seeds, R) of trainings, on average over the seeds.

    The intervals are over series, of which each is drawn with all of its comparisons and seeds.
    """
    part, seeds = data.take(rows), len(margins)
    photos, series = len(part.keys), len(part.series_names)
    number = np.repeat(np.arange(seeds), len(rows))

    def each_seed(values: Ints, count: int) -> Ints:
        return np.tile(values, seeds) + count * number

    repeated = Comparisons(
        np.tile(part.keys, (seeds, 1)), each_seed(part.left, photos), each_seed(part.right, photos),
        np.tile(part.p_left, seeds), each_seed(part.series, series), part.series_names * seeds,
        np.tile(part.split, seeds),
    )  # fmt: skip
    resamples = Resamples(np.tile(part.group, seeds))
    found = figures(Evaluated(repeated, margins.reshape(-1), resamples))
    return {name: replace(estimate, n=estimate.n // seeds) for name, estimate in found.items()}
