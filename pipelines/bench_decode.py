"""What `decode: fast` costs in likeness and saves in time, on some photos.

    python pipelines/bench_decode.py PHOTOS... [--config random] [--json]

Extracts each visual feature of a config twice, into stores of its own, exactly and fast, and compares the vectors and
the pixels that the network sees, in float32, over the photos of which fewer pixels can be decoded. A distance is
1 - cosine; beside it is how far apart two of the photos are. With random weights this says how far pixels are moved,
not what a trained network makes of it.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from photorank.config import ExtractConfig, load_extract_config
from photorank.extractors import Feature, Resized, preparer
from photorank.photos import decode_photo, read_photo
from photorank.stages.extract import ExtractReport, extract
from photorank.store import FeatureStore


def run(photos: list[str], config: ExtractConfig, name: str, decode: str, store: Path) -> ExtractReport:
    """One feature of the config, decoded in this way."""
    feature = config.features[name].model_copy(update={"decode": decode, "precision": "float32"})
    return extract(photos, store, config.model_copy(update={"features": {name: feature}}))


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return 1 - (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def pixels(path: str, prepare: Resized, fast: bool) -> tuple[np.ndarray, float]:
    """What the network sees of a photo, and the milliseconds of processor time that decoding took."""
    data = read_photo(path)
    started = time.process_time()
    photo = decode_photo(data, fit=prepare.preprocess.resized if fast else None)
    spent = time.process_time() - started
    return prepare.of(photo)[0].astype(int), 1000 * spent


def measure(photos: list[str], config: ExtractConfig, name: str, folder: Path) -> dict[str, float]:
    """Of one feature: how many photos there are and can be decoded to fewer pixels, and the figures over the latter."""
    report = run(photos, config, name, "exact", folder / "exact")
    run(photos, config, name, "fast", folder / "fast")
    paths = {key: path for path, key in report.keys.items()}
    spaces = [FeatureStore.open(folder / decode).space(name) for decode in ("exact", "fast")]
    exact, fast = (space.load(list(paths))[1] for space in spaces)
    fewer = (exact != fast).any(1)
    apart = distances(exact[fewer], fast[fewer])
    prepare = preparer(Feature(name, spaces[0].spec, "visual", "float16"))
    assert isinstance(prepare, Resized)
    changed = [path for path, few in zip(paths.values(), fewer, strict=True) if few]
    whole, part = ([pixels(path, prepare, fast) for path in changed] for fast in (False, True))
    moved = [np.abs(one - other).mean() for (one, _), (other, _) in zip(whole, part, strict=True)]
    return {
        "photos": len(paths), "fewer": len(changed), "distance_mean": float(apart.mean()),
        "distance_max": float(apart.max()), "between_photos": float(distances(exact, np.roll(exact, 1, 0)).mean()),
        "levels_mean": float(np.mean(moved)), "levels_max": float(np.max(moved)),
        "exact_ms": float(np.mean([ms for _, ms in whole])), "fast_ms": float(np.mean([ms for _, ms in part])),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--config", default="random", help="an extract config")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    config = load_extract_config(options.config, (), "cpu", None, None)
    names = [name for name, each in config.features.items() if hasattr(each, "decode")]
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(options.photos, config, name, Path(folder) / name) for name in names}
    if options.json:
        print(json.dumps(found))
    else:
        for name, each in found.items():
            print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in each.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
