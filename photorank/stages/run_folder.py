"""What a run folder holds beside what its use needs: plots, TensorBoard events, a model card. Made of its other files.

RUN/
  README.md                the model card
  plots/*.png              learning curves; of the split that is reported, reliability and accuracy by agreement
  events/                  TensorBoard: what log.jsonl says by epoch, and the figures at the epoch that was kept
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from photorank.comparisons import Comparisons
from photorank.metrics import Estimate, Resamples
from photorank.reports import figures, plots
from photorank.reports.cards import CardFacts, model_card
from photorank.reports.events import EventLog
from photorank.runs import training_log


def write_extras(folder: Path, comparisons: Path, config: BaseModel) -> None:
    """Add them to the run folder `folder`, whose other files are written; the same files give the same bytes.

    `comparisons` is the file that the run was trained on, of which only the name is told.
    """
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    predictions = pd.read_parquet(folder / "predictions.parquet")
    accuracy = {split: _estimates(each) for split, each in told["figures"].items()}
    loss = _estimates(told["log_loss"])
    log = training_log(folder)
    assert log is not None, "written before"
    epochs, best_epoch = log
    _write_events(folder / "events", epochs, accuracy, loss, best_epoch)
    made = _write_plots(folder / "plots", epochs, best_epoch, predictions)
    series = {str(split): each["series"].nunique() for split, each in predictions.groupby("split")}
    facts = CardFacts(
        kind=about["kind"],
        version=about["photorank"],
        spaces=about["spaces"],
        comparisons_file=comparisons.name,
        comparisons=told["comparisons"],
        series=series,
        photos=told["photos"],
        config=config.model_dump(mode="json", exclude_defaults=True),
        epochs=len(epochs),
        best_epoch=best_epoch,
        accuracy=accuracy,
        log_loss=loss,
        repeated={what: _estimates(each) for what, each in told.get("repeated", {}).items()},
        plots=[f"plots/{name}" for name in made],
    )
    (folder / "README.md").write_text(model_card(facts), encoding="utf-8", newline="\n")


def _estimates(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    """What JSON cannot say, and has as null, is NaN."""
    return {name: Estimate(**{key: _number(each[key]) for key in each}) for name, each in plain.items()}


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _write_events(
    folder: Path, epochs: list[dict[str, float]], accuracy: Mapping[str, Mapping[str, Estimate]],
    loss: Mapping[str, Estimate], best_epoch: int,
) -> None:  # fmt: skip
    with EventLog(folder) as log:
        for row in epochs:
            log.scalars(int(row["epoch"]), {f"epoch/{name}": row[name] for name in row if name != "epoch"})
        values = {f"accuracy/{split}": next(iter(each.values())).value for split, each in accuracy.items()}
        log.scalars(best_epoch, values | {f"log_loss/{split}": each.value for split, each in loss.items()})


def _write_plots(folder: Path, epochs: list[dict[str, float]], best_epoch: int, predictions: pd.DataFrame) -> list[str]:
    """Names of the files."""
    plots.learning_curves(epochs, best_epoch, folder / "learning-curves.png")
    made = ["learning-curves.png"]
    split = next((name for name in ("test", "val") if (predictions["split"] == name).any()), None)
    if split is not None:
        each = _evaluated(predictions[predictions["split"] == split])
        plots.reliability(figures.reliability(each), folder / "reliability.png")
        plots.by_agreement(figures.by_agreement(each), folder / "by-agreement.png")
        made += ["reliability.png", "by-agreement.png"]
    return made


def _evaluated(table: pd.DataFrame) -> figures.Evaluated:
    """The comparisons and margins of rows of `predictions.parquet`."""
    hexes, at = np.unique(table[["left", "right"]].to_numpy(str).T, return_inverse=True)
    left, right = at.reshape(2, -1)
    keys = np.frombuffer(b"".join(bytes.fromhex(each) for each in hexes), np.uint8).reshape(-1, 32)
    series, names = pd.factorize(table["series"])
    data = Comparisons(
        keys, left, right, table["p_left"].to_numpy(np.float32), series, list(names), table["split"].to_numpy(object)
    )
    return figures.Evaluated(data, table["margin"].to_numpy(np.float64), Resamples(data.group))
