"""What a training on pixels gave: its figures on every split, and the reported one as `photorank evaluate` has it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank import metrics
from photorank.comparisons import SPLITS, Comparisons
from photorank.photos.shards import Member, Place
from photorank.stages.evaluate import Evaluation, evaluation_tables, predictions
from photorank.training.siamese import Trainer


@dataclass(frozen=True)
class Labels:
    """What is trained on and reported."""

    data: Comparisons
    places: list[Place]
    """(N,) where each photo of `data` is."""
    variant: NDArray[np.object_] | None
    """(C,) what the worse photo is, where the file says it."""


@dataclass(frozen=True)
class E2eReport:
    """What one training gave."""

    run: str
    cnn_backbone: str
    comparisons: dict[str, int]
    """Split → comparisons."""
    photos: int
    epochs: int
    best_epoch: int
    figures: dict[str, dict[str, metrics.Estimate]]
    """Split → `siamese` and the trivial answers → accuracy, its interval bootstrapped over series."""
    log_loss: dict[str, metrics.Estimate]
    """Split → cross entropy in nats of the ranker."""
    evaluation: Evaluation | None
    """Of the reported split (test, else val), as `photorank evaluate` makes it; None where there is none."""
    processes: int
    seconds: float

    def summary(self) -> dict[str, Any]:
        """All of it as JSON has it, but for the predictions and what is told twice."""
        evaluation = None
        if self.evaluation is not None:
            told = ("split", "comparisons", "series", "photos", "tables")
            evaluation = {name: value for name, value in self.evaluation.summary().items() if name in told}
        return {**asdict(replace(self, evaluation=None)), "evaluation": evaluation}


def report_of(
    out: Path, file: Path, labels: Labels, trainer: Trainer, margins: NDArray[np.float64], seconds: float
) -> E2eReport:
    """The figures of a ranker whose margins (C,) of the comparisons in `file` these are."""
    at, data = trainer.progress, labels.data
    splits = [split for split in SPLITS if len(labels.data.rows(split))]
    sizes = np.array([_size(place) for place in labels.places], np.float64)
    trivial = metrics.trivial_margins(data.left, data.right, {"file size": sizes})
    rankers = {"siamese": margins} | trivial
    figures = {
        split: {
            name: metrics.bootstrap(metrics.correct(margin, data.p_left)[rows], data.series[rows])
            for name, margin in rankers.items()
        }
        for split in splits
        if len(rows := data.rows(split))
    }
    losses = metrics.log_loss(margins, data.p_left)
    log_loss = {
        split: metrics.bootstrap(losses[rows], data.series[rows]) for split in splits if len(rows := data.rows(split))
    }
    evaluation = None
    if splits != ["train"]:
        rows = data.rows(splits[-1])
        part, found = data.take(rows), {"run": margins[rows]}
        variant = labels.variant[rows] if labels.variant is not None else None
        tables = evaluation_tables(part, found, {name: each[rows] for name, each in trivial.items()}, variant)
        evaluation = Evaluation(
            str(out), None, str(file), splits[-1], len(part), len(part.series_names), len(part.keys), tables, [],
            predictions(part, found, variant),
        )  # fmt: skip
    return E2eReport(
        str(out), trainer.config.cnn_backbone, {split: len(data.rows(split)) for split in SPLITS}, len(data.keys),
        len(at.epochs), at.best_epoch, figures, log_loss, evaluation, trainer.accelerator.num_processes, seconds,
    )  # fmt: skip


def _size(place: Place) -> int:
    """Bytes of a photo."""
    return place.size if isinstance(place, Member) else Path(place).stat().st_size
