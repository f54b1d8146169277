"""What a training on pixels gave: its figures on every split, and the reported one as `photorank evaluate` has it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank import metrics
from photorank.comparisons import Comparisons
from photorank.photos.shards import Place
from photorank.stages.evaluate import Evaluation, evaluation_tables, predictions
from photorank.stages.training_report import TrainingReport, counts, split_figures
from photorank.training.siamese import Trainer


@dataclass(frozen=True)
class Labels:
    """What is trained on and reported."""

    data: Comparisons
    places: list[Place]
    """(N,) where each photo of `data` is."""
    sizes: NDArray[np.float64]
    """(N,) bytes of each when it was read for its key: at the end of a training it may be gone."""
    variant: NDArray[np.object_] | None
    """(C,) what the worse photo is, where the file says it."""


@dataclass(frozen=True, kw_only=True)
class E2eReport(TrainingReport):
    """What one training on pixels gave."""

    cnn_backbone: str
    evaluation: Evaluation | None
    """Of the reported split (test, else val), as `photorank evaluate` makes it; None where there is none."""
    processes: int

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
    per_photo = {"file size": labels.sizes}
    figures, log_loss = split_figures("siamese", margins, data, per_photo)
    evaluation, split = None, list(figures)[-1]
    if split != "train":
        rows, trivial = data.rows(split), metrics.trivial_margins(data.left, data.right, per_photo)
        part, found = data.take(rows), {"run": margins[rows]}
        variant = labels.variant[rows] if labels.variant is not None else None
        tables = evaluation_tables(part, found, {name: each[rows] for name, each in trivial.items()}, variant)
        evaluation = Evaluation(
            str(out), None, str(file), split, len(part), len(part.series_names), len(part.keys), tables, [],
            predictions(part, found, variant),
        )  # fmt: skip
    return E2eReport(
        run=str(out),
        cnn_backbone=trainer.config.cnn_backbone,
        comparisons=counts(data),
        photos=len(data.keys),
        epochs=len(at.epochs),
        best_epoch=at.best_epoch,
        figures=figures,
        log_loss=log_loss,
        evaluation=evaluation,
        processes=trainer.accelerator.num_processes,
        seconds=seconds,
    )
