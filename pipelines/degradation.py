"""What a ranker must at least know: that a photo is better than a blurred, recompressed, badly exposed or cropped one.

    python pipelines/degradation.py PHOTOS [--folder DIR] [--config NAME] [--set KEY=VALUE ...] [--splits N]
                                    [--learn-from KIND ...] [--long-side N] [--workers N] [--json]

Makes the 27 variants of each photo under PHOTOS, extracts the weightless statistics, and trains a head on one half of
the photos and judges it on the other, for several halves drawn by seed. Accuracies are means over the halves; their
95 % intervals are bootstrapped over photos, of which one is judged in several of the halves. Prints a table as
Markdown, beside what was published of other models on 50 photos of PhotoTriage. `--folder` is kept and gone on with.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from photorank import metrics
from photorank.config import ExtractConfig, HeadConfig, load_config
from photorank.stages.degrade import degrade
from photorank.stages.evaluate import evaluate
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head

KINDS = ("blur", "jpeg", "exposure", "crop")
TOGETHER = ("blur", "jpeg", "exposure")
HARDEST = ("jpeg-80", "blur-1")
PUBLISHED = {
    "Siamese ResNet50 on PhotoTriage": {"all": 89.9, "blur": 84.5, "jpeg": 100, "exposure": 74.0, "crop": 92.6},
    "ResNet50 on AVA": {"all": 81.9, "blur": 92.5, "jpeg": 95.2, "exposure": 91.0, "crop": 71.0},
    "rule-based IQA": {"all": 68.4, "blur": 100, "jpeg": 89.6, "exposure": 78.5, "crop": 47.5},
}
"""Model → kind → percent of the comparisons in which the original scores higher, as published for 50 photos."""


def halves(table: pd.DataFrame, splits: int, learn_from: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The comparisons with a split: half of the photos to learn from, by these kinds of variants, half to judge by."""
    series = table["series"].unique()
    kind = table["variant"].str.split("-").str[0]
    for seed in range(splits):
        drawn = np.random.default_rng(seed).permutation(series)[: len(series) // 2]
        train = table["series"].isin(drawn)
        yield table.assign(split=np.where(train, "train", "test"))[~train | kind.isin(learn_from)]


def judged(work: Path, part: pd.DataFrame, config: HeadConfig, number: int) -> pd.DataFrame:
    """Series, variant and `right` (1 where the original scores higher, ½ for a tie) of the half that was not learnt."""
    comparisons, run = work / "comparisons.csv", work / "run"
    part.to_csv(comparisons, index=False)
    fit_head(work / "store", comparisons, config.model_copy(update={"seed": number}), run)
    told = evaluate(run, comparisons, work / "store", "test").predictions
    shutil.rmtree(run)
    return told.assign(right=metrics.correct(told["predicted"] - 0.5, told["p_left"]))


def figures(told: pd.DataFrame) -> dict[str, metrics.Estimate]:
    """Kind, and each variant → accuracy with its interval over photos."""
    kind = told["variant"].str.split("-").str[0]
    parts = {"all": kind.isin(KINDS), "together": kind.isin(TOGETHER)}
    parts |= {name: kind == name for name in KINDS}
    parts |= {name: told["variant"] == name for name in told["variant"].unique()}
    return {name: metrics.bootstrap(told["right"][mask], told["series"][mask]) for name, mask in parts.items()}


def table_of(found: dict[str, metrics.Estimate]) -> str:
    """Markdown: a row a model."""
    columns = {"all": "all", "together": "blur, JPEG, exposure"} | {name: name for name in KINDS}
    columns |= {name: name for name in HARDEST}
    rows = [list(columns.values()), ["---"] * len(columns), [str(found[name]) for name in columns]]
    names = ["model", "---", "head over the statistics", *PUBLISHED]
    rows += [[f"{values[name]:g} %" if name in values else "" for name in columns] for values in PUBLISHED.values()]
    return "\n".join(f"| {' | '.join([name, *row])} |" for name, row in zip(names, rows, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--folder", type=Path, help="where variants and store are kept (default: a temporary folder)")
    parser.add_argument("--config", default="iqa", help="of the head: a file, or a name under configs/head/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one option of the config")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--learn-from", nargs="+", choices=KINDS, default=KINDS, help="kinds of variants")
    parser.add_argument("--long-side", type=int, default=800)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    config = load_config(HeadConfig, "head", options.config, options.set)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        made = degrade([options.photos], folder / "degraded", (), options.long_side, workers=options.workers)
        extract([folder / "degraded" / "photos"], folder / "store", ExtractConfig(workers=options.workers))
        table = pd.read_csv(made.comparisons_file)
        table[["left", "right"]] = (str(folder / "degraded") + "/" + table[["left", "right"]]).map(str)
        parts = []
        for number, part in enumerate(halves(table, options.splits, options.learn_from)):
            parts.append(judged(folder, part, config, number).assign(half=number))
            each = figures(parts[-1])
            shown = ", ".join(f"{name} {100 * each[name].value:.2f} %" for name in ("together", *KINDS))
            print(f"half {number}: {shown}", file=sys.stderr)
        told = pd.concat(parts, ignore_index=True)
        found = figures(told)
        means = [100 * figures(part)["together"].value for part in parts]
    print(f"{made.series} photos, {options.splits} halves; blur, JPEG, exposure together: mean {np.mean(means):.2f} % "
          f"({min(means):.2f}-{max(means):.2f}; wanted: >= 98)", file=sys.stderr)  # fmt: skip
    if options.json:
        print(json.dumps({"photos": made.series, "halves": means, "figures": {k: asdict(v) for k, v in found.items()}}))
    else:
        print(table_of(found))


if __name__ == "__main__":
    main()
