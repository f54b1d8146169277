"""Extractors: a photo in, one vector out, described by a spec.

A kind of extractor is one file here and one line in `KINDS`. Its module imports nothing heavy by itself and has

    describe(name, config, precision, weights_dir) -> Feature  what would be computed, without building any model
    needs(config) -> Needed | None                             the weights that it takes; nothing is fetched
    preparer(feature) -> Preparer                              what is done to a photo in the process that decoded it
    build(feature, device, batch_size) -> Extractor            the model, ready to run

A spec is everything that changes the vector. What does not (where the weights came from, library versions, the date)
is provenance, and is recorded beside it.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError

if TYPE_CHECKING:
    from photorank.config import FeatureConfig
    from photorank.extractors.weights import Needed
    from photorank.photos import Photo
    from photorank.photos.preprocessing import Preprocessing
    from photorank.photos.undecoded import Undecoded

log = logging.getLogger(__name__)

KINDS = {
    "clip": "photorank.extractors.clip",
    "cnn": "photorank.extractors.cnn",
    "e2e": "photorank.extractors.e2e",
    "iqa": "photorank.extractors.iqa",
    "own": "photorank.extractors.own",
    "likeness": "photorank.extractors.likeness",  # not to be configured: `rank` asks for it to tell series apart
}
PRECISIONS = ("float32", "bfloat16", "float16")

Prepared: TypeAlias = tuple[NDArray[Any], ...]
"""What an extractor needs of one photo: arrays, which travel between processes."""

Begun: TypeAlias = Callable[[], tuple[NDArray[np.float32], float, float]]
"""Waits for a batch that a device is at: its vectors (n, dim), and when the device began and ended, by
`time.perf_counter`."""


@dataclass(frozen=True)
class Feature:
    """One feature space to be: its name, what defines its vectors, and where the weights are to be had."""

    name: str
    spec: dict[str, Any]
    role: Literal["visual", "statistic"]
    dtype: Literal["float16", "float32"]
    """How the store keeps the vectors."""
    source: str | None = None
    """The tag or file that the weights come from (of `own`: the code); None where there are none or they are random."""
    weights_dir: str | None = None
    """A folder with weights brought by hand, looked in before the libraries' caches."""


class Preparer(Protocol):
    """What is done to a photo where it was decoded. It runs in many processes, so it imports no PyTorch."""

    def __call__(self, rgb: NDArray[np.uint8]) -> Prepared:
        """What `Extractor.embed` needs of one photo, given as (height, width, 3) uint8 sRGB."""
        ...


@dataclass(frozen=True)
class Resized:
    """The preparer of a network: the photo at the network's size, (height, width, 3) uint8."""

    preprocess: Preprocessing

    def __call__(self, rgb: NDArray[np.uint8]) -> Prepared:
        return (self.preprocess(rgb),)

    def of(self, photo: Photo) -> Prepared:
        """The same of a photo that may have been decoded to fewer pixels than it has."""
        from photorank.photos.preprocessing import edges  # imports Pillow

        return (self.preprocess(photo.rgb, (photo.height, photo.width), edges(photo)),)

    def undecoded(self, photo: Undecoded) -> Prepared:
        """The same of a JPEG that a device is to decode: (n,) uint8, its orientation and then its bytes."""
        return (np.frombuffer(bytes([photo.orientation]) + photo.jpeg, np.uint8),)


class Extractor(Protocol):
    """A built model. It runs in one thread."""

    device: str
    """The device it runs on, `auto` resolved."""

    def embed(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Vectors (len(prepared), dim) float32 of at most as many photos as `build` was told."""
        ...


@runtime_checkable
class Deferring(Extractor, Protocol):
    """One whose device may be at a batch while this process goes on."""

    def begin(self, prepared: Sequence[Prepared]) -> Begun:
        """Begin on a batch, as `embed` takes it. The next one may be begun before this one is waited for."""
        ...


class _Kind(Protocol):
    def describe(self, name: str, config: Any, precision: str, weights_dir: str | None) -> Feature: ...
    def needs(self, config: Any) -> Needed | None: ...
    def preparer(self, feature: Feature) -> Preparer: ...
    def build(self, feature: Feature, device: str, batch_size: int) -> Extractor: ...


def describe(name: str, config: FeatureConfig, precision: str | None = None, weights_dir: str | None = None) -> Feature:
    """The feature that `config` asks for; `precision` stands in for `auto`, `weights_dir` is looked in first.

    Raises ConfigError for a model or layer that the library does not know, WeightsError for weights that are not there.
    """
    wanted = getattr(config, "precision", "auto")
    if wanted != "auto":
        precision = wanted
    return _module(config.kind).describe(name, config, precision or "float32", weights_dir)


def needs(config: FeatureConfig) -> Needed | None:
    """The weights that a feature takes and where they are looked for; None where it takes none. Nothing is fetched.

    Raises ConfigError for a model or tag that the library does not know.
    """
    return _module(config.kind).needs(config)


def has_auto_precision(config: FeatureConfig) -> bool:
    """Whether the precision is left to the store and the device."""
    return getattr(config, "precision", None) == "auto"


def preparer(feature: Feature) -> Preparer:
    """What is to be done to each photo before `embed`."""
    return _module(feature.spec["kind"]).preparer(feature)


def build(feature: Feature, device: str, batch_size: int) -> Extractor:
    """The model behind a feature, on a device (`auto`, or PyTorch's names). Says aloud when its weights are random."""
    weights = feature.spec.get("weights")
    if isinstance(weights, dict) and "random" in weights:
        log.warning(
            "%s: %s has random weights (seed %s): good for trying things, its vectors mean nothing",
            feature.name, feature.spec["model"], weights["random"],
        )  # fmt: skip
    return _module(feature.spec["kind"]).build(feature, device, batch_size)


def begin(extractor: Extractor, prepared: Sequence[Prepared]) -> Begun:
    """Begin on a batch; one that does not defer has ended it then."""
    if isinstance(extractor, Deferring):
        return extractor.begin(prepared)
    started = time.perf_counter()
    rows, ended = extractor.embed(prepared), time.perf_counter()
    return lambda: (rows, started, ended)


def _module(kind: str) -> _Kind:
    if kind not in KINDS:
        raise ConfigError(f"there is no extractor of kind {kind!r}; the kinds are: {', '.join(KINDS)}")
    return cast(_Kind, importlib.import_module(KINDS[kind]))
