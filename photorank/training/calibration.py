"""Calibration: what log odds are to be divided by for their probabilities to be right on average."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from photorank.metrics import sigmoid

_LIMITS = (1e-2, 1e2)


def best_temperature(margin: ArrayLike, p_left: ArrayLike) -> float:
    """The temperature T in [0.01, 100] for which sigmoid(margin / T) has the smallest cross entropy against `p_left`
    (Guo et al. 2017, On Calibration of Modern Neural Networks).

    The shares are moved towards ½ as by one more voter of each opinion among all comparisons (Platt 1999), or a slice
    without errors would ask for certainty. 1 where there are no comparisons.
    """
    margins, p = np.asarray(margin, np.float64), np.asarray(p_left, np.float64)
    if not len(margins):
        return 1.0
    wanted = (len(p) * p + 1) / (len(p) + 2)
    low, high = np.log(_LIMITS)
    for _ in range(50):
        middle = (low + high) / 2
        # The derivative of the cross entropy by 1 / T, which grows with 1 / T: above 0, T is too small.
        if (margins * (sigmoid(margins / np.exp(middle)) - wanted)).sum() > 0:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))
