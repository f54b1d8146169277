"""Photos through the extractors: worker threads read, decode and preprocess; one thread runs models and commits."""

from __future__ import annotations

import datetime
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from photorank import __version__
from photorank.config import ExtractConfig
from photorank.errors import PhotoError
from photorank.photos import FailedPath, Photo, PhotoFile, decode_photo, photo_details, photo_key, read_photo
from photorank.stages.filling import Filling
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


@dataclass
class _Loaded:
    """What a worker made of one file."""

    file: PhotoFile
    key: bytes | None = None
    failure: Failure | None = None
    row: FileRow | None = None
    photo: PhotoRow | None = None
    prepared: dict[int, Any] = field(default_factory=dict)
    """Number of the space → what its extractor prepared."""


class Pipeline:
    """Fills spaces from files and commits what is done every so many photos or seconds."""

    def __init__(self, store: FeatureStore, spaces: Sequence[Filling], config: ExtractConfig) -> None:
        self.failures: list[Failure] = []
        self.keys: dict[str, bytes] = {}
        self._store, self._spaces, self._config = store, spaces, config
        self._files: list[FileRow] = []
        self._photos: dict[bytes, PhotoRow] = {}
        self._failed: list[FailureRow] = []
        self._since, self._committed_at = 0, time.monotonic()

    def refuse(self, unfit: Iterable[FailedPath]) -> None:
        """Record paths that are no photos to begin with."""
        for each in unfit:
            self._fail(PhotoFile(each.path, *UNSEEN), None, Failure(each.path, "find", each.error), "")

    def run(self, files: Sequence[PhotoFile], progress: Progress | None = None) -> None:
        """Do all files. However it ends (Ctrl-C too), what is computed by then is committed."""
        try:
            for done, loaded in enumerate(self._load_all(files), 1):
                self._take(loaded)
                if progress is not None:
                    progress(done, len(files), len(self.failures))
            for space in self._spaces:
                self._refuse_infinite(space, space.embed())
        finally:
            self._commit()

    def _load_all(self, files: Sequence[PhotoFile]) -> Iterator[_Loaded]:
        """Loaded files in order; only so many are in flight that memory stays bounded."""
        workers = self._config.workers or os.cpu_count() or 1
        flying: deque[Future[_Loaded]] = deque()
        pool = ThreadPoolExecutor(workers, "photorank-load")
        try:
            for file in files:
                flying.append(pool.submit(self._load, file))
                if len(flying) >= 4 * workers:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _load(self, file: PhotoFile) -> _Loaded:
        loaded, stage = _Loaded(file), "read"
        try:
            data = read_photo(file.path)
            loaded.key, stage = photo_key(data), "decode"
            wanted = [number for number, space in enumerate(self._spaces) if space.lacks(loaded.key)]
            if not wanted:  # a copy, or moved, or captioned: all there is to do is to note where it was seen
                loaded.row = FileRow(os.fsencode(file.path), file.size, file.mtime_ns, loaded.key, *photo_details(data))
                return loaded
            photo = decode_photo(data, self._config.max_pixels)
        except PhotoError as error:
            loaded.failure = Failure(file.path, stage, str(error))
            return loaded
        loaded.row, loaded.photo = _rows(file, loaded.key, photo)
        loaded.prepared = {number: self._spaces[number].extractor().prepare(photo.rgb) for number in wanted}
        return loaded

    def _take(self, loaded: _Loaded) -> None:
        if loaded.failure is not None:
            self._fail(loaded.file, loaded.key, loaded.failure, "")
        else:
            assert loaded.key is not None and loaded.row is not None
            self.keys[loaded.file.path] = loaded.key
            self._files.append(loaded.row)
            if loaded.photo is not None:
                self._photos[loaded.key] = loaded.photo
            for number, prepared in loaded.prepared.items():
                space = self._spaces[number]
                self._refuse_infinite(space, space.add(loaded.file, loaded.key, prepared))
        self._since += 1
        late = time.monotonic() - self._committed_at >= self._config.commit_seconds
        if self._since >= self._config.commit_rows or late:
            self._commit()

    def _refuse_infinite(self, space: Filling, photos: Iterable[tuple[PhotoFile, bytes]]) -> None:
        for file, key in photos:
            error = f"the vector of {space.feature.name} is not finite in {space.feature.dtype}"
            self._fail(file, key, Failure(file.path, space.feature.name, error), space.fingerprint)

    def _fail(self, file: PhotoFile, key: bytes | None, failure: Failure, fingerprint: str) -> None:
        self.failures.append(failure)
        now = datetime.datetime.now(datetime.UTC)
        path = os.fsencode(file.path)
        self._failed.append(
            FailureRow(
                path, file.size, file.mtime_ns, key, fingerprint, failure.stage, failure.error, __version__, now
            )
        )  # fmt: skip

    def _commit(self) -> None:
        # Vectors first: a file row without vectors would cost a look at the file again, vectors without one likewise.
        for space in self._spaces:
            space.commit()
        if self._photos:
            self._store.add_photos(list(self._photos.values()))
        if self._files:
            self._store.add_files(self._files)
        if self._failed:
            self._store.add_failures(self._failed)
        self._photos, self._files, self._failed = {}, [], []
        self._since, self._committed_at = 0, time.monotonic()


def _rows(file: PhotoFile, key: bytes, photo: Photo) -> tuple[FileRow, PhotoRow]:
    seen = FileRow(os.fsencode(file.path), file.size, file.mtime_ns, key, photo.taken_at, photo.camera)
    return seen, PhotoRow(key, photo.width, photo.height, photo.format, photo.orientation)
