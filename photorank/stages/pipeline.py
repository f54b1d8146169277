"""Photos through the extractors: processes load and prepare, this thread runs the models, another one commits."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photorank import __version__
from photorank.config import ExtractConfig
from photorank.photos.files import FileKeys, PhotoFile, PhotoFiles
from photorank.photos.finding import FailedPath
from photorank.stages.child import LoadOptions
from photorank.stages.children import DIED
from photorank.stages.cores import cores
from photorank.stages.devices import DevicePool
from photorank.stages.filling import Filling, Refused
from photorank.stages.loader import Loaded
from photorank.stages.loading import GivenUp, LoaderPool
from photorank.stages.timing import Clock
from photorank.stages.writing import Batch, Writer
from photorank.store import FailureRow, FeatureStore, FileRow, PhotoRow

Progress = Callable[[int, int, int], None]
"""Called with photos done, photos in all, photos failed."""


UNSEEN = (0, 0)
"""Size and mtime_ns recorded for paths that are not even files."""


@dataclass(frozen=True)
class Failure:
    """A photo that could not be done: where, at which stage, and why in a sentence."""

    path: str
    stage: str
    error: str
    features: tuple[str, ...] = ()
    """Names of those, of the features asked for, that it gets no vector of."""


def merged(failures: Iterable[Failure]) -> list[Failure]:
    """Failures by path, those that differ in nothing but their features as one."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for each in failures:
        found.setdefault((each.path, each.stage, each.error), {}).update(dict.fromkeys(each.features))
    return [Failure(*what, tuple(names)) for what, names in sorted(found.items(), key=lambda item: item[0])]


class Pipeline:
    """Fills spaces from files and commits what is done every so many photos or seconds."""

    def __init__(
        self, store: FeatureStore, spaces: Sequence[Filling], keys: FileKeys, config: ExtractConfig, clock: Clock,
        thumbnails: bool = False,
    ) -> None:  # fmt: skip
        """`keys` learns those of the files that could be read."""
        self.failures: list[Failure] = []
        self._failed_paths: set[str] = set()
        self._keys = keys
        self._thumbnails = str(store.path) if thumbnails else None
        self._spaces, self._config, self._clock = spaces, config, clock
        self._writer = Writer(store, clock)
        self._files: list[FileRow] = []
        self._photos: dict[bytes, PhotoRow] = {}
        self._failed: list[FailureRow] = []
        self._refused: list[tuple[Filling, PhotoFile, bytes, str]] = []
        self._given_up: GivenUp = {}
        self._since, self._committed_at = 0, time.monotonic()
        self._stack = contextlib.ExitStack()
        self._device_names: list[str] | None = None
        self._devices: DevicePool | None = None

    @property
    def devices(self) -> int:
        """How many devices run models."""
        return len(self._device_names or [""])

    @property
    def processes(self) -> int:
        """How many processes load photos."""
        return self._config.workers or cores()

    def refuse(self, unfit: Iterable[FailedPath]) -> None:
        """Record paths that are no photos to begin with."""
        for each in unfit:
            self._fail(PhotoFile(each.path, *UNSEEN), None, "find", each.error)

    def run(
        self, files: PhotoFiles, numbers: NDArray[np.intp], given_up: GivenUp, progress: Progress | None = None
    ) -> None:
        """Do the files of these numbers. However it ends (Ctrl-C too), what is computed by then is committed."""
        self._given_up = given_up
        if len(numbers):
            self._writer.warm_up()
        try:
            with self._stack:
                features = [space.feature for space in self._spaces]
                pool = self._stack.enter_context(LoaderPool(features, self._options(len(numbers))))
                results = pool.load((files[number] for number in numbers), self._lacking, given_up)
                if len(numbers):
                    self._build_what_is_needed()
                for done, (file, loaded) in enumerate(results, 1):
                    for space in self._take(file, loaded):
                        self._embed(space, pool)
                    if progress is not None:
                        progress(done, len(numbers), len(self._failed_paths))
                for space in self._spaces:
                    if space.waits:
                        self._embed(space, pool)
                if self._devices is not None:
                    self._accept(self._devices, at_most=0)
        finally:
            self._end(files, numbers)

    def _end(self, files: PhotoFiles, numbers: NDArray[np.intp]) -> None:
        try:
            try:
                self._finish()
                self._fail_copies(files, numbers)
            finally:  # a device that fails does not take with it what others have computed
                self._commit()
                self._writer.wait()
        finally:
            self._writer.close()

    def _options(self, files: int) -> LoadOptions:
        config, processes = self._config, min(self.processes, files)
        return LoadOptions(
            config.max_pixels, processes, 2 * config.batch_size, config.photo_seconds, self._thumbnails
        )  # fmt: skip

    def _lacking(self, key: bytes) -> list[int]:
        return [number for number, space in enumerate(self._spaces) if space.lacks(key)]

    def _take(self, file: PhotoFile, loaded: Loaded) -> list[Filling]:
        """Note what was made of a photo; the spaces that have a batch for their models now."""
        full: list[Filling] = []
        for phase, started, ended in loaded.spans:
            self._clock.add(phase, started, ended, loaded.lane)
        if loaded.failure is not None:
            stage, error = loaded.failure
            self._fail(file, loaded.key, stage, error, self._wanted(file, loaded.key) if stage == DIED else ())
        else:
            assert loaded.key is not None
            full = self._add(file, loaded.key, loaded)
        self._since += 1
        late = time.monotonic() - self._committed_at >= self._config.commit_seconds
        if self._since >= self._config.commit_rows or late:
            self._finish()
            self._commit()
        return full

    def _add(self, file: PhotoFile, key: bytes, loaded: Loaded) -> list[Filling]:
        self._keys.add(file.path, key)
        self._files.append(FileRow(os.fsencode(file.path), file.size, file.mtime_ns, key, *loaded.details))
        if loaded.photo is not None:
            self._photos[key] = PhotoRow(key, *loaded.photo)
        for number, error in loaded.refused.items():
            space = self._spaces[number]
            self._fail(file, key, space.feature.name, error, [space])
        spaces = [(self._spaces[number], prepared) for number, prepared in loaded.prepared.items()]
        return [space for space, prepared in spaces if space.add(file, key, prepared)]

    def _wanted(self, file: PhotoFile, key: bytes | None) -> list[Filling]:
        """The spaces for which a photo was loaded whose process died: each of them may have been the end of it."""
        given_up = self._given_up.get(file.path, ())
        spaces = [space for number, space in enumerate(self._spaces) if number not in given_up]
        key = key or self._keys.get(file.path)
        return [space for space in spaces if key is None or space.lacks(key)] or spaces

    def _build_what_is_needed(self) -> None:
        """Build the models of spaces that are still empty, whose first photo needs them, while photos begin to be
        loaded. Other models wait for a photo that lacks their vector."""
        for space in self._spaces:
            if not len(space) and not (space.has_network and self._several_devices()):
                _ = space.extractor

    def _embed(self, space: Filling, pool: LoaderPool) -> None:
        devices = self._several_devices() if space.has_network else None
        if devices is not None:
            devices.submit(space)
            self._accept(devices, at_most=2 * self.devices)  # one at work and one at hand for each
            return
        # A model on the processor is to have it to itself; an accelerator's computes while photos are loaded.
        with pool.hold() if space.on_processor else contextlib.nullcontext():
            refused = space.embed()
        self._refuse(space, refused)

    def _several_devices(self) -> DevicePool | None:
        """Where there are several devices, their processes, started when the first batch is there."""
        if self._device_names is None:
            from photorank.extractors.device import resolve_devices

            self._device_names = resolve_devices(self._config.device)
            if self.devices > 1:
                started = DevicePool(self._device_names, self._config.batch_size, self._clock)
                self._devices = self._stack.enter_context(started)
        return self._devices

    def _accept(self, devices: DevicePool, at_most: int) -> None:
        for space, batch, rows in devices.finished(at_most):
            space.device = ",".join(self._device_names or [])
            self._refuse(space, space.accept(batch, rows))

    def _finish(self) -> None:
        for space in self._spaces:
            self._refuse(space, space.finish())

    def _refuse(self, space: Filling, refused: Refused) -> None:
        for file, key, error in refused:
            self._fail(file, key, space.feature.name, error, [space])
            self._refused.append((space, file, key, error))

    def _fail_copies(self, files: PhotoFiles, numbers: NDArray[np.intp]) -> None:
        """A model sees one of several copies of a photo; where that gets no vector, the others get none either."""
        if not self._refused:
            return
        copies: dict[bytes, list[PhotoFile]] = {key: [] for _, _, key, _ in self._refused}
        for file in (files[number] for number in numbers):
            key = self._keys.get(file.path)
            if key in copies:
                copies[key].append(file)
        for space, seen, key, error in self._refused:
            for file in copies[key]:
                if file != seen:
                    self._fail(file, key, space.feature.name, error, [space])

    def _fail(self, file: PhotoFile, key: bytes | None, stage: str, error: str, spaces: Sequence[Filling] = ()) -> None:
        """Record why a photo has no vector in these spaces; without any, in none that there is or will be."""
        names = tuple(space.feature.name for space in spaces or self._spaces)
        self.failures.append(Failure(file.path, stage, error, names))
        self._failed_paths.add(file.path)
        seen = os.fsencode(file.path), file.size, file.mtime_ns, key
        now = datetime.datetime.now(datetime.UTC)  # one for all rows: they tell what a process died over together
        for fingerprint in dict.fromkeys(space.fingerprint for space in spaces) or [""]:
            self._failed.append(FailureRow(*seen, fingerprint, stage, error, __version__, now))

    def _commit(self) -> None:
        vectors = [(space, space.take_done()) for space in self._spaces]
        self._writer.write(Batch(vectors, list(self._photos.values()), self._files, self._failed))
        self._photos, self._files, self._failed = {}, [], []
        self._since, self._committed_at = 0, time.monotonic()
