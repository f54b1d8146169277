"""How good a ranker is, with an interval, and beside the trivial answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000
_PART = 250


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; shares in [0, 1] unless said otherwise."""

    value: float
    low: float
    high: float
    n: int
    """Values it rests on: comparisons, or series where it is a mean over series."""
    groups: int
    """Independent groups (series, source photos) that were resampled."""

    def __str__(self) -> str:
        interval = "no error to resample" if self.value == 1 else f"{100 * self.low:.1f}–{100 * self.high:.1f}"
        return f"{100 * self.value:.1f} % ({interval})"


def correct(margin: ArrayLike, p_left: ArrayLike) -> NDArray[np.float64]:
    """(C,) 1 where the sign of `margin` (left minus right) is that of p_left − ½, ½ where there is no margin, 0 else.

    NaN where people have no preference (p_left = ½), as there is nothing to be right about, and where the margin is.
    """
    margins, wanted = np.asarray(margin, np.float64), np.asarray(p_left, np.float64) - 0.5
    right = np.where(margins == 0, 0.5, (np.sign(margins) == np.sign(wanted)).astype(np.float64))
    return np.where((wanted == 0) | np.isnan(margins), np.nan, right)


def log_loss(margin: ArrayLike, p_left: ArrayLike) -> NDArray[np.float64]:
    """(C,) cross entropy in nats between p_left and sigmoid(margin), the Bradley-Terry probability."""
    margins, wanted = np.asarray(margin, np.float64), np.asarray(p_left, np.float64)
    return np.logaddexp(0, -margins) * wanted + np.logaddexp(0, margins) * (1 - wanted)


def brier(margin: ArrayLike, p_left: ArrayLike) -> NDArray[np.float64]:
    """(C,) squared difference between sigmoid(margin) and p_left (Brier 1950), in [0, 1]."""
    return (sigmoid(margin) - np.asarray(p_left, np.float64)) ** 2


def sigmoid(margin: ArrayLike) -> NDArray[np.float64]:
    """(C,) P(left) of margins (left minus right), without overflow; P(left) + P(right) is 1."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(margin, np.float64)))


class Resamples:
    """A cluster bootstrap: whole groups drawn with replacement, the same draws for every figure of an evaluation.

    Comparisons of one series are not independent, so groups are what is drawn (Davison and Hinkley 1997, section 3.8).
    The draws being shared, the interval of a difference of two rankers is that of a paired comparison.
    """

    def __init__(self, groups: ArrayLike, draws: int = DRAWS, seed: int = 0) -> None:
        """`groups` (C,) is the group of each comparison, of any type that sorts."""
        distinct, group = np.unique(np.asarray(groups), return_inverse=True)
        self.group, self.count = group.reshape(-1), len(distinct)
        generator, shares = np.random.default_rng(seed), np.full(self.count, 1 / max(1, self.count))
        # How often each group is drawn: a multinomial count is all that resampling changes. In parts and in two bytes,
        # or 10,000 series would take 160 MB.
        sizes = [min(_PART, draws - at) for at in range(0, draws, _PART)] if self.count else []
        self._times = [generator.multinomial(self.count, shares, size=size).astype(np.uint16) for size in sizes]

    def over(
        self, columns: NDArray[np.float64], figure: Callable[[NDArray[np.float64]], NDArray[np.float64]], n: int
    ) -> Estimate:
        """A figure that is a function of sums: `figure` turns (..., K) sums of the `columns` (C, K) into (...) values.

        `n` is how many values it rests on. Groups whose columns are all 0 do not count as groups of the figure; with
        fewer than two others the interval is [nan, nan].
        """
        grouped = np.zeros((self.count, columns.shape[1]))
        np.add.at(grouped, self.group, columns)
        groups = int((grouped != 0).any(axis=1).sum())
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(figure(grouped.sum(axis=0)))
            drawn = [figure(times.astype(np.float64) @ grouped) for times in self._times]
        # A draw without any comparison that the figure looks at says nothing of it.
        found = np.concatenate([part[~np.isnan(part)] for part in drawn]) if drawn else np.empty(0)
        if groups < 2 or not len(found):
            return Estimate(value, float("nan"), float("nan"), n, groups)
        low, high = np.percentile(found, [2.5, 97.5])
        return Estimate(value, float(low), float(high), n, groups)

    def mean(self, values: ArrayLike, weights: NDArray[np.float64] | None = None) -> Estimate:
        """The mean of `values` (C,), NaN left out, weighted by `weights` (C,); NaN where nothing is left."""
        numbers = np.asarray(values, np.float64)
        weight = np.where(np.isnan(numbers), 0, 1 if weights is None else weights)
        columns = np.stack([np.nan_to_num(numbers) * weight, weight], axis=1)
        return self.over(columns, lambda sums: sums[..., 0] / sums[..., 1], int((weight > 0).sum()))


def bootstrap(values: ArrayLike, groups: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Mean of `values` (C,) with the percentile interval of a cluster bootstrap over `groups` (C,).

    NaN values are left out; with fewer than two groups the interval is [nan, nan].
    """
    kept = ~np.isnan(np.asarray(values, np.float64))
    return Resamples(np.asarray(groups)[kept], draws, seed).mean(np.asarray(values, np.float64)[kept])


def trivial_margins(
    left: NDArray[np.int64], right: NDArray[np.int64], per_photo: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Margins (C,) of the answers that need no learning: one side always, and each figure of `per_photo` (N,) alone."""
    ones = np.ones(len(left))
    margins = {"always left": ones, "always right": -ones}
    for name, values in per_photo.items():
        margins[f"{name} alone"] = values[left] - values[right]
    return margins
