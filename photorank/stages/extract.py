"""extract: photos in, vectors in the feature store; what is there already is never computed again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from photorank.config import E2eFeatureConfig, ExtractConfig, FeatureConfig
from photorank.errors import ConfigError, PhotoError
from photorank.extractors import PRECISIONS, Feature, describe, has_auto_precision
from photorank.photos.files import PhotoFiles
from photorank.photos.finding import FailedPath, find_photos
from photorank.stages.filling import Filling
from photorank.stages.pipeline import Failure, Pipeline, Progress, merged
from photorank.stages.scan import scan
from photorank.stages.timing import Clock, Phases
from photorank.store import FeatureStore

RUN = "e2e:"
"""Begins the name of a feature that is the backbone of a run; the run's folder follows."""


@dataclass
class ExtractReport:
    """What one call did."""

    store: str
    photos: int
    """Files found."""
    rows: dict[str, int] = field(default_factory=dict)
    """`name@fingerprint` → photos whose vectors the store now holds, of any folder."""
    computed: dict[str, int] = field(default_factory=dict)
    """`name@fingerprint` → vectors that this call added."""
    unchanged: int = 0
    """Files that the store knew and that needed nothing: only looked at."""
    failures: list[Failure] = field(default_factory=list)
    """What could not be done, that of earlier calls (known and not tried again) included: one a photo and cause."""
    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Path → key of every file that could be read."""
    seconds: float = 0.0
    phases: Phases | None = None
    """Where the time went; None where there was nothing to do."""

    @property
    def causes(self) -> dict[str, dict[str, set[str]]]:
        """Path of each photo that failed → why → the features that it gets no vector of for that."""
        found: dict[str, dict[str, set[str]]] = {}
        for each in self.failures:
            found.setdefault(each.path, {}).setdefault(each.error, set()).update(each.features)
        return found

    @property
    def names(self) -> set[str]:
        """The features that were asked for."""
        return {ref.rpartition("@")[0] for ref in self.rows}

    @property
    def without_vectors(self) -> int:
        """Photos that get no vector of any feature."""
        return sum(self.names <= set().union(*features.values()) for features in self.causes.values())


def extract(
    paths: Iterable[str | os.PathLike[str]], store: Path, config: ExtractConfig, names: Sequence[str] = (),
    retry_failed: bool = False, progress: Progress | None = None, profile: Path | None = None,
) -> ExtractReport:  # fmt: skip
    """Compute the features of `config` (or those of them in `names`) for all photos under `paths`. `e2e:RUN` in `names`
    is the backbone of a Siamese ranker's run. With `profile` a Chrome trace of it is written there.

    Raises PhotoError where there are no photos, ConfigError and WeightsError where a feature cannot be computed,
    StoreError where the store cannot be used. Single photos that fail are in the report and in the store.
    """
    chosen = _chosen(config, names)
    files, unfit = find_photos(paths)
    if not files and not unfit:
        raise PhotoError("there are no photos there; name files, or folders that hold some")
    opened = FeatureStore.create(store)
    features = [_describe(opened, name, each, config) for name, each in chosen.items()]
    return compute(opened, files, unfit, features, config, retry_failed, progress, profile)


def compute(
    store: FeatureStore, files: PhotoFiles, unfit: Sequence[FailedPath], features: Sequence[Feature],
    config: ExtractConfig, retry_failed: bool = False, progress: Progress | None = None, profile: Path | None = None,
    thumbnails: bool = False,
) -> ExtractReport:  # fmt: skip
    """The same for files already found and features already described. With `thumbnails` the store also keeps one of
    each photo that is decoded, which takes a tenth of the time that decoding does."""
    started = time.monotonic()
    features = [replace(feature, weights_dir=_weights_dir(config)) for feature in features]
    with Clock(profile) as clock:
        spaces = [Filling(store, feature, config, clock) for feature in features]
        seen = scan(store, spaces, files, unfit, config, retry_failed)
        pipeline = Pipeline(store, spaces, seen.keys, config, clock, thumbnails)
        pipeline.refuse(seen.unfit)
        pipeline.run(files, seen.work, seen.given_up, progress)
        phases = Phases(clock.seconds, clock.wall, pipeline.processes, pipeline.devices) if len(seen.work) else None
    return ExtractReport(
        store=str(store.path),
        photos=len(files) + len(unfit),
        rows={space.ref: len(space) for space in spaces},
        computed={space.ref: space.added for space in spaces},
        unchanged=seen.unchanged,
        failures=merged(seen.failures + pipeline.failures),
        keys=seen.keys,
        seconds=time.monotonic() - started,
        phases=phases,
    )


def _chosen(config: ExtractConfig, names: Sequence[str]) -> Mapping[str, FeatureConfig]:
    runs = [name.removeprefix(RUN) for name in names if name.startswith(RUN)]
    if len(runs) > 1:
        raise ConfigError(f"the features of {runs[0]} and {runs[1]} would have one name; extract one run's at a time")
    names = [name for name in names if not name.startswith(RUN)]
    of_config = _of_config(config, names) if names or not runs else {}
    return {**of_config, "e2e": E2eFeatureConfig(run=runs[0])} if runs else of_config


def _of_config(config: ExtractConfig, names: Sequence[str]) -> Mapping[str, FeatureConfig]:
    unknown = [name for name in names if name not in config.features]
    if unknown:
        raise ConfigError(f"the config has no feature {unknown[0]!r}; it has: {', '.join(config.features)}")
    return {name: config.features[name] for name in (names or config.features)}


def _weights_dir(config: ExtractConfig) -> str | None:
    return str(config.weights_dir) if config.weights_dir is not None else None


def _describe(store: FeatureStore, name: str, feature: FeatureConfig, config: ExtractConfig) -> Feature:
    """The feature, its precision taken from a space that the store already has for it, else from the device."""
    folder = _weights_dir(config)
    if not has_auto_precision(feature):
        return describe(name, feature, weights_dir=folder)
    features = [describe(name, feature, precision, folder) for precision in PRECISIONS]
    spaces = [(store.find_space(name, each.spec), each) for each in features]
    filled = [(len(space), each) for space, each in spaces if space is not None and len(space)]
    if filled:
        return max(filled, key=lambda pair: pair[0])[1]
    from photorank.extractors.device import best_precision, resolve_devices

    best = best_precision(resolve_devices(config.device)[0])
    return next(each for each in features if each.spec["precision"] == best)
