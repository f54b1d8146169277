"""Pixels for training: photos decoded and resized in the background, batch after batch in the order that is asked for.

Processes of their own read the files through the same door as `extract` (`photorank.stages.loader`), so a photo is the
same pixels for both. At most a few batches are ahead of whoever takes them, so memory does not grow with the photos.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photorank.config import CnnConfig
from photorank.errors import PhotoError
from photorank.extractors import Feature, cnn
from photorank.photos import MAX_PIXELS
from photorank.photos.shards import Place
from photorank.stages.child import LoadOptions
from photorank.stages.children import DIED, Children
from photorank.stages.cores import cores
from photorank.stages.pixel_cache import PixelCache

_AHEAD = 3  # batches that are begun before they are asked for,
_AHEAD_PHOTOS = 4  # or more of them where they are smaller than so many photos for each process
_PHOTO_SECONDS = 60.0
_TRIES = 2  # of a photo whose process died or was too slow: that may be a want of memory, and would end the training
_NEEDED = "training needs every photo of its comparisons: repair it, or leave its comparisons out"


@dataclass(frozen=True)
class Pixels:
    """How a photo becomes the square of pixels that the network sees; see `photorank.config.CnnConfig`."""

    mode: Literal["paper", "scale_crop", "standard"] = "standard"
    size: int = 224
    padding_mean_color: tuple[float, float, float] = (0.460, 0.450, 0.430)
    decode: Literal["exact", "fast"] = "exact"
    resize: int = 256

    def spec(self) -> dict[str, Any]:
        """All that the pixels depend on, in the words of an extractor's spec."""
        config = CnnConfig(
            preprocessing=self.mode, size=self.size, resize=self.resize, padding_mean_color=self.padding_mean_color
        )
        return {"preprocessing": {**cnn.fit(config), "size": self.size}, "decode": self.decode}


@dataclass(frozen=True)
class _Batch:
    numbers: NDArray[np.int64]
    pixels: Tensor
    """(n, size, size, 3) uint8."""
    done: list[Future[None]]


class PixelSource:
    """The pixels of N photos, by number. A context manager: at its end no process is left."""

    waited: float
    """Seconds for which batches were waited for."""

    def __init__(
        self, places: Sequence[Place], keys: NDArray[np.uint8], settings: Pixels, workers: int = 0,
        cache: Path | None = None, pinned: bool = False,
    ) -> None:  # fmt: skip
        """`places`: where the N photos are, `keys` (N, 32) what is expected there; `workers` 0: one process a core,
        shared by the trainings' processes on this machine.

        With `cache` the pixels are kept in that file (see `photorank.stages.pixel_cache`). `pinned`: in memory that a
        CUDA device copies from at once. StoreError where the cache cannot be used.
        """
        assert len(places) == len(keys)
        self.waited = 0.0
        self._places, self._keys, self._size = places, [key.tobytes() for key in keys], settings.size
        self._workers, self._pinned = workers or _share_of_cores(), pinned
        spec = settings.spec()
        feature = Feature("pixels", {"kind": "cnn", "library": "torchvision", **spec}, "visual", "float32")
        options = LoadOptions(MAX_PIXELS, self._workers, 0, _PHOTO_SECONDS)
        name = f"{settings.mode}-{settings.size}"
        self._cache = PixelCache(cache, name, spec, keys, settings.size) if cache is not None else None
        self._children = Children([feature], options)
        self._threads = ThreadPoolExecutor(self._workers, "pixels")

    def __enter__(self) -> PixelSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._children.kill()
        self._threads.shutdown(cancel_futures=True)
        self._children.close()
        if self._cache is not None:
            self._cache.close()

    def batches(self, order: Iterable[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """For each array of photo numbers (n,), that array and the photos (n, 3, size, size) uint8, channels last.

        Raises PhotoError, at the batch that has it, for a photo that cannot be decoded or is not the one that its key
        says.
        """
        if self._cache is not None:
            self._cache.refresh()
        begun: deque[_Batch] = deque()
        asked = iter(order)
        try:
            while True:
                while self._wants(begun) and (numbers := next(asked, None)) is not None:
                    begun.append(self._begin(numbers))
                if not begun:
                    return
                batch = begun.popleft()
                self._wait(batch)
                yield batch.numbers, batch.pixels.permute(0, 3, 1, 2)
        finally:
            for batch in begun:
                for each in batch.done:
                    each.cancel()

    def _wants(self, begun: Sequence[_Batch]) -> bool:
        return len(begun) < _AHEAD or sum(len(each.numbers) for each in begun) < _AHEAD_PHOTOS * self._workers

    def _begin(self, numbers: NDArray[np.int64]) -> _Batch:
        shape = (len(numbers), self._size, self._size, 3)
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned)
        rows = pixels.numpy()
        done = [self._threads.submit(self._load, int(number), rows[at]) for at, number in enumerate(numbers)]
        return _Batch(numbers, pixels, done)

    def _wait(self, batch: _Batch) -> None:
        started = time.perf_counter()
        try:
            for each in batch.done:
                each.result()
        finally:
            self.waited += time.perf_counter() - started

    def _load(self, number: int, row: NDArray[np.uint8]) -> None:
        """Fill a row (size, size, 3) with a photo's pixels."""
        key, place = self._keys[number], self._places[number]
        if self._cache is not None and self._cache.read(key, row):
            return
        for _ in range(_TRIES):
            loaded = self._children.load(place, lambda found: [0] if found == key else [])
            if loaded.failure is None or loaded.failure[0] != DIED:
                break
        problem = loaded.failure[1] if loaded.failure else loaded.refused.get(0)
        if problem is not None:
            raise PhotoError(f"{place} {problem}; {_NEEDED}")
        if not loaded.prepared:
            raise PhotoError(f"{place} was changed while it was trained on; start again")
        row[:] = loaded.prepared[0][0]
        if self._cache is not None:
            self._cache.write(key, row)


def _share_of_cores() -> int:
    """Of each of the processes that train together on this machine, which torchrun and Accelerate count."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
