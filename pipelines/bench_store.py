"""The feature store beside plain files, h5py and Lance: the same rows, in one process, in turns.

    python pipelines/bench_store.py [--folder DIR] [--rows N] [--dim N] [--repeat N] [--json]

Each line is the median time of both sides and the median of the ratios of runs that followed each other. Files are in
the page cache while reading. Lance is compared when `pip install pylance` was done. Takes about two minutes and 3 GB.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from photorank.store import FeatureStore, Space

RANDOM = 10_000
Timed = Callable[[], object]


def seconds(run: Timed) -> float:
    gc.collect()
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


class Bench:
    """Runs sides in turns and keeps the figures."""

    def __init__(self, repeat: int) -> None:
        self.repeat = repeat
        self.figures: list[dict[str, Any]] = []

    def compare(self, what: str, ours: Timed, other: Timed, bar: str, before: Timed = lambda: None) -> None:
        """Time both; the ratio is the other's time by ours (throughput of ours by the other's). The first run of each
        does not count."""
        runs = []
        for number in range(self.repeat + 1):
            pair = []
            for side in (ours, other):
                before()
                pair.append(seconds(side))
            if number:
                runs.append(pair)
        a, b = (statistics.median(column) for column in zip(*runs, strict=True))
        ratio = statistics.median(other / our for our, other in runs)
        self.note(what, f"{a * 1e3:.1f} ms against {b * 1e3:.1f} ms, {ratio:.2f} x its throughput", bar, ratio)

    def note(self, what: str, text: str, bar: str, value: float) -> None:
        self.figures.append({"what": what, "value": value, "text": text, "bar": bar})
        print(f"{what}: {text} (wanted: {bar})", file=sys.stderr, flush=True)


def random_rows(rows: int, dim: int) -> np.ndarray[Any, np.dtype[np.float16]]:
    random = np.random.default_rng(0)
    out = np.empty((rows, dim), np.float16)
    for start in range(0, rows, 10_000):
        out[start : start + 10_000] = random.standard_normal((min(10_000, rows - start), dim), np.float32)
    return out


def random_keys(rows: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (rows, 32), np.uint8)


def new_space(store: FeatureStore, dim: int, name: str = "bench") -> Space:
    return store.create_space(name, {"bench": name}, dim=dim, dtype="float16", role="visual")


def save_synced(path: Path, rows: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, rows)
        file.flush()
        os.fsync(file.fileno())


def bench_reading(bench: Bench, folder: Path, rows: int, dim: int) -> None:
    vectors, keys = random_rows(rows, dim), random_keys(rows)
    space = new_space(FeatureStore.create(folder / "store"), dim)
    space.append(keys, vectors)
    save_synced(folder / "rows.npy", vectors)
    index = seconds(lambda: space.load(keys[:1]))
    bench.note("the first call on an open space, which builds the index", f"{index * 1e3:.0f} ms", "reported", index)
    assert (space.load()[1] == vectors).all()

    load = lambda: np.load(folder / "rows.npy")  # noqa: E731
    bench.compare("whole, in store order, against np.load", space.load, load, ">= 0.8")
    bench.compare("the same with checksums verified", lambda: space.load(verify=True), load, "reported")
    permuted = np.random.default_rng(2).permutation(rows)
    bench.compare("whole, by permuted keys, against np.load", lambda: space.load(keys[permuted]), load, ">= 0.35")

    chosen = np.random.default_rng(3).choice(rows, min(RANDOM, rows // 4), replace=False)
    take = lambda: space.load(keys[chosen])  # noqa: E731
    assert (take()[1] == vectors[chosen]).all()
    mapped = np.load(folder / "rows.npy", mmap_mode="r")
    bench.compare(f"{len(chosen):,} random keys, against np.memmap", take, lambda: mapped[chosen], ">= 0.33")
    bench.compare(
        "the same with checksums verified", lambda: space.load(keys[chosen], verify=True), lambda: mapped[chosen],
        "reported",
    )  # fmt: skip
    for layout in ("contiguous", "chunked"):
        bench.compare(
            f"{len(chosen):,} random keys, against h5py {layout}",
            take,
            h5py_take(folder, vectors, chosen, layout),
            "> 1",
        )
    if importlib.util.find_spec("lance") is None:
        print("Lance is not compared: it is not installed", file=sys.stderr)
    else:
        bench.compare(f"{len(chosen):,} random keys, against Lance", take, lance_take(folder, vectors, chosen), "> 1")
    for what, run, asked in (
        ("whole, in store order", space.load, vectors.nbytes),
        ("whole, by permuted keys", lambda: space.load(keys[permuted]), vectors.nbytes),
        (f"{len(chosen):,} random keys", take, vectors[chosen].nbytes),
    ):
        peak = peak_bytes(run) / asked
        bench.note(f"memory to load {what}", f"{peak:.2f} x the rows asked for", "<= 1.2", peak)

    def write() -> None:
        new_space(FeatureStore.create(folder / "new"), dim).append(keys, vectors)

    def clear() -> None:
        shutil.rmtree(folder / "new", ignore_errors=True)
        (folder / "new.npy").unlink(missing_ok=True)
        os.sync()

    other = lambda: save_synced(folder / "new.npy", vectors)  # noqa: E731
    bench.compare("writing, synced, against np.save and fsync", write, other, ">= 0.5", clear)


def h5py_take(folder: Path, vectors: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any], layout: str) -> Timed:
    chunks = None if layout == "contiguous" else (max(1, (1 << 20) // vectors[0].nbytes), vectors.shape[1])
    with h5py.File(folder / f"{layout}.h5", "w") as file:
        file.create_dataset("rows", data=vectors, chunks=chunks)
    rows = h5py.File(folder / f"{layout}.h5")["rows"]
    order = np.argsort(chosen)  # h5py takes ascending rows only
    inverse = np.argsort(order)
    return lambda: rows[chosen[order]][inverse]


def lance_take(folder: Path, vectors: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any]) -> Timed:
    import lance
    import pyarrow as pa

    flat = pa.array(vectors.reshape(-1))
    table = pa.table({"row": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    dataset = lance.write_dataset(table, str(folder / "rows.lance"))
    numbers = chosen.tolist()
    return lambda: dataset.take(numbers, columns=["row"])


def peak_bytes(run: Timed) -> int:
    """The most memory that was allocated meanwhile. (Pages of mapped files belong to the system's cache.)"""
    gc.collect()
    tracemalloc.start()
    result = run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return peak


def bench_opening(bench: Bench, folder: Path, photos: int) -> None:
    """In a process of its own, whose memory is measured."""
    store, keys = FeatureStore.create(folder / "many"), random_keys(photos)
    for number in range(5):
        space = new_space(store, 4, f"space{number}")
        for start in range(0, photos, 50_000):
            part = keys[start : start + 50_000]
            space.append(part, np.zeros((len(part), 4), np.float16))
    np.save(folder / "asked.npy", np.concatenate([keys[: photos // 20], random_keys(photos // 20, 5)]))
    subprocess.run([sys.executable, __file__, "--folder", folder, "--open"], check=True)
    found = json.loads((folder / "opened.json").read_text())
    what = f"opening {photos:,} photos in 5 spaces, and missing() of {photos // 10:,} keys"
    bench.note(what, f"{found['seconds']:.2f} s", "< 2 s", found["seconds"])
    bench.note("its memory, numpy and pyarrow included", f"{found['mb']:.0f} MB", "< 500 MB", found["mb"])


def open_and_ask(folder: Path) -> None:
    """What the child of `bench_opening` does. (Its memory is read as Linux tells it.)"""
    started = time.perf_counter()
    spaces = FeatureStore.open(folder / "many").spaces()
    asked = np.load(folder / "asked.npy")
    for space in spaces:
        assert space.missing(asked).sum() == len(asked) // 2
    taken = time.perf_counter() - started
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    (folder / "opened.json").write_text(json.dumps({"seconds": taken, "mb": peak}))


def bench_compacting(bench: Bench, folder: Path, dim: int) -> None:
    vectors, keys = random_rows(100_000, dim), random_keys(100_000)
    many, one = FeatureStore.create(folder / "parts"), FeatureStore.create(folder / "one")
    space = new_space(many, dim)
    for start in range(0, len(keys), 100):
        space.append(keys[start : start + 100], vectors[start : start + 100])
    new_space(one, dim).append(keys, vectors)
    reference = lambda: one.space("bench").load()  # noqa: E731  (opening and index included)
    bench.compare("1,000 segments of 100 rows, against one", lambda: many.space("bench").load(), reference, "reported")
    taken = seconds(lambda: many.compact())
    bench.note("compacting them", f"{taken:.1f} s", "reported", taken)
    bench.compare("after compaction", lambda: many.space("bench").load(), reference, ">= 0.91")
    many.gc(older_than=0)
    bench.compare("after gc", lambda: many.space("bench").load(), reference, ">= 0.91")


@contextmanager
def working_folder(folder: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        yield Path(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--open", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_and_ask(options.folder)
        return
    bench = Bench(options.repeat)
    for part in (
        lambda folder: bench_reading(bench, folder, options.rows, options.dim),
        lambda folder: bench_opening(bench, folder, options.photos),
        lambda folder: bench_compacting(bench, folder, options.dim),
    ):
        with working_folder(options.folder) as folder:
            part(folder)
    if options.json:
        print(json.dumps({"figures": bench.figures}))


if __name__ == "__main__":
    main()
