"""What a training gave, whatever it was of: its figures on every split, beside the trivial answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photorank import metrics
from photorank.comparisons import SPLITS, Comparisons

SplitFigures = dict[str, dict[str, metrics.Estimate]]


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What one training gave."""

    run: str
    comparisons: dict[str, int]
    """Split → comparisons."""
    photos: int
    epochs: int
    best_epoch: int
    figures: SplitFigures
    """Split → the ranker and the trivial answers → accuracy, its interval bootstrapped over series."""
    log_loss: dict[str, metrics.Estimate]
    """Split → cross entropy in nats of the ranker."""
    seconds: float


def counts(data: Comparisons) -> dict[str, int]:
    """Split → comparisons."""
    return {split: len(data.rows(split)) for split in SPLITS}


def split_figures(
    ranker: str, margins: NDArray[np.float64], data: Comparisons, per_photo: dict[str, NDArray[np.float64]]
) -> tuple[SplitFigures, dict[str, metrics.Estimate]]:
    """`figures` and `log_loss` of a report, of the splits that there are.

    `ranker` is what to call the one whose `margins` (C,) these are; `per_photo` as for `metrics.trivial_margins`.
    """
    rankers = {ranker: margins} | metrics.trivial_margins(data.left, data.right, per_photo)
    right = {name: metrics.correct(margin, data.p_left) for name, margin in rankers.items()}
    losses = metrics.log_loss(margins, data.p_left)
    figures, log_loss = {}, {}
    for split in SPLITS:
        if len(rows := data.rows(split)):
            resamples = metrics.Resamples(data.series[rows])
            figures[split] = {name: resamples.mean(values[rows]) for name, values in right.items()}
            log_loss[split] = resamples.mean(losses[rows])
    return figures, log_loss
