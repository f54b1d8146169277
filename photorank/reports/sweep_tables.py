"""The table of a sweep: as a data frame, as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from photorank.metrics import Estimate
from photorank.reports.figure_tables import estimate_text

SHOWN = 40
"""Combinations in the picture, at most: the best ones."""


def table(results: Sequence[tuple[Mapping[str, Any], Mapping[str, Estimate], float, float]]) -> pd.DataFrame:
    """A row a result (changed options, figures, deviation of the accuracy from seed to seed, best epoch), in order.

    Columns: rank, the options, each figure with its `_low` and `_high`, comparisons, series, seed_deviation and
    best_epoch. Options that are not all numbers are texts.
    """
    rows = []
    for rank, (changes, figures, deviation, epoch) in enumerate(results, 1):
        row: dict[str, Any] = {"rank": rank, **changes}
        for name, each in figures.items():
            column = column_of(name)
            row |= {column: each.value, f"{column}_low": each.low, f"{column}_high": each.high}
        counted = figures["accuracy"]
        rows.append(
            row | {"comparisons": counted.n, "series": counted.groups, "seed_deviation": deviation, "best_epoch": epoch}
        )
    found = pd.DataFrame(rows)
    for key in results[0][0]:
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found[key]):
            found[key] = [_text(key, value) for value in found[key]]
    return found


def column_of(figure: str) -> str:
    """The column of a figure: `accuracy, clear` → `accuracy_clear`."""
    return "_".join(figure.lower().replace(",", "").replace("'", "").split())


def labels(found: pd.DataFrame) -> list[str]:
    """What tells each row."""
    keys = list(found.columns[1 : list(found.columns).index("accuracy")])
    return [label(row) for row in found[keys].astype(object).to_dict("records")]


def label(changes: Mapping[Any, Any]) -> str:
    """What tells a combination: `dropout 0.1, features clip + iqa`."""
    return ", ".join(f"{key} {_text(key, value)}" for key, value in changes.items())


def markdown(found: pd.DataFrame, title: str) -> str:
    """The table as a page: accuracies in percent, all figures with their 95 % intervals."""
    lines = [["", "combination", "accuracy", "of clear ones", "log loss", "calibration error", "from seed to seed"]]
    lines.append(["---"] * len(lines[0]))
    for label, row in zip(labels(found), found.to_dict("records"), strict=True):
        cells = [
            estimate_text(name, _estimate(row, name))
            for name in ("accuracy", "accuracy, clear", "log loss", "calibration error")
        ]
        spread = f"± {100 * row['seed_deviation']:.1f}" if pd.notna(row["seed_deviation"]) else "–"
        lines.append([str(row["rank"]), label, *cells, spread])
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return f"# Sweep\n\n{title}; 95 % intervals over series.\n\n" + "\n".join(rows) + "\n"


def draw(found: pd.DataFrame, title: str, out: Path) -> None:
    """A PNG: the accuracy of each combination with its interval, the best on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = found[found["accuracy"].notna()].head(SHOWN)
    figure = Figure(figsize=(9, 1.4 + 0.32 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    value, low, high = (100 * shown[name].to_numpy() for name in ("accuracy", "accuracy_low", "accuracy_high"))
    places = list(range(len(shown)))[::-1]
    axes.barh(places, value, color="#cfd8e6")
    axes.errorbar(value, places, xerr=[value - low, high - value], fmt="o", color="#1f4e8c", capsize=3)
    axes.set_yticks(places, labels(shown))
    # An interval of one series is NaN.
    axes.set_xlim(max(0, np.fmin.reduce(low, initial=50) - 1), min(100, np.fmax.reduce(high, initial=50) + 1))
    axes.axvline(50, color="#a0a0a0", linestyle="--")
    axes.set_xlabel("accuracy in %, 95 % intervals over series; dashed: chance")
    axes.set_title(title, loc="left", fontsize=10)
    figure.savefig(out, dpi=110, metadata={"Software": None})


def _estimate(row: Mapping[Any, Any], name: str) -> Estimate:
    column = column_of(name)
    return Estimate(row[column], row[f"{column}_low"], row[f"{column}_high"], row["comparisons"], row["series"])


def _text(key: object, value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " + ".join(map(str, value)) or ("all" if key == "features" else "none")
    return str(value)
