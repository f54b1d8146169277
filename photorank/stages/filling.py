"""One feature space while it is being filled."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photorank import __version__
from photorank.config import ExtractConfig
from photorank.errors import ConfigError, PhotoError
from photorank.extractors import Begun, Extractor, Feature, Prepared, begin, build
from photorank.photos import decode_photo
from photorank.photos.files import PhotoFile
from photorank.stages.timing import Clock, place_of
from photorank.store import FeatureStore, KeySet, Space, fingerprint

Refused: TypeAlias = list[tuple[PhotoFile, bytes, str]]
"""Photos that get no vector, their keys, and why."""

Waiting: TypeAlias = list[tuple[PhotoFile, bytes, Prepared]]
"""Photos that a model has not seen, their keys, and what was prepared for it."""

Vectors: TypeAlias = list[tuple[bytes, NDArray[np.floating[Any]]]]
"""Keys and their vectors, (dim,) in the space's dtype."""


class Filling:
    """One feature space while it is being filled: what it has, what waits for the model, what waits for the disk."""

    def __init__(self, store: FeatureStore, feature: Feature, config: ExtractConfig, clock: Clock) -> None:
        self.feature, self.fingerprint = feature, fingerprint(feature.spec)
        self._space: Space | None = store.find_space(feature.name, feature.spec)
        # Other threads ask this one, which stays as it was at the start, while `space` grows.
        self._before = store.find_space(feature.name, feature.spec)
        if self._before is not None and self._before.role != feature.role:
            raise ConfigError(
                f"{self.ref} is a {self._before.role} space of this store and the config calls it {feature.role}; give "
                f"the feature another name, or delete the space: photorank store rm-space"
            )
        self._dim = self._before.dim if self._before is not None else None
        self._seen = KeySet()
        self._waiting: Waiting = []
        self._under_way: tuple[Waiting, Begun] | None = None
        self._done: Vectors = []
        self.added = 0
        self.device = config.device
        """Where its model runs, as provenance has it."""
        self._store, self._config, self._clock = store, config, clock

    def __len__(self) -> int:
        return len(self._space) if self._space is not None else 0

    @property
    def ref(self) -> str:
        """`name@fingerprint`."""
        return f"{self.feature.name}@{self.fingerprint}"

    def missing(self, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) True for keys (n, 32) that had no vector when this call began."""
        return np.ones(len(keys), bool) if self._before is None else self._before.missing(keys)

    def lacks(self, key: bytes) -> bool:
        """Whether this key (32 bytes) has no vector yet, in the store or from this call."""
        return key not in self._seen and bool(self.missing(np.frombuffer(key, np.uint8)[None])[0])

    @property
    def has_network(self) -> bool:
        """Whether it takes a network of one input size, which wants batches and may run elsewhere.

        Others get one photo at a time: metrics see photos at full size, of which not many fit into memory, and of
        users' own vectors one of another length is to be refused alone.
        """
        return "preprocessing" in self.feature.spec

    @functools.cached_property
    def extractor(self) -> Extractor:
        """The model, built when it is first asked for."""
        with self._clock.span(f"build {self.feature.name}"):
            self.device, *_ = self._config.device.split(",")
            built = build(self.feature, self.device, self._config.batch_size)
            self.device = built.device
            return built

    @property
    def waits(self) -> bool:
        """Whether there are photos that its model has not seen."""
        return bool(self._waiting)

    @property
    def on_processor(self) -> bool:
        """Whether its model runs on the processor."""
        return self.extractor.device == "cpu"

    def add(self, file: PhotoFile, key: bytes, prepared: Prepared) -> bool:
        """Take a photo. True where a batch is full: then `embed` comes next."""
        if key not in self._seen:  # else a copy of a photo that came in this same call
            self._seen.add(key)
            self._waiting.append((file, key, prepared))
        return len(self._waiting) >= (self._config.batch_size if self.has_network else 1)

    def take_waiting(self) -> Waiting:
        """The photos that its model is to see now."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def embed(self) -> Refused:
        """Begin to run the model on what waits, of which there is some, and end the batch before: a device is not to
        wait for this process between the two. Of that one, the photos whose vectors cannot be stored."""
        batch = self.take_waiting()
        begun = begin(self.extractor, [prepared for _, _, prepared in batch])
        refused = self.finish()
        self._under_way = batch, begun
        return refused

    def finish(self) -> Refused:
        """End the batch that is under way, if there is one; the photos whose vectors cannot be stored."""
        if self._under_way is None:
            return []
        (batch, begun), self._under_way = self._under_way, None
        rows, started, ended = begun()
        phase = f"embed {self.feature.name}"
        self._clock.add(phase, started, ended, place_of(phase))
        return self.accept(batch, rows)

    def accept(self, batch: Waiting, vectors: NDArray[np.float32]) -> Refused:
        """Take the vectors (n, dim) of a batch; the photos whose vectors cannot be stored."""
        with np.errstate(over="ignore"):
            rows = vectors.astype(self.feature.dtype)
        photos = [(file, key) for file, key, _ in batch]
        self._dim = self._dim or rows.shape[1]
        if rows.shape[1] != self._dim:  # a user's own extractor may return what it likes
            error = f"the vector of {self.feature.name} has {rows.shape[1]} numbers, those of other photos {self._dim}"
            return [(file, key, error) for file, key in photos]
        fine = np.isfinite(rows).all(1)
        self._done += [(key, row) for (_, key), row, ok in zip(photos, rows, fine, strict=True) if ok]
        rest = [each for each, ok in zip(batch, fine, strict=True) if not ok]
        return [(file, key, self._why(prepared)) for file, key, prepared in rest]

    def _why(self, prepared: Prepared) -> str:
        """Why a photo has no finite vector."""
        if self.feature.spec.get("decode") == "device" and prepared[0].ndim == 1:
            try:  # the device that could not decode it does not say why
                decode_photo(prepared[0][1:].tobytes())
            except PhotoError as error:
                return str(error)
        return f"the vector of {self.feature.name} is not finite in {self.feature.dtype}"

    def take_done(self) -> Vectors:
        """The vectors that are to be committed now."""
        done, self._done = self._done, []
        return done

    def commit(self, vectors: Vectors) -> None:
        """Make vectors part of the store."""
        if not vectors:
            return
        rows = np.stack([row for _, row in vectors])
        if self._space is None:
            self._space = self._store.create_space(
                self.feature.name, self.feature.spec, dim=rows.shape[1], dtype=self.feature.dtype,
                role=self.feature.role, provenance=self._provenance(),
            )  # fmt: skip
        self._space.append([key for key, _ in vectors], rows)
        self.added += len(rows)

    def _provenance(self) -> dict[str, Any]:
        return {
            "photorank": __version__, "weights": self.feature.source, "device": self.device,
            "machine": platform.machine(), "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
        }  # fmt: skip


@functools.cache
def _versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "open_clip_torch", "timm", "pillow", "simplejpeg")
    return {package: importlib.metadata.version(package) for package in packages}
