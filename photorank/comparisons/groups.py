"""Series that share photos: what is learnt from one of them is known of the others, so they are kept together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def groups(series: Numbers, left: Numbers, right: Numbers) -> Numbers:
    """(C,) the group of each comparison: the smallest number of the series that photos connect with its own, directly
    or through others. It is the series itself where no photo is in two.

    `series`, `left` and `right` are (C,) series and photo numbers.
    """
    photos, of = np.concatenate([left, right]), np.tile(series, 2)
    group = np.arange(series.max(initial=-1) + 1)
    while True:
        lowest = np.full(photos.max(initial=-1) + 1, len(group))
        np.minimum.at(lowest, photos, group[of])
        found = group.copy()
        # The group of a series joins, not the series alone: long chains are then a matter of few rounds.
        np.minimum.at(found, group[of], lowest[photos])
        found = found[found]
        if (found == group).all():
            return group[series]
        group = found
