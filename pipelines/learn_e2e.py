"""Whether training on pixels learns: the `smoke` config from random weights on photos made worse in known ways.

    python pipelines/learn_e2e.py PHOTOS [--train 200] [--test 100] [--seed N] [--folder DIR] [--shuffled]
                                  [--set KEY=VALUE] [--json]

Some of the PHOTOS, drawn at random, are made worse by blur, compression and exposure, and trained on; others are made
worse in all 27 ways, and the ranker says which it prefers, original or variant. With --shuffled every label is a
coin's: then there is nothing to learn, and it must be right half of the time. A training that was stopped goes on with
the same call and --folder.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from photorank import metrics
from photorank.config import E2eConfig, load_config
from photorank.photos.finding import find_photos
from photorank.stages.degrade import degrade
from photorank.stages.e2e import e2e

LONG_SIDE = 256
GROUPS = {
    "blur, sigma >= 2, and exposure": ("blur-2", "blur-4", "blur-8", "exposure-"),
    "blur, sigma >= 2": ("blur-2", "blur-4", "blur-8"),
    "exposure": ("exposure-",),
    "JPEG": ("jpeg-",),
    "blur, sigma 1": ("blur-1",),
    "crops, which were not trained on": ("crop-",),
}
"""What is reported → how the names of its variants begin."""


def comparisons(folder: Path, paths: Sequence[str], train: int, test: int, seed: int) -> pd.DataFrame:
    """The comparisons of both parts, their photos' paths absolute."""
    drawn = np.random.default_rng(seed).permutation(sorted(paths))
    assert len(drawn) >= train + test, f"{train + test} photos are needed"
    tables = []
    for split, chosen, variants in (
        ("train", drawn[:train], ("blur", "jpeg", "exposure")),
        ("test", drawn[train : train + test], ()),
    ):
        degrade(chosen.tolist(), folder / split, variants, LONG_SIDE)
        table = pd.read_csv(folder / split / "comparisons.csv").assign(split=split)
        for side in ("left", "right"):
            table[side] = [str(folder / split / name) for name in table[side]]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def accuracy(predictions: pd.DataFrame, groups: dict[str, tuple[str, ...]]) -> dict[str, metrics.Estimate]:
    """Group → share of its comparisons in which the ranker is right, with its interval over photos."""
    right = metrics.correct(predictions["predicted"] - 0.5, predictions["p_left"])
    found = {}
    for name, starts in groups.items():
        rows = predictions["variant"].str.startswith(starts).to_numpy()
        found[name] = metrics.bootstrap(right[rows], predictions["series"][rows])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTOS")
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="draws the photos, and what training draws")
    parser.add_argument("--folder", type=Path, help="where to work, kept (default: a temporary folder)")
    parser.add_argument("--shuffled", action="store_true", help="labels of a coin")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the config")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    paths = [each.path for each in find_photos(options.photos)[0]]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(options.folder or made).absolute()
        table = comparisons(folder, paths, options.train, options.test, options.seed)
        name = "shuffled" if options.shuffled else "labels"
        if options.shuffled:
            table["p_left"] = np.random.default_rng(1).integers(0, 2, len(table)).astype(float)
        table.to_csv(folder / f"{name}.csv", index=False)
        started = time.monotonic()
        config = load_config(E2eConfig, "e2e", "smoke", [f"seed={options.seed}", *options.set])
        report = e2e(folder / f"{name}.csv", config, folder / f"run-{name}", resume=True, cache=folder / "pixels.h5")
        seconds = time.monotonic() - started
        assert report is not None and report.evaluation is not None
        found = accuracy(report.evaluation.predictions, {"all": ("",)} if options.shuffled else GROUPS)
    figures: dict[str, Any] = {group: vars(each) for group, each in found.items()}
    for group, each in found.items():
        print(f"{group:36} {each}", file=sys.stderr)
    print(f"{report.epochs} epochs, {seconds / 60:.1f} minutes since this call began", file=sys.stderr)
    if options.json:
        print(json.dumps({"epochs": report.epochs, "seconds": seconds, "accuracy": figures}))


if __name__ == "__main__":
    main()
