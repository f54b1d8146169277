"""Deciding: from scores and the head's own probabilities to the order of each series, and which frames to keep."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from photorank import metrics
from photorank.errors import ConfigError

Margins = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""(C,) rows of a table, left and right → (C,) log odds of the left frame being preferred."""


@dataclass(frozen=True)
class Keep:
    """How many frames of a series are kept."""

    count: int = 1
    share: float | None = None
    """In (0, 1]: this share of the frames instead, rounded up."""

    @classmethod
    def parse(cls, text: str) -> Keep:
        """`2`, or `30%`; ConfigError for anything else, for 0, and for more than 100 %."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
        if found and 0 < float(found[1]) <= 100:
            return cls(share=float(found[1]) / 100)
        if re.fullmatch(r"\d+", text.strip()) and int(text) > 0:
            return cls(int(text))
        raise ConfigError(f"--keep is how many frames of a series, like 2, or a share of them, like 30%; not {text!r}")

    def of(self, frames: int) -> int:
        """How many of so many."""
        # Rounded first: 0.07 * 100 is a little more than 7.
        return min(frames, self.count if self.share is None else math.ceil(round(self.share * frames, 6)))


def order(
    table: pd.DataFrame, keep: Keep | None = None, min_confidence: float | None = None, margins: Margins | None = None
) -> pd.DataFrame:
    """Sort a table with `series`, `score` and `bracket` by series and score; add rank, p_best, keep and `pick`.

    `p_best` is the softmax of the scores within a series: the probability that Luce's choice axiom (1959), of which
    Bradley-Terry is the case of two, gives to a frame of being chosen among all of them. `pick` is the row (of the
    result) of the frame that comes first among those that compete in its series, -1 for frames that do not compete.

    Frames of an exposure bracket do not compete: all are kept, and `keep` counts the others. With `min_confidence` a
    call must be at least so probable. It is made at a border, between the last frame kept and the first left out: a
    frame to keep is sure if it beats the first left out, and one to leave out if the last one kept beats it, with
    this probability. What is not sure is undecided, <NA>. `margins` tells log odds of rows of `table` (without it:
    differences of scores).
    """
    keep, count = keep or Keep(), len(table)
    best = table.groupby("series")["score"].transform("max")
    shifted = pd.Series(np.exp((table["score"] - best).astype(float)), index=table.index)
    table = table.assign(p_best=shifted / shifted.groupby(table["series"]).transform("sum"), _row=np.arange(count))
    table = table.sort_values(["series", "score"], ascending=[True, False], kind="stable", ignore_index=True)
    series = table.groupby("series", sort=False).ngroup().to_numpy()
    table["rank"] = table.groupby("series").cumcount() + 1
    competes = table["bracket"].isna().to_numpy()
    place = pd.Series(competes).groupby(series).cumsum().to_numpy()  # among those that compete: 1 is the best
    kept_of = np.array([keep.of(n) for n in np.bincount(series[competes], minlength=series.max(initial=-1) + 1)])
    first_out = kept_of[series] + 1
    kept = ~competes | (place < first_out)
    table["keep"] = pd.array(kept, dtype="boolean")
    table["pick"] = np.where(competes, _row_of(series, competes & (place == 1))[series], -1)
    if min_confidence is not None:
        last = _row_of(series, competes & (place == first_out - 1))[series]
        out = _row_of(series, competes & (place == first_out))[series]
        close = np.flatnonzero(competes & (out >= 0))  # where none is left out there is no border
        above, below = np.where(kept[close], close, last[close]), np.where(kept[close], out[close], close)
        probable = metrics.sigmoid(_log_odds(table, above, below, margins))
        table.loc[close[probable < min_confidence], "keep"] = pd.NA
    return table.drop(columns="_row")


def _log_odds(
    table: pd.DataFrame, left: NDArray[np.int64], right: NDArray[np.int64], margins: Margins | None
) -> NDArray[np.float64]:
    if margins is not None:
        rows = table["_row"].to_numpy()
        return margins(rows[left], rows[right])
    score: NDArray[np.float64] = table["score"].to_numpy(np.float64)
    return score[left] - score[right]


def _row_of(series: NDArray[np.integer], where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(S,) for each series the one row that is so; -1 where there is none."""
    found = np.full(series.max(initial=-1) + 1, -1)
    found[series[where]] = np.flatnonzero(where)
    return found
