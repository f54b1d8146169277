"""Fill a cache of pixels over and over, each time killed (SIGKILL) after a random while, and look at what is left.

    python -m tests.stages.fill_driver FILE TRIALS SEED

Every fourth trial more photos are asked for, which copies and renames the file. Prints one JSON object: how many of the
fills were killed, how many of these had filled some of their rows, how many left a temporary file, and how many of the
rows that were served were wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import filelock  # noqa: F401  (imported here, so that no fork has to)
import h5py
import numpy as np

from photorank.stages.pixel_cache import PixelCache

SIZE, PHOTOS = 96, 40


def some_keys(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1000, 32), np.uint8)[:count]


def pixels_of(key: bytes) -> np.ndarray:
    return np.random.default_rng(list(key)).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def open_cache(path: Path, count: int) -> PixelCache:
    return PixelCache(path, "paper", {"size": SIZE}, some_keys(count), SIZE)


def fill(path: Path, count: int) -> None:
    cache, row = open_cache(path, count), np.empty((SIZE, SIZE, 3), np.uint8)
    for key in map(bytes, some_keys(count)):
        if not cache.read(key, row):
            cache.write(key, pixels_of(key))
    cache.close()


def served(path: Path, count: int) -> tuple[int, int]:
    """How many rows the file serves, and how many of them are wrong."""
    cache, row = open_cache(path, count), np.empty((SIZE, SIZE, 3), np.uint8)
    rows = [np.array_equal(row, pixels_of(key)) for key in map(bytes, some_keys(count)) if cache.read(key, row)]
    cache.close()
    return len(rows), rows.count(False)


def main() -> None:
    path, trials = Path(sys.argv[1]), int(sys.argv[2])
    started = time.perf_counter()
    fill(path.with_name("whole.h5"), PHOTOS)
    usual = time.perf_counter() - started
    drawn, found = random.Random(int(sys.argv[3])), {"killed": 0, "between": 0, "left over": 0, "wrong": 0}
    for trial in range(trials):
        count = PHOTOS * (1 + trial // 4)
        child = os.fork()
        if not child:
            fill(path, count)
            os._exit(0)
        time.sleep(drawn.uniform(0, 1.2 * usual))
        os.kill(child, signal.SIGKILL)
        found["killed"] += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        found["left over"] += bool(list(path.parent.glob(".*.tmp")))
        if path.exists():
            h5py.File(path).close()  # raises where HDF5 finds it broken
        rows, wrong = served(path, count)
        found["between"] += PHOTOS * (trial // 4) < rows < count
        found["wrong"] += wrong
    fill(path, count)
    found["missing at the end"] = count - served(path, count)[0]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
