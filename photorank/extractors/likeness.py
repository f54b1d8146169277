"""Descriptions of photos by which series are told apart (see `photorank.photos.likeness`), as a space of the store.

Made for `rank`, which asks for it by itself: there is nothing to set, and heads leave it alone unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError
from photorank.extractors import Feature, Prepared, Preparer
from photorank.photos.likeness import VERSION, describe

LIKENESS = Feature(
    "likeness", {"kind": "likeness", "version": VERSION, "decode": "exact", "stored": "float16"}, "visual", "float16"
)
"""The feature itself: no weights, one version."""


class Likeness:
    """Passes on what was made where the photo was decoded; see `photorank.extractors.Extractor`."""

    device = "cpu"

    def embed(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Vectors (n, DIM) float32."""
        return np.stack([vector for (vector,) in prepared])


def preparer(feature: Feature) -> Preparer:
    """The description (DIM,) float32; ConfigError where the spec is of another version."""
    if feature.spec != LIKENESS.spec:
        raise ConfigError(
            f"{feature.name}: these descriptions are of version {feature.spec.get('version')}, this photorank computes "
            f"version {VERSION}; extract again"
        )

    def prepare(rgb: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        return (describe(rgb),)

    return prepare


def build(feature: Feature, device: str, batch_size: int) -> Likeness:
    """Nothing is to be built."""
    return Likeness()
