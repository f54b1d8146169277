"""Batches of whole series: each photo goes through the backbone once, all its comparisons are taken from the features.

What is random is drawn from (seed, epoch, number of the batch) alone, so a training that goes on has the same batches,
and so have any number of processes that share them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photorank.comparisons import Comparisons


@dataclass(frozen=True)
class Part:
    """What goes through the network at once: a part of a batch, whole series."""

    photos: NDArray[np.int64]
    """(n,) numbers of photos, each once."""
    left: NDArray[np.int64]
    """(c,) rows of `photos`."""
    right: NDArray[np.int64]
    p_left: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    """(n,) photos to be seen mirrored."""
    place: NDArray[np.float32]
    """(n, 2) where in the photo's rows and columns the window is that is to be seen, 0 (first) to 1 (last)."""
    series: NDArray[np.int64]
    """(s,) numbers of the series."""
    filler: bool = False
    """Nothing is learned from it: it stands where a process has nothing to do while others do."""


def epoch_batches(
    data: Comparisons, rows: NDArray[np.int64], batch_photos: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The comparisons `rows` in batches of whole series in random order, each of at most `batch_photos` photos or one
    series."""
    order = np.random.default_rng([seed, epoch]).permutation(len(data.series_names))
    ranked = rows[np.argsort(order[data.series[rows]], kind="stable")]
    sizes = photos_of_series(data, rows)
    batches, start, photos = [], 0, 0
    for at in _starts(data.series[ranked]):
        size = sizes[data.series[ranked[at]]]
        if photos and photos + size > batch_photos:
            batches.append(ranked[start:at])
            start, photos = at, 0
        photos += size
    return [*batches, ranked[start:]]


def parts_of(
    data: Comparisons, rows: NDArray[np.int64], count: int, flip: bool, seed: int, epoch: int, batch: int
) -> list[Part]:
    """A batch in `count` parts of about as many photos each, fillers where it has fewer series than that.

    Each comparison is put in a random order of its two photos; with `flip` half of the series are mirrored. All photos
    of a series, and of those that share photos with it, are mirrored and seen in a window alike.
    """
    generator = np.random.default_rng([seed, epoch, batch])
    swapped = generator.random(len(rows)) < 0.5
    mirrored = generator.random(len(data.series_names)) < (0.5 if flip else 0)
    place = generator.random((len(data.series_names), 2), np.float32)
    left = np.where(swapped, data.right[rows], data.left[rows])
    right = np.where(swapped, data.left[rows], data.right[rows])
    p_left = np.where(swapped, 1 - data.p_left[rows], data.p_left[rows])
    part_of = _spread(photos_of_series(data, rows), count)[data.series[rows]]
    parts = []
    for number in range(count):
        chosen = np.flatnonzero(part_of == number)
        filler = not len(chosen)
        if filler:  # one comparison will do
            chosen = np.arange(1)
        photos, at = np.unique(np.concatenate([left[chosen], right[chosen]]), return_inverse=True)
        ends = at.reshape(2, -1)
        group_of = np.zeros(len(photos), np.int64)
        group_of[ends] = data.group[rows[chosen]]
        series = np.unique(data.series[rows[chosen]])
        parts.append(
            Part(photos, ends[0], ends[1], p_left[chosen], mirrored[group_of], place[group_of], series, filler)
        )
    return parts


def cut(photos: Tensor, place: NDArray[np.float32], window: int) -> Tensor:
    """The squares (n, 3, window, window) of photos (n, 3, size, size) that are at their `place` (n, 2) as in `Part`."""
    corners = np.rint(place * (photos.shape[-1] - window)).astype(int).tolist()
    squares = [photo[:, top:, left:] for photo, (top, left) in zip(photos, corners, strict=True)]
    layout = torch.channels_last if photos.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return torch.stack([each[:, :window, :window] for each in squares]).contiguous(memory_format=layout)


def photos_of_series(data: Comparisons, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(S,) photos of each series in these comparisons."""
    pairs = np.stack([np.tile(data.series[rows], 2), np.concatenate([data.left[rows], data.right[rows]])], axis=1)
    return np.bincount(np.unique(pairs, axis=0)[:, 0], minlength=len(data.series_names))


def _starts(series: NDArray[np.int64]) -> list[int]:
    return [0, *(np.flatnonzero(np.diff(series)) + 1).tolist()]


def _spread(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(S,) the part that each series goes to, large ones first, always to the part with the fewest photos."""
    part_of, loads = np.zeros(len(sizes), np.int64), np.zeros(count, np.int64)
    for series in np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]:
        part_of[series] = loads.argmin()
        loads[part_of[series]] += sizes[series]
    return part_of
