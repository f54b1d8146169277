"""Memory and processor time of `photorank extract` as folders grow: neither may depend on how many photos there are.

    python pipelines/bench_scale.py PHOTOS [--memory 2000 50000] [--time 2000 20000] [--side 160] [--repeat N]
                                    [--folder DIR] [--json]

Makes small JPEGs from the photos in PHOTOS, distinct in their pixels, and extracts the weightless statistics of few and
of many of them, each call a whole process with a new store, in turns. Memory is the largest sum of the resident memory
of the command and its children, sampled ten times a second; processor time is that of all of them together, start
included.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import psutil
from PIL import Image

from photorank.photos.finding import find_photos
from photorank.store import FeatureStore

A_FOLDER = 1_000


def make(sources: list[str], photos: Path, side: int, start: int) -> None:
    """A folder of photos: the sources' pixels, a number written into those of one corner."""
    folder = photos / f"{start // A_FOLDER:04d}"
    folder.mkdir(parents=True)
    for number in range(start, start + A_FOLDER):
        with Image.open(sources[number % len(sources)]) as opened:
            opened.draft("RGB", (2 * side, 2 * side))
            photo = opened.convert("RGB")
        photo.thumbnail((side, side))
        for bit in range(20):
            photo.paste((255, 255, 255) if number >> bit & 1 else (0, 0, 0), (4 * bit, 0, 4 * bit + 4, 4))
        photo.save(folder / f"IMG_{number:06d}.jpg", quality=85)


def run(photos: Path, count: int, folder: Path) -> tuple[float, float]:
    """Peak memory in MB and processor seconds of a call on the first `count` photos."""
    store = folder / "store"
    parts = [str(each) for each in sorted(photos.iterdir())[: count // A_FOLDER]]
    command = [sys.executable, "-m", "photorank", "extract", *parts, "--store", str(store)]
    before = os.times()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak, ended = [0.0], threading.Event()
    watch = threading.Thread(target=sample, args=(process.pid, peak, ended))
    watch.start()
    process.wait()
    ended.set()
    watch.join()
    after = os.times()
    assert process.returncode == 0
    assert [len(space) for space in FeatureStore.open(store).spaces()] == [count], "photos were not distinct"
    shutil.rmtree(store)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return peak[0], used


def sample(pid: int, peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(0.1):
        try:
            parent = psutil.Process(pid)
            family = [parent, *parent.children(recursive=True)]
            peak[0] = max(peak[0], sum(each.memory_info().rss for each in family) / 1e6)
        except psutil.NoSuchProcess:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--memory", type=int, nargs=2, default=(2_000, 50_000), help="thousands of photos")
    parser.add_argument("--time", type=int, nargs=2, default=(2_000, 20_000), help="thousands of photos")
    parser.add_argument("--side", type=int, default=160, help="longer side of the photos, in pixels")
    parser.add_argument("--repeat", type=int, default=5, help="of the processor time; memory is looked at once")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    sources = [each.path for each in find_photos([options.photos])[0]]
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        photos = Path(made) / "photos"
        with ProcessPoolExecutor() as pool:
            starts = range(0, max(*options.memory, *options.time), A_FOLDER)
            list(pool.map(partial(make, sources, photos, options.side), starts))
        few, many = (run(photos, count, Path(made))[0] for count in options.memory)
        ratios = []
        for _ in range(options.repeat):
            used = [run(photos, count, Path(made))[1] / count for count in options.time]
            ratios.append(used[1] / used[0])
    figures = {
        "memory_mb": {str(options.memory[0]): few, str(options.memory[1]): many}, "memory_ratio": many / few,
        "milliseconds_a_photo": [1e3 * each for each in used], "time_ratio": statistics.median(ratios),
    }  # fmt: skip
    print(f"memory: {few:.0f} MB for {options.memory[0]:,} photos, {many:.0f} MB for {options.memory[1]:,}: "
          f"{many / few:.3f} x (wanted: <= 1.1)", file=sys.stderr)  # fmt: skip
    print(f"processor time a photo, {options.time[1]:,} against {options.time[0]:,}: {statistics.median(ratios):.3f} x "
          f"({min(ratios):.3f}-{max(ratios):.3f}; wanted: <= 1.05)", file=sys.stderr)  # fmt: skip
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
