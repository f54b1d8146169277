"""Comparisons in batches of whole series, so that each photo goes through the network once an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photorank.comparisons import Comparisons
from photorank.comparisons.utilities import least_squares, log_odds

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Some series: their photos, and the comparisons of these."""

    photos: Ints
    """(B,) photo numbers, those of a series together."""
    left: Ints
    """(C,) places in `photos`."""
    right: Ints
    p_left: Floats
    """(C,)"""
    weight: Floats
    """(C,) 1 on average over the training."""
    sizes: Ints
    """(G,) photos of each series."""
    list_weight: Floats
    """(G,) mean weight of each series."""
    targets: Floats
    """(B,) utilities of the photos, by which those of a series are sorted, the highest first; 0 unless asked for."""


@dataclass(frozen=True)
class Series:
    """Comparisons sorted by series, with what batches are made of: everything of series k lies between the k-th and the
    next start. A photo of two series is there twice."""

    photos: Ints
    """(S,)"""
    photo_starts: Ints
    """(K + 1,)"""
    left: Ints
    """(C,) rows of `photos`."""
    right: Ints
    p_left: Floats
    weight: Floats
    starts: Ints
    """(K + 1,) of the comparisons."""
    list_weight: Floats
    """(K,)"""
    targets: Floats
    """(S,)"""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batches(self, order: Ints, size: int) -> list[Batch]:
        """All series, in the `order` (K,), in batches of about `size` comparisons each, none of them empty."""
        counts, photo_counts = np.diff(self.starts)[order], np.diff(self.photo_starts)[order]
        rows, slots = _ranges(self.starts[order], counts), _ranges(self.photo_starts[order], photo_counts)
        place = np.empty(len(slots), np.int64)
        place[slots] = np.arange(len(slots))
        left, right = place[self.left[rows]], place[self.right[rows]]
        wanted = max(1, round(len(rows) / size))
        # The batch of a series is where its first comparison would fall if series could be cut.
        batch = (np.cumsum(counts) - counts) * wanted // max(1, len(rows))
        cuts = np.flatnonzero(np.diff(batch, prepend=-1, append=wanted))
        ends, photo_ends = (np.concatenate([[0], np.cumsum(each)])[cuts] for each in (counts, photo_counts))
        found = []
        for number in range(len(cuts) - 1):
            series, part, seen = (slice(each[number], each[number + 1]) for each in (cuts, ends, photo_ends))
            found.append(
                Batch(
                    self.photos[slots[seen]], left[part] - seen.start, right[part] - seen.start,
                    self.p_left[rows[part]], self.weight[rows[part]], photo_counts[series],
                    self.list_weight[order[series]], self.targets[slots[seen]],
                )
            )  # fmt: skip
        return found


def by_series(data: Comparisons, rows: Ints, weight: Floats, targets: bool) -> Series:
    """These comparisons (C,) with their `weight` (C,), sorted by series; with `targets`, the photos' utilities too."""
    order = np.argsort(data.series[rows], kind="stable")
    rows, weight = rows[order], weight[order]
    numbers, starts = np.unique(data.series[rows], return_index=True)
    series = np.searchsorted(numbers, data.series[rows])
    ends = np.tile(series, 2) * len(data.keys) + np.concatenate([data.left[rows], data.right[rows]])
    distinct, at = np.unique(ends, return_inverse=True)
    of, photos = np.divmod(distinct, len(data.keys))
    wanted = np.zeros(len(photos), np.float32)
    if targets:
        leads = log_odds(data.p_left[rows])[:, None]
        parts = np.split(at.reshape(2, -1), starts[1:], axis=1)
        for (left, right), lead in zip(parts, np.split(leads, starts[1:]), strict=True):
            slots, scores = least_squares(left, right, lead)
            wanted[slots] = scores[:, 0]
    ranked = np.lexsort([-wanted, of])
    place = np.empty(len(ranked), np.int64)
    place[ranked] = np.arange(len(ranked))
    left, right = place[at.reshape(2, -1)]
    starts = np.append(starts, len(rows))
    sums = np.bincount(series, weight, len(numbers))
    return Series(
        photos[ranked], np.searchsorted(of, np.arange(len(numbers) + 1)), left, right, data.p_left[rows], weight,
        starts, (sums / np.diff(starts)).astype(np.float32), wanted[ranked],
    )  # fmt: skip


def places(batch: Batch, longest: int) -> Ints:
    """(G, longest) the places of the photos of each series, and -1 where it has no more."""
    number = np.arange(longest)
    starts = np.cumsum(batch.sizes) - batch.sizes
    return np.where(number < batch.sizes[:, None], starts[:, None] + number, -1)


def padded(rows: Sequence[NDArray[np.generic]], length: int, fill: float = 0) -> NDArray[np.generic]:
    """(M, length, ...) of arrays (each its own, ...), what is missing filled up."""
    found = np.full((len(rows), length, *rows[0].shape[1:]), fill, rows[0].dtype)
    for place, row in zip(found, rows, strict=True):
        place[: len(row)] = row
    return found


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, …, one range after the other."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


_INTS, _FLOATS = np.empty(0, np.int64), np.empty(0, np.float32)
EMPTY = Batch(_INTS, _INTS, _INTS, _FLOATS, _FLOATS, _INTS, _FLOATS, _FLOATS)
"""The batch of a member of a stack that has no more."""
