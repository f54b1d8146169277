"""What a run says of photos and of comparisons, from the features in a store. Each kind of run is scored here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from photorank.comparisons import Comparisons
from photorank.errors import RunError
from photorank.models import prediction
from photorank.runs import Run
from photorank.stages.fit_head import load_features
from photorank.store import FeatureStore, Space, fingerprint


def margins(store: FeatureStore, run: Run, data: Comparisons) -> NDArray[np.float64]:
    """(C,) log odds of the left photo being preferred. Raises RunError and StoreError as of `scores`."""
    return prediction.margins(run.model, features_of(store, run, data.keys), data.left, data.right)


def scores(
    store: FeatureStore, run: Run, keys: NDArray[np.uint8], groups: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Scores (N,) of the photos with these keys (N, 32), of which a key may be there several times.

    A head that compares two photos gives no scores by itself: its photos' are comparable within the series `groups`
    (N,) only, which it needs. Raises RunError where the store has no features as the run was trained on, StoreError
    that names a photo without.
    """
    return scores_of(run, features_of(store, run, keys), groups)


def scores_of(run: Run, features: prediction.Features, groups: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """The same of photos whose features (`features_of`) are at hand."""
    if run.model.head == "score":
        return prediction.score(run.model, features)
    if groups is None:
        raise ValueError("photos have scores within a series only, and the series are not given")
    return prediction.group_scores(run.model, features, groups)


def features_of(store: FeatureStore, run: Run, keys: NDArray[np.uint8]) -> dict[str, Tensor]:
    """What the run's model looks at of photos, a (N, dim) tensor a space; keys and errors as of `scores`."""
    spaces = [_space(store, run, number) for number in range(len(run.features))]
    return load_features(store, spaces, keys, f"extract them as {run.path} was trained")


def _space(store: FeatureStore, run: Run, number: int) -> Space:
    feature = run.features[number]
    space = store.find_space(feature.name, feature.spec)
    if space is not None and space.role == feature.role:
        return space
    wanted = f"{feature.name}@{fingerprint(feature.spec)} ({feature.role})"
    there = [f"{each.name}@{each.fingerprint} ({each.role})" for each in store.spaces() if each.name == feature.name]
    instead = f"it has {', '.join(there)}, of another spec" if there else f"it has no space {feature.name!r}"
    remedy = f"the config of the run's features, whose specs are in {run.path / 'run.json'}"
    if run.kind == "siamese":
        remedy = f"--features e2e:{run.path}"
    raise RunError(
        f"{run.path} was trained on {wanted}, which {store.path} does not hold ({instead}); extract the photos with "
        f"{remedy}"
    )
