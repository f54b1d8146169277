"""Why a frame was left out: what cost it most against the pick, from the head itself, in words.

A head's margin of a frame over the pick is shared out among the features by integrated gradients (Sundararajan, Taly
and Yan 2017, Axiomatic Attribution for Deep Networks): along the straight line from the pick's features to the frame's
each dimension gets its part of the way. The parts sum to the margin, so those below zero are what the frame lost by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photorank.extractors import Feature
from photorank.models.prediction import Model
from photorank.reports.reason_words import FAMILIES, FAMILY_OF, words

PLACES = (8, 32, 128, 512)
"""Places on the line at which the gradient is taken: more where so few do not give the margin to within TOLERANCE."""
TOLERANCE = 1e-3
"""Of the margin, or of 1 where that is more."""
MOST = 3
"""Reasons given for a frame, at most."""
WORTH = 0.15
"""A reason is given if it is at least this share of all that the frame lost by."""
_ROWS = 16_384


def contributions(model: Model, features: Mapping[str, Tensor], frames: Tensor, picks: Tensor) -> dict[str, Tensor]:
    """A (F, dim) tensor a space: what each dimension adds to the margin of a frame over its pick.

    `features` holds a (N, dim) tensor a space; `frames` and `picks` (F,) are rows of them. The contributions of a frame
    sum to its margin, within TOLERANCE. (Where features lie so far out that the head clamps many of them on the way,
    the most places get no nearer than some percent.)
    """
    with torch.no_grad():
        margins = model.margins(features, frames, picks)
    found = {space: values.new_zeros(len(frames), values.shape[1]).float() for space, values in features.items()}
    rest = torch.arange(len(frames))  # not yet near enough
    for places in PLACES:
        for rows in torch.split(rest, max(1, _ROWS // places)):
            for space, part in _integrals(model, features, frames[rows], picks[rows], places).items():
                found[space][rows] = part
        sums = torch.stack([part.sum(1) for part in found.values()]).sum(0)
        rest = torch.nonzero((sums - margins).abs() > TOLERANCE * margins.abs().clamp(min=1)).squeeze(1)
        if not len(rest):
            break
    return found


def _integrals(
    model: Model, features: Mapping[str, Tensor], frames: Tensor, picks: Tensor, places: int
) -> dict[str, Tensor]:
    """The integrals along the lines by Gauss and Legendre's rule."""
    count = len(frames)
    nodes, weights = (torch.from_numpy(each).float() for each in np.polynomial.legendre.leggauss(places))
    starts = {space: values[picks].float() for space, values in features.items()}  # (F, dim)
    ways = {space: values[frames].float() - starts[space] for space, values in features.items()}
    lines = {
        space: (starts[space] + (nodes[:, None, None] + 1) / 2 * way).flatten(0, 1).requires_grad_()
        for space, way in ways.items()
    }
    rows = {space: torch.cat([lines[space], starts[space]]) for space in features}
    right = places * count + torch.arange(count).repeat(places)
    margins = model.margins(rows, torch.arange(places * count), right)  # (places · F,)
    gradients = torch.autograd.grad(margins.sum(), list(lines.values()))
    return {
        space: way * (weights[:, None, None] / 2 * gradient.view(places, *way.shape)).sum(0)
        for (space, way), gradient in zip(ways.items(), gradients, strict=True)
    }


def reasons(
    model: Model, described: Sequence[Feature], features: Mapping[str, Tensor],
    frames: NDArray[np.int64], picks: NDArray[np.int64],
) -> list[list[str]]:  # fmt: skip
    """For each frame what cost it most against its pick, the costliest first; none where nothing cost it anything.

    `described` says what the spaces of `features` hold: statistics are told in families with their values, other spaces
    as a whole. `frames` and `picks` (F,) are rows of `features`.
    """
    left, right = torch.from_numpy(frames), torch.from_numpy(picks)
    parts = contributions(model, features, left, right)
    names = [(feature, name) for feature in described for name in _names(feature, features[feature.name].shape[1])]
    labels = [FAMILY_OF.get(name, name) if name else f"{feature.name} features" for feature, name in names]
    distinct = list(dict.fromkeys([*FAMILIES, *labels]))
    costs = np.zeros((len(frames), len(distinct)))
    whole = torch.cat([parts[feature.name] for feature in described], dim=1).double().numpy()
    np.add.at(costs.T, [distinct.index(label) for label in labels], whole.T)
    values = torch.cat([features[feature.name] for feature in described], dim=1).double().numpy()
    columns = {name: at for at, (_, name) in enumerate(names) if name}
    if columns.keys() >= FAMILY_OF.keys():
        _tell_apart(costs, values[frames] - values[picks], columns)
    told = []
    for cost, pick, frame in zip(costs, values[picks].tolist(), values[frames].tolist(), strict=True):
        change = {name: (pick[at], frame[at]) for name, at in columns.items()}
        told.append([words(distinct[at], change) for at in _costliest(cost)])
    return told


def _tell_apart(costs: NDArray[np.float64], change: NDArray[np.float64], columns: Mapping[str, int]) -> None:
    """Move, in place, between sharpness and noise what is the other's: both are read off the finest detail. Less of it
    costs a frame by being soft, whichever statistic notices; more of it by being noisy."""
    sharpness, noise = FAMILIES.index("sharpness"), FAMILIES.index("noise")
    less = change[:, columns["noise"]] < 0
    more = ~less & (change[:, columns["sharpness"]] > 0)
    for where, source, target in ((less, noise, sharpness), (more, sharpness, noise)):
        costs[where, target] += costs[where, source]
        costs[where, source] = 0


def _costliest(cost: NDArray[np.float64]) -> list[int]:
    """Which families cost most (K,), of those that cost anything worth telling."""
    lost = np.minimum(cost, 0)
    return [int(at) for at in np.argsort(cost, kind="stable")[:MOST] if lost[at] < 0 and lost[at] <= WORTH * lost.sum()]


def _names(feature: Feature, dim: int) -> list[str]:
    """The name of each dimension: of statistics and metrics their own, of other spaces none ("")."""
    if feature.spec["kind"] != "iqa":
        return [""] * dim
    told = [feature.spec.get(part, {}).get("names", []) for part in ("statistics", "metrics")]
    return [name for names in told for name in names]
