"""The order behind comparisons: scores whose differences come nearest to what each comparison says."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SURE = 0.99
"""A share of people beyond this counts as this when the order behind comparisons is sought: its log odds are finite."""


def log_odds(p_left: ArrayLike) -> NDArray[np.float64]:
    """(C,) log odds of shares of people, of which those beyond .99 count as .99."""
    p = np.clip(np.asarray(p_left, np.float64), 1 - _SURE, _SURE)
    found: NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return found


def least_squares(
    left: NDArray[np.int64], right: NDArray[np.int64], leads: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The photos compared (N,) and their scores (N, K), of which the differences left minus right are nearest to the
    `leads` (C, K), by least squares (Jiang et al. 2011, "Statistical ranking and combinatorial Hodge theory").

    Scores are 0 on average, in each part of the photos that comparisons connect.
    """
    photos, at = np.unique(np.concatenate([left, right]), return_inverse=True)
    first, second = at.reshape(2, -1)
    # The normal equations, photos by photos: comparisons by photos would not fit for a series of a thousand.
    laplacian, sums = np.diag(np.bincount(at.reshape(-1)).astype(np.float64)), np.zeros((len(photos), leads.shape[1]))
    for one, other, sign in ((first, second, 1), (second, first, -1)):
        np.subtract.at(laplacian, (one, other), 1)
        np.add.at(sums, one, sign * leads)
    scores = np.linalg.lstsq(laplacian, sums, rcond=None)[0]
    return photos.astype(np.int64), scores.astype(np.float64)
