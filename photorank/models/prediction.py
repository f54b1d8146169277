"""What a trained head says of photos: scores, and margins of comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photorank.comparisons import Comparisons

_PHOTOS = 1024
_PAIRS = 32768
Features = Mapping[str, Tensor]
"""A (N, dim) tensor a space."""


class Model(Protocol):
    """A trained network, in evaluation mode."""

    head: str
    """`score` or `difference`."""

    def __call__(self, features: Features) -> Tensor:
        """Scores (N,); only asked for with `head` `score`."""

    def margins(self, features: Features, left: Tensor, right: Tensor) -> Tensor:
        """(C,) log odds that the photo in row `left` (C,) of `features` is preferred to that in row `right` (C,)."""


@torch.inference_mode()
def score(model: Model, features: Features) -> NDArray[np.float32]:
    """Scores (N,) of all photos, of which margins are the differences; for a model with `head` `score`."""
    count = len(next(iter(features.values())))
    parts = [model(_rows(features, slice(at, at + _PHOTOS))) for at in range(0, count, _PHOTOS)]
    return torch.cat(parts).float().numpy() if parts else np.empty(0, np.float32)


@torch.inference_mode()
def margins(model: Model, features: Features, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C,) log odds that photo `left` (C,) is preferred to photo `right` (C,), both rows of `features`."""
    if model.head == "score":
        scores = score(model, features).astype(np.float64)
        return scores[left] - scores[right]
    found = np.empty(len(left))
    for at in range(0, len(left), _PAIRS):
        part = slice(at, at + _PAIRS)
        photos, rows = np.unique(np.stack([left[part], right[part]]), return_inverse=True)
        ends = torch.from_numpy(rows.reshape(2, -1))
        found[part] = model.margins(_rows(features, torch.from_numpy(photos)), ends[0], ends[1]).double().numpy()
    return found


def margins_of(model: Model, features: Features, data: Comparisons, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(len(rows),) margins of some comparisons; no other photos than theirs go through the network."""
    photos, ends = np.unique(np.stack([data.left[rows], data.right[rows]]), return_inverse=True)
    left, right = ends.reshape(2, -1)
    return margins(model, _rows(features, torch.from_numpy(photos)), left, right)


def group_scores(model: Model, features: Features, groups: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores (N,) of photos in `groups` (N,), comparable within a group: the mean margin against all of its photos.

    These are the scores whose differences come nearest to the margins of all pairs, by least squares (Jiang et al.
    2011, Statistical ranking and combinatorial Hodge theory, for a complete graph). 0 in a group of one.
    """
    sums = np.zeros(len(groups))
    for left, right in _pairs(groups):
        found = margins(model, features, left, right)
        np.add.at(sums, left, found)
        np.subtract.at(sums, right, found)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return (sums / sizes[group.reshape(-1)]).astype(np.float32)


def _pairs(groups: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of photos of one group, each once: the k-th of each group with the one `step` places on."""
    order = np.argsort(groups, kind="stable")
    for step in range(1, int(np.unique(groups, return_counts=True)[1].max(initial=0))):
        same = groups[order[step:]] == groups[order[:-step]]
        yield order[:-step][same], order[step:][same]


def _rows(features: Features, rows: slice | Tensor) -> dict[str, Tensor]:
    return {space: values[rows] for space, values in features.items()}
