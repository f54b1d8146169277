"""The figures of an evaluation: margins and labels in, tables of estimates out. Who gave the margins is not seen here.

A margin is left minus right in log odds: `P(left) = sigmoid(margin)`. Every figure is the same when left and right are
swapped everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from photorank.comparisons import CLEAR, Comparisons
from photorank.comparisons.utilities import least_squares, log_odds
from photorank.metrics import Estimate, Resamples, brier, correct, log_loss, sigmoid

Floats = NDArray[np.float64]
Figures = dict[str, dict[str, Estimate]]
"""Row → column → estimate."""

COVERAGES = (100, 90, 75, 50)
AGREEMENTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LARGE = 9
"""Series of so many photos and more are one row."""
CONFIDENCES = np.linspace(0.5, 1, 11)
"""Edges of the bins of the calibration error."""


@dataclass(frozen=True)
class Evaluated:
    """Comparisons with a ranker's margins, and the resamples that all figures share."""

    data: Comparisons
    margin: Floats
    """(C,) of the ranker."""
    resamples: Resamples
    """Over the series of `data`, those that share photos as one."""

    @property
    def p_left(self) -> Floats:
        """(C,) the labels. Rounded, for a .7 that was stored in four bytes to be .7."""
        return self.data.p_left.astype(np.float64).round(6)

    @property
    def agreement(self) -> Floats:
        """(C,) max(p, 1 − p): the share of people on the side of the majority."""
        return np.maximum(self.p_left, 1 - self.p_left).round(6)


def main_figures(each: Evaluated) -> dict[str, Estimate]:
    """Those of `comparison_figures`, and top-1 of series."""
    return comparison_figures(each) | {"top-1 of series": each.resamples.mean(top1(each.data, each.margin))}


def comparison_figures(each: Evaluated) -> dict[str, Estimate]:
    """Accuracy (comparisons with p = ½ have no answer and are left out; margin 0 is half right), the same of the clear
    comparisons, log loss and Brier score against the soft labels of all, calibration error, and tau of series."""
    right = correct(each.margin, each.p_left)
    return {
        "accuracy": each.resamples.mean(right),
        "accuracy, clear": each.resamples.mean(np.where(each.agreement > CLEAR, right, np.nan)),
        "Kendall's tau": each.resamples.mean(tau(each.data, each.margin)),
        "log loss": each.resamples.mean(log_loss(each.margin, each.p_left)),
        "Brier score": each.resamples.mean(brier(each.margin, each.p_left)),
        "calibration error": calibration_error(each),
    }


def trivial_figures(each: Evaluated, margins: Mapping[str, Floats]) -> Figures:
    """A row for each of the trivial answers (C,): its accuracies."""
    clear = each.agreement > CLEAR
    rights = {name: correct(margin, each.p_left) for name, margin in margins.items()}
    return {
        name: {
            "accuracy": each.resamples.mean(right),
            "accuracy, clear": each.resamples.mean(np.where(clear, right, np.nan)),
        }
        for name, right in rights.items()
    }


def differences(each: Evaluated, other: Floats) -> dict[str, Estimate]:
    """The ranker minus another with the margins `other` (C,), comparison by comparison."""
    right = correct(each.margin, each.p_left) - correct(other, each.p_left)
    return {
        "accuracy": each.resamples.mean(right),
        "accuracy, clear": each.resamples.mean(np.where(each.agreement > CLEAR, right, np.nan)),
        "top-1 of series": each.resamples.mean(top1(each.data, each.margin) - top1(each.data, other)),
        "log loss": each.resamples.mean(log_loss(each.margin, each.p_left) - log_loss(other, each.p_left)),
    }


def coverage_figures(each: Evaluated) -> Figures:
    """Accuracy on the most certain comparisons: a row for each share of `COVERAGES` that is decided.

    Of comparisons that are equally certain at the limit each counts with the share of them that fits.
    """
    right = correct(each.margin, each.p_left)
    certain = np.where(np.isnan(right), -1, np.abs(each.margin))
    ordered = np.sort(certain[certain >= 0])[::-1]
    found = {}
    for percent in COVERAGES:
        room = percent / 100 * len(ordered)
        limit = ordered[max(0, int(np.ceil(room - 1e-9)) - 1)] if len(ordered) else 0.0
        above, at = certain > limit, certain == limit
        share = (room - above.sum()) / max(1, at.sum())
        found[f"{percent} %"] = {"accuracy": each.resamples.mean(right, above + share * at)}
    return found


def part_figures(each: Evaluated, parts: Mapping[str, NDArray[np.bool_]]) -> Figures:
    """A row for each part of the comparisons, given as (C,) masks, that holds any."""
    right, loss = correct(each.margin, each.p_left), log_loss(each.margin, each.p_left)
    return {
        name: {
            "accuracy": each.resamples.mean(np.where(mask, right, np.nan)),
            "log loss": each.resamples.mean(np.where(mask, loss, np.nan)),
        }
        for name, mask in parts.items()
        if mask.any()
    }


def by_size(each: Evaluated) -> Figures:
    """By how many photos of the series are compared; the largest are taken together."""
    photos = np.unique(
        np.stack([np.tile(each.data.series, 2), np.concatenate([each.data.left, each.data.right])]), axis=1
    )
    size = np.bincount(photos[0])[each.data.series]
    parts = {f"{count} photos": size == count for count in range(2, LARGE)}
    return part_figures(each, parts | {f"{LARGE} photos or more": size >= LARGE})


def by_agreement(each: Evaluated) -> Figures:
    """By max(p, 1 − p), each bin with its upper edge; p = ½, which has no accuracy, by itself."""
    share = each.agreement
    bins = {_range(low, high): (share > low) & (share <= high) for low, high in pairwise(AGREEMENTS)}
    return part_figures(each, {"50 %": share == 0.5} | bins)


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def by_variant(each: Evaluated, variant: NDArray[np.object_]) -> Figures:
    """By what the worse photo is: a row a kind (`blur`; `blur, all` where a strength has that name) and a row for
    each of its strengths (`blur-2`)."""
    kinds = np.array([str(name).split("-")[0] for name in variant], dtype=object)
    parts = {}
    for kind in dict.fromkeys(kinds):
        names = [str(name) for name in dict.fromkeys(variant[kinds == kind])]
        parts[f"{kind}, all" if kind in names and len(names) > 1 else kind] = kinds == kind
        parts |= {name: variant == name for name in sorted(names, key=_numbers_last)}
    return part_figures(each, parts)


def _numbers_last(name: str) -> tuple[str, int]:
    stem, _, end = name.rpartition("-")
    return (stem, int(end)) if end.isdecimal() else (name, 0)


def _folded(each: Evaluated) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """(C,) how sure the ranker is of the side that it takes (½ … 1), how many people take that side, the bin.

    A ranker that takes no side (P = ½) is as right as it is sure.
    """
    sure = sigmoid(np.abs(each.margin))
    taken = np.where(each.margin > 0, each.p_left, 1 - each.p_left)
    bins = np.clip(np.searchsorted(CONFIDENCES, sure, side="left") - 1, 0, len(CONFIDENCES) - 2)
    return sure, np.where(each.margin == 0, 0.5, taken), bins


def calibration_error(each: Evaluated) -> Estimate:
    """Expected calibration error (Guo et al. 2017) over ten bins of the confidence max(P, 1 − P), weighted by size:
    how far confidence and the share of people who agree are apart.

    Noise within bins adds to it, and resampling adds more, so that the interval may lie above the value.
    """
    sure, taken, bins = _folded(each)
    columns = np.zeros((len(sure), len(CONFIDENCES)))
    columns[np.arange(len(sure)), bins] = sure - taken
    columns[:, -1] = 1
    return each.resamples.over(columns, lambda sums: np.abs(sums[..., :-1]).sum(-1) / sums[..., -1], len(sure))


def reliability(each: Evaluated) -> Figures:
    """A row a bin of the calibration error: how sure the ranker is on average, and how many people agree with it."""
    sure, taken, bins = _folded(each)
    return {
        _range(CONFIDENCES[number], CONFIDENCES[number + 1]): {
            "confidence": each.resamples.mean(np.where(bins == number, sure, np.nan)),
            "people who agree": each.resamples.mean(np.where(bins == number, taken, np.nan)),
        }
        for number in np.unique(bins)
    }


def tau(data: Comparisons, margin: Floats) -> Floats:
    """(C,) Kendall's tau-b within each series, at its first comparison; NaN at the others.

    Over the pairs that were compared: agreeing less disagreeing, over the root of the pairs that people and the pairs
    that the ranker are not undecided on (Kendall 1945). With every pair compared once it is that of two orders. 0 where
    the ranker is undecided on all, NaN where people are.
    """
    ranker, people = np.sign(margin), np.sign(data.p_left.astype(np.float64) - 0.5)
    agreed, ours, theirs = (
        np.bincount(data.series, value, len(data.series_names))
        for value in (ranker * people, np.abs(ranker), np.abs(people))
    )
    values = np.where(theirs == 0, np.nan, agreed / np.sqrt(np.maximum(1, ours * theirs)))
    return _at_first(data.series, values)


def top1(data: Comparisons, margin: Floats) -> Floats:
    """(C,) 1 where the ranker picks the photo of a series that people prefer, at its first comparison; NaN elsewhere.

    What people prefer, and what the ranker picks, follow from comparisons in the same way: the photo with the highest
    of the scores whose differences are nearest to the comparisons' log odds (see `least_squares`). Margins that are
    differences of scores give those scores back. If several are preferred alike, each is right; if several are picked
    alike, the share of them that is. NaN where people prefer all of a series' photos alike.
    """
    wanted = np.stack([log_odds(data.p_left), margin], axis=1)
    order = np.argsort(data.series, kind="stable")
    ends = np.cumsum(np.bincount(data.series, minlength=len(data.series_names)))
    parts = np.split(order, ends[:-1])
    values = np.array([_picked(data.left[rows], data.right[rows], wanted[rows]) for rows in parts])
    return _at_first(data.series, values)


def _picked(left: NDArray[np.int64], right: NDArray[np.int64], wanted: Floats) -> float:
    _, scores = least_squares(left, right, wanted)
    # Rounding makes no preference.
    best = scores >= scores.max(axis=0) - 1e-6 * np.maximum(1, np.abs(wanted).max(axis=0))
    return float("nan") if best[:, 0].all() else float(best[best[:, 1], 0].mean())


def _at_first(series: NDArray[np.int64], values: Floats) -> Floats:
    found = np.full(len(series), np.nan)
    numbers, first = np.unique(series, return_index=True)
    found[first] = values[numbers]
    return found
