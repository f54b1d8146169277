"""How good a ranker is, with an interval, and beside the trivial answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; shares in [0, 1] unless said otherwise."""

    value: float
    low: float
    high: float
    n: int
    """Comparisons it rests on."""
    groups: int
    """Independent groups (series, source photos) that were resampled."""

    def __str__(self) -> str:
        interval = "no error to resample" if self.value == 1 else f"{100 * self.low:.1f}–{100 * self.high:.1f}"
        return f"{100 * self.value:.1f} % ({interval})"


def correct(margin: ArrayLike, p_left: ArrayLike) -> NDArray[np.float64]:
    """(C,) 1 where the sign of `margin` (left minus right) is that of p_left − ½, ½ where there is no margin, 0 else.

    NaN where people have no preference (p_left = ½): there is nothing to be right about.
    """
    margins, wanted = np.asarray(margin, np.float64), np.asarray(p_left, np.float64) - 0.5
    right = np.where(margins == 0, 0.5, (np.sign(margins) == np.sign(wanted)).astype(np.float64))
    return np.where(wanted == 0, np.nan, right)


def log_loss(margin: ArrayLike, p_left: ArrayLike) -> NDArray[np.float64]:
    """(C,) cross entropy in nats between p_left and sigmoid(margin), the Bradley-Terry probability."""
    margins, wanted = np.asarray(margin, np.float64), np.asarray(p_left, np.float64)
    return np.logaddexp(0, -margins) * wanted + np.logaddexp(0, margins) * (1 - wanted)


def bootstrap(values: ArrayLike, groups: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Mean of `values` (C,) with the percentile interval of a cluster bootstrap over `groups` (C,).

    Comparisons of one series are not independent, so whole groups are drawn with replacement (Davison and Hinkley 1997,
    section 3.8). NaN values are left out; with fewer than two groups the interval is [nan, nan].
    """
    kept = ~np.isnan(np.asarray(values, np.float64))
    numbers = np.asarray(values, np.float64)[kept]
    _, group = np.unique(np.asarray(groups)[kept], return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    if count == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    mean = float(numbers.mean())
    if count < 2:
        return Estimate(mean, float("nan"), float("nan"), len(numbers), count)
    sums, sizes = np.bincount(group, numbers), np.bincount(group).astype(np.float64)
    # How often each group is drawn: a multinomial count is all that resampling changes.
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    means = (times @ sums) / (times @ sizes)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean, float(low), float(high), len(numbers), count)


def trivial_margins(
    left: NDArray[np.int64], right: NDArray[np.int64], per_photo: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Margins (C,) of the answers that need no learning: one side always, and each figure of `per_photo` (N,) alone."""
    ones = np.ones(len(left))
    margins = {"always left": ones, "always right": -ones}
    for name, values in per_photo.items():
        margins[f"{name} alone"] = values[left] - values[right]
    return margins
