"""What a set of preferences says about itself: pairs that contradict each other, and circles."""

from __future__ import annotations

import graphlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def contradictions(left: Numbers, right: Numbers, p_left: NDArray[np.float32], series: Numbers) -> int:
    """Pairs of photos of a series of which some comparison prefers the one, and some the other.

    `left`, `right`: (C,) photo numbers; `series` (C,).
    """
    table = _directed(left, right, p_left, series)
    signs = np.sign(table["lead"]).groupby([table["series"], table["low"], table["high"]])
    return int(((signs.min() < 0) & (signs.max() > 0)).sum())


def circles(left: Numbers, right: Numbers, p_left: NDArray[np.float32], series: Numbers) -> int:
    """Series whose preferences go round: a over b, b over c, c over a. Several comparisons of a pair are added up."""
    table = _directed(left, right, p_left, series)
    leads = table.groupby(["series", "low", "high"], as_index=False)["lead"].sum()
    leads = leads[leads["lead"].abs() > 1e-6]  # the rounding of a sum is no preference
    graphs: dict[int, dict[int, set[int]]] = {}
    columns = (leads[name].tolist() for name in ("series", "low", "high", "lead"))
    for number, low, high, lead in zip(*columns, strict=True):
        better, worse = (low, high) if lead > 0 else (high, low)
        graphs.setdefault(number, {}).setdefault(worse, set()).add(better)
    return sum(map(_goes_round, graphs.values()))


def _goes_round(graph: dict[int, set[int]]) -> bool:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return True
    return False


def _directed(left: Numbers, right: Numbers, p_left: NDArray[np.float32], series: Numbers) -> pd.DataFrame:
    """series, low, high (photo numbers), lead: by how much the low one is preferred, −½ … ½. Without a photo
    beside itself, which says nothing."""
    lead = np.asarray(p_left, np.float64) - 0.5
    table = pd.DataFrame({
        "series": series, "low": np.minimum(left, right), "high": np.maximum(left, right),
        "lead": np.where(left < right, lead, -lead),
    })  # fmt: skip
    return table[table["low"] < table["high"]]
