"""Whether two photos show one scene: a small description of a photo, and how alike two of them are. NumPy only.

It is made to hold for frames of one moment (moved, tilted, blurred, badly exposed) and to fail for the next motif, not
to say what is to be seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION: int = 1
"""Part of the spec: raised when any value changes for any photo."""

Floats = NDArray[np.float32]

_SIDE, _SAMPLES = 48, 5  # of the picture that all is read off; photo's pixels a side that each of its pixels averages
_COLOURS = 11  # bins a side of the histogram of chromaticities
_CELLS, _ANGLES = 3, 12  # of the histograms of edges
_LAYOUT = 12  # pixels a side of the picture in grey
_PARTS = (_COLOURS**2, _CELLS**2 * _ANGLES, _LAYOUT**2)
DIM = sum(_PARTS)
_WEIGHTS = (0.41, 0.28, 0.31)
"""Of colours, edges and layout: by a logistic regression on pairs of frames of one scene and of two."""
_MOVED = 2
"""How many of the layout's pixels a frame may be moved by: a sixth of its width."""


def describe(rgb: NDArray[np.uint8]) -> Floats:
    """(DIM,) float32 of an (H, W, 3) sRGB photo of any size: colours, edges and layout, each as `likeness` wants it."""
    width, count = rgb.shape[1], _SIDE * _SAMPLES
    rows, columns = (((np.arange(count) + 0.5) * side / count).astype(int) for side in rgb.shape[:2])
    # By their numbers, pixels are taken in a third of the time that rows and columns take. 25 × 255 fits 16 bits.
    sampled = rgb.reshape(-1, 3).take((rows[:, None] * width + columns).ravel(), axis=0)
    sums = np.add.reduce(sampled.reshape(_SIDE, _SAMPLES, -1), axis=1, dtype=np.uint16)
    sums = np.add.reduce(sums.reshape(_SIDE, _SIDE, _SAMPLES, 3), axis=2, dtype=np.uint16)
    picture = sums.astype(np.float32) / (255 * _SAMPLES**2)
    return np.concatenate([_colours(picture), _edges(picture), _layout(picture)]).astype(np.float32)


def likeness(vectors: NDArray[Any], left: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
    """(P,) float32: how alike the photos `left` and `right` (P,) of `vectors` (N, DIM) are: 1 is the same picture.

    The weighted sum of the cosines of the histograms (Bhattacharyya's coefficient, for these are square roots of
    shares) and of the best normalised correlation of the layouts over moves by up to `_MOVED`.
    """
    one, other = (np.asarray(vectors[rows], np.float32) for rows in (left, right))
    colours, edges = _PARTS[0], _PARTS[0] + _PARTS[1]
    cosines = [(one[:, part] * other[:, part]).sum(1) for part in (slice(colours), slice(colours, edges))]
    correlation = _best_correlation(*(part[:, edges:].reshape(-1, _LAYOUT, _LAYOUT) for part in (one, other)))
    found = sum(weight * part for weight, part in zip(_WEIGHTS, [*cosines, correlation], strict=True))
    return np.asarray(found, np.float32)


def _colours(picture: Floats) -> Floats:
    """Square roots of the shares of chromaticities: of red and of blue in the sum of the channels."""
    total = picture.sum(2) + 0.06
    bins = [
        np.clip(((picture[..., channel] + 0.02) / total - 0.1) / 0.05, 0, _COLOURS - 1).astype(int)
        for channel in (0, 2)
    ]
    counts = np.bincount((bins[0] * _COLOURS + bins[1]).ravel(), minlength=_COLOURS**2)
    shares: Floats = np.sqrt(counts / counts.sum()).astype(np.float32)
    return shares


def _edges(picture: Floats) -> Floats:
    """Square roots of the shares of gradients (of the logarithm, so that exposure cancels) by cell and direction.

    As in histograms of oriented gradients (Dalal and Triggs 2005), each shared out between two neighbouring directions.
    """
    down, across = np.gradient(np.log(picture.mean(2) + 0.03))
    size = np.hypot(down, across)
    angle = np.arctan2(down, across) % np.pi / np.pi * _ANGLES
    first, share = angle.astype(int), angle % 1
    row, column = np.indices(size.shape) * _CELLS // _SIDE
    cell = (row * _CELLS + column) * _ANGLES
    sums = np.zeros(_CELLS**2 * _ANGLES)
    for direction, weight in ((first, 1 - share), (first + 1, share)):
        sums += np.bincount((cell + direction % _ANGLES).ravel(), (size * weight).ravel(), len(sums))
    shares: Floats = np.sqrt(sums / max(float(sums.sum()), 1e-6)).astype(np.float32)
    return shares


def _layout(picture: Floats) -> Floats:
    small = picture.mean(2).reshape(_LAYOUT, _SIDE // _LAYOUT, _LAYOUT, _SIDE // _LAYOUT)
    grey: Floats = small.mean((1, 3)).ravel()
    return grey


def _best_correlation(one: Floats, other: Floats) -> Floats:
    """(P,) the best normalised correlation of pictures (P, side, side) where they overlap, over small moves."""
    best = np.full(len(one), -1, np.float32)
    moves = range(-_MOVED, _MOVED + 1)
    for down, across in ((down, across) for down in moves for across in moves):
        a, b = (_cut(one, down, across), _cut(other, -down, -across))
        a, b = (part - part.mean((1, 2), keepdims=True) for part in (a, b))
        # What an even grey adds below keeps the noise of an even picture from counting as its layout.
        below = np.sqrt(((a**2).sum((1, 2)) + 0.02) * ((b**2).sum((1, 2)) + 0.02))
        best = np.maximum(best, (a * b).sum((1, 2)) / below)
    return best


def _cut(pictures: Floats, down: int, across: int) -> Floats:
    rows, columns = (slice(max(0, move), _LAYOUT + min(0, move)) for move in (down, across))
    return pictures[:, rows, columns]
