"""Where the pixels of a training come from: photos decoded and brought to the network's size."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photorank.errors import PhotoError
from photorank.photos import decode_photo, read_photo
from photorank.preprocessing import Preprocessing


@dataclass(frozen=True)
class Pixels:
    """How a photo becomes a square of `size` pixels."""

    mode: Literal["paper", "scale_crop", "standard"]
    size: int
    padding_mean_color: tuple[float, float, float] = (0.460, 0.450, 0.430)
    decode: Literal["exact", "fast"] = "exact"


class PixelSource:
    def __init__(
        self, paths: Sequence[str], keys: NDArray[np.uint8], preprocessing: Pixels, workers: int, cache: Path | None
    ) -> None:
        self._paths = paths
        size = (preprocessing.size,) * 2
        fill = cast(tuple[int, int, int], tuple(round(255 * part) for part in preprocessing.padding_mean_color))
        self._preprocess = (
            Preprocessing("longest", size, size, fill=fill)
            if preprocessing.mode == "paper"
            else Preprocessing("shortest", size, size)
        )
        self.waited = 0.0
        self._memory: dict[int, NDArray[np.uint8]] = {}

    def __enter__(self) -> PixelSource:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def batches(self, order: Iterable[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        for numbers in order:
            started = time.perf_counter()
            photos = np.stack([self._load(number) for number in numbers.tolist()])
            self.waited += time.perf_counter() - started
            yield numbers, torch.from_numpy(photos).permute(0, 3, 1, 2)

    def _load(self, number: int) -> NDArray[np.uint8]:
        if number not in self._memory:
            path = self._paths[number]
            try:
                self._memory[number] = self._preprocess(decode_photo(read_photo(path)).rgb)
            except PhotoError as error:
                raise PhotoError(f"{path} {error}") from error
        return self._memory[number]
