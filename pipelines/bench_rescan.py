"""A second `photorank extract` of a folder that the store knows, beside the bare look at its files.

    python pipelines/bench_rescan.py [--files N] [--folder DIR] [--repeat N] [--json]

Makes N small files that end in .jpg in folders of 1,000, and a store that has seen them all and holds a vector of each;
then times, in turns, `photorank extract FOLDER --store STORE` as a whole process and a loop of `os.scandir` with one
`stat` a file in this one. The command must find every file unchanged: it opens none of them (none is a photo).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from photorank.config import IqaConfig
from photorank.extractors import describe
from photorank.store import FeatureStore, FileRow

A_FOLDER = 1_000


def make_folder(photos: Path, files: int) -> None:
    for start in range(0, files, A_FOLDER):
        folder = photos / f"{start // A_FOLDER:04d}"
        folder.mkdir(parents=True)
        for number in range(start, min(start + A_FOLDER, files)):
            (folder / f"IMG_{number:06d}.jpg").write_bytes(b"%d" % number)


def look(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """The usual walk: every file below the folder with its status."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from look(entry.path)
            else:
                yield entry.path, entry.stat()


def fill(store: FeatureStore, photos: Path) -> None:
    """Record every file as seen, with a vector in the space of the default config."""
    seen = list(look(str(photos)))
    keys = np.random.default_rng(0).integers(0, 256, (len(seen), 32), np.uint8)
    for start in range(0, len(seen), 2048):  # as many as `extract` commits at once
        rows = zip(seen[start : start + 2048], keys[start : start + 2048], strict=True)
        store.add_files([FileRow(os.fsencode(p), s.st_size, s.st_mtime_ns, key.tobytes()) for (p, s), key in rows])
    feature = describe("iqa", IqaConfig())
    dim = len(feature.spec["statistics"]["names"])
    space = store.create_space("iqa", feature.spec, dim=dim, dtype=feature.dtype, role=feature.role)
    for start in range(0, len(seen), 2048):
        part = keys[start : start + 2048]
        space.append(part, np.zeros((len(part), dim), np.float32))


def rescan(photos: Path, store: Path) -> tuple[float, float]:
    """Seconds on the clock, and of processor time, of the whole command."""
    command = [sys.executable, "-m", "photorank", "extract", str(photos), "--store", str(store), "--json"]
    before, started = os.times(), time.perf_counter()
    done = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    seconds, after = time.perf_counter() - started, os.times()
    assert done["unchanged"] == done["photos"] and not done["failures"], "something was to be done"
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        photos, store = Path(made) / "photos", Path(made) / "store"
        make_folder(photos, options.files)
        fill(FeatureStore.create(store), photos)
        runs = []
        for number in range(options.repeat + 1):
            started = time.perf_counter()
            assert sum(1 for _ in look(str(photos))) == options.files
            bare = time.perf_counter() - started
            if number:  # the first run of each does not count
                runs.append((*rescan(photos, store), bare))
            else:
                rescan(photos, store)
    seconds, used, bare = (statistics.median(column) for column in zip(*runs, strict=True))
    ratio = statistics.median(run[0] / run[2] for run in runs)
    figures = {"files": options.files, "seconds": seconds, "processor_seconds": used, "bare": bare, "ratio": ratio}
    print(
        f"{options.files:,} known files: {seconds:.2f} s ({used:.2f} s of processor time, wanted: < 5 s per 100,000), "
        f"{ratio:.1f} x a bare walk with a stat a file ({bare:.2f} s)",
        file=sys.stderr,
    )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
