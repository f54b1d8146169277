"""Figures of photos that need no learning, from what the store has seen: what every ranker is reported beside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photorank.store import FeatureStore


def baselines(store: FeatureStore, keys: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Figures (N,) of the photos with these keys (N, 32): file size, and sharpness, each where the store has all."""
    table = store.files()
    size_of = dict(zip(table["key"].to_pylist(), table["size"].to_pylist(), strict=True))
    # Photos that were imported without being there are of size 0.
    found = {"file size": np.array([size_of.get(key.tobytes()) or np.nan for key in keys], np.float64)}
    sharp = sharpness(store, keys)
    if sharp is not None:
        found["sharpness"] = sharp
    return {name: values for name, values in found.items() if not np.isnan(values).any()}


def sharpness(store: FeatureStore, keys: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The statistic `sharpness` (N,) of the photos with these keys (N, 32), NaN where the store has none.

    From the space that has most of them; None where no space has the statistic.
    """
    best: NDArray[np.float64] | None = None
    for space in store.spaces():
        names = space.spec.get("statistics", {}).get("names", [])
        if "sharpness" in names:
            values = np.full(len(keys), np.nan)
            there = ~space.missing(keys)
            values[there] = space.load(keys[there])[1][:, names.index("sharpness")]
            if best is None or np.isnan(values).sum() < np.isnan(best).sum():
                best = values
    return best
