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
from photorank.models.fusion import MultiFeaturePairwiseRanker
from photorank.reason_words import FAMILY_OF, Change, words

STEPS = 64
"""Places on the line at which the gradient is taken: the middles of as many equal parts of it."""
MOST = 3
"""Reasons given for a frame, at most."""
WORTH = 0.15
"""A reason is given if it is at least this share of all that the frame lost by."""
_ROWS = 16_384


def contributions(
    model: MultiFeaturePairwiseRanker, features: Mapping[str, Tensor], frames: Tensor, picks: Tensor, steps: int = STEPS
) -> dict[str, Tensor]:
    """A (F, dim) tensor a space: what each dimension adds to the margin of a frame over its pick.

    `features` holds a (N, dim) tensor a space; `frames` and `picks` (F,) are rows of them. The contributions of a frame
    sum to its margin, but for the error of the midpoint rule.
    """
    parts = [
        _contributions(model, features, frames[at : at + _ROWS // steps], picks[at : at + _ROWS // steps], steps)
        for at in range(0, len(frames), _ROWS // steps)
    ]
    return {
        space: torch.cat([part[space] for part in parts]) if parts else values.new_zeros(0, values.shape[1])
        for space, values in features.items()
    }


def _contributions(
    model: MultiFeaturePairwiseRanker, features: Mapping[str, Tensor], frames: Tensor, picks: Tensor, steps: int
) -> dict[str, Tensor]:
    count, device = len(frames), frames.device
    along = ((torch.arange(steps, device=device) + 0.5) / steps)[:, None, None]
    starts = {space: values[picks].float() for space, values in features.items()}  # (F, dim)
    ways = {space: values[frames].float() - starts[space] for space, values in features.items()}
    lines = {
        space: (starts[space] + along * ways[space]).reshape(steps * count, -1).requires_grad_() for space in features
    }
    rows = {space: torch.cat([lines[space], starts[space]]) for space in features}
    right = steps * count + torch.arange(count, device=device).repeat(steps)
    margins = model.margins(rows, torch.arange(steps * count, device=device), right)  # (steps · F,)
    gradients = torch.autograd.grad(margins.sum(), list(lines.values()), allow_unused=True)
    found = {}
    for (space, way), gradient in zip(ways.items(), gradients, strict=True):
        mean = 0.0 if gradient is None else gradient.reshape(steps, count, -1).mean(0)
        found[space] = way * mean
    return found


def reasons(
    model: MultiFeaturePairwiseRanker, described: Sequence[Feature], features: Mapping[str, Tensor],
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
    distinct = list(dict.fromkeys(labels))
    costs = np.zeros((len(frames), len(distinct)))
    whole = torch.cat([parts[feature.name] for feature in described], dim=1).double().numpy()
    np.add.at(costs.T, [distinct.index(label) for label in labels], whole.T)
    values = torch.cat([features[feature.name] for feature in described], dim=1).double().numpy()
    columns = {name: at for at, (_, name) in enumerate(names) if name}
    return [
        [words(distinct[at], _change(columns, values[pick], values[frame])) for at in _costliest(cost)]
        for cost, frame, pick in zip(costs, frames, picks, strict=True)
    ]


def _costliest(cost: NDArray[np.float64]) -> list[int]:
    """Which families cost most (K,), of those that cost anything worth telling."""
    lost = np.minimum(cost, 0)
    return [int(at) for at in np.argsort(cost, kind="stable")[:MOST] if lost[at] < 0 and lost[at] <= WORTH * lost.sum()]


def _change(columns: Mapping[str, int], pick: NDArray[np.float64], frame: NDArray[np.float64]) -> Change:
    return {name: (float(pick[at]), float(frame[at])) for name, at in columns.items()}


def _names(feature: Feature, dim: int) -> list[str]:
    """The name of each dimension: of statistics and metrics their own, of other spaces none ("")."""
    if feature.spec["kind"] != "iqa":
        return [""] * dim
    told = [feature.spec.get(part, {}).get("names", []) for part in ("statistics", "metrics")]
    return [name for names in told for name in names]
