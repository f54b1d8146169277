"""The whole experiment on PhotoTriage: features, heads, every subset of them, and the paper's Siamese network.

    python pipelines/phototriage.py ROOT --out DIR [--set KEY=VALUE ...]
    python pipelines/phototriage.py --smoke --out DIR

ROOT is the official data set's folder: `train_pairlist.txt` and `val_pairlist.txt` beside `train_val_imgs/`. With
`--smoke` small photos of that layout are made, whose quality is known, and small networks with random weights are
trained on them for a few epochs: it shows that all of it works, and no more.

DIR gets comparisons, store, runs and `report.md`. A call that was stopped goes on when it is made again: what is there
is not made twice. `--set` goes to both e2e trainings. Everything is trained on the official training split (early
stopping on a slice of it) and reported once, on the validation split: the labels of the test split are withheld.
"""

import argparse
from pathlib import Path

import pandas as pd
from phototriage_smoke import make_phototriage

from photorank.config import (
    E2eConfig,
    E2eFeatureConfig,
    ExtractConfig,
    HeadConfig,
    load_config,
    load_sweep_config,
    parse_config,
)
from photorank.metrics import Estimate
from photorank.reports.figure_tables import markdown
from photorank.reports.figures import Figures
from photorank.reports.sweep_tables import column_of
from photorank.stages.e2e import e2e
from photorank.stages.evaluate import evaluate
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.stages.labels import phototriage
from photorank.stages.sweep import sweep

SPLIT = "val"
FIGURES = ("accuracy", "accuracy, clear", "Kendall's tau", "log loss")
FEATURES, ABLATION = "multifeature", "ablation"
SIAMESE = {"VGG16, as in the paper": ("vgg16_paper", ()), "ResNet50": ("resnet50", ())}
SMOKE_FEATURES = {
    "clip": {"kind": "cnn", "library": "timm", "model": "test_vit", "weights": "random"},
    "resnet50": {"kind": "cnn", "model": "resnet18", "weights": "random", "size": 64, "preprocessing": "scale_crop"},
    "iqa": {"kind": "iqa"},
}
# Three epochs are few: nothing is averaged over more steps than there are, nor cut off.
SMOKE = ("size=64", "window=0", "epochs=3", "batch_photos=32", "warmup_steps=5", "ema_decay=0", "stop_fraction=0.1")
SMOKE_SIAMESE = {
    "a small network, difference head": ("smoke", ("head=difference", "mlp_hidden_dims=[32]", *SMOKE)),
    "a small network, score head": ("smoke", ("head=score", "mlp_hidden_dims=[]", *SMOKE)),
}
PUBLISHED = """
Published, accuracy on clear comparisons (more than 70 % agree): the paper's VGG16 Siamese network (Chang et al. 2016)
about 73 %; SPSNet (IEEE Transactions on Multimedia 2023) 75.4 %; sharpness alone 65.7 %.
"""


def ablation(store: Path, comparisons: Path, photos: Path, out: Path) -> Figures:
    """A head over each subset of the features, most accurate first: its figures, on average over seeds."""
    if not out.exists():
        sweep(store, comparisons, load_sweep_config(ABLATION, folds=0), out, photos)
    figures: Figures = {}
    for row in pd.read_parquet(out / "sweep.parquet").to_dict("records"):
        columns = {figure: column_of(figure) for figure in FIGURES}
        figures[f"head over {row['features']}"] = {
            figure: Estimate(row[each], row[f"{each}_low"], row[f"{each}_high"], row["comparisons"], row["series"])
            for figure, each in columns.items()
        }
    return figures


def head(store: Path, comparisons: Path, photos: Path, out: Path, features: tuple[str, ...]) -> Path:
    """A head over all the features, with the options of the ablation: its run."""
    if not out.exists():
        options = load_sweep_config(ABLATION).values({"features": features})
        fit_head(store, comparisons, parse_config(HeadConfig, options, ABLATION), out, photos)
    return out


def siamese(
    store: Path, comparisons: Path, photos: Path, out: Path, smoke: bool, assign: list[str]
) -> dict[str, Path]:  # fmt: skip
    """Networks trained on pixels, and their features of the reported photos: what it is → its run."""
    table = pd.read_csv(comparisons)
    reported = table[table["split"] == SPLIT]
    paths = [photos / name for name in sorted({*reported["left"], *reported["right"]})]
    runs = {}
    for name, (config, settings) in (SMOKE_SIAMESE if smoke else SIAMESE).items():
        run = runs[f"e2e: {name}"] = out / name.split(",")[-1].strip().replace(" ", "-")
        if not run.exists():
            resolved = load_config(E2eConfig, "e2e", config, [*settings, *assign])
            e2e(comparisons, resolved, run, photos, resume=True, cache=out.parent / "pixels.h5")
        extract(paths, store, ExtractConfig(features={"e2e": E2eFeatureConfig(run=str(run))}))
    return runs


def experiment(root: Path, out: Path, smoke: bool, assign: list[str]) -> Figures:
    """Ranker → its figures on the validation split; all of it in `out`."""
    comparisons, store = out / "comparisons.csv", out / "store"
    if comparisons.exists():
        comparisons.unlink()
    found = phototriage(root, comparisons)
    print(*found.warnings, sep="\n")
    if smoke:
        config = parse_config(ExtractConfig, {"features": SMOKE_FEATURES}, "smoke")
    else:
        config = load_config(ExtractConfig, "extract", FEATURES)
    extract([found.photos / "train_val_imgs"], store, config)
    figures = ablation(store, comparisons, found.photos, out / "ablation")
    fused = head(store, comparisons, found.photos, out / "head", tuple(config.features))
    beside = []
    for name, run in siamese(store, comparisons, found.photos, out / "e2e", smoke, assign).items():
        report = evaluate(run, comparisons, store, SPLIT, found.photos, against=fused)
        figures[name] = {figure: report.tables["figures"][figure]["run"] for figure in FIGURES}
        beside.append(markdown(f"{name}, against a head over all features", report.tables["figures"]))
        trivial = report.tables["beside trivial answers"]
    figures |= {name: cells for name, cells in trivial.items() if name != "the run"}
    tables = [markdown(f"{SPLIT}, 95 % intervals over series", figures), PUBLISHED, *beside]
    (out / "report.md").write_text("\n".join(tables), encoding="utf-8")
    print("\n".join(tables))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", metavar="ROOT")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--smoke", action="store_true", help="on small photos that are made for it")
    parser.add_argument("--set", dest="assign", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    if (options.root is None) != options.smoke:
        parser.error("give ROOT, or --smoke")
    options.out.mkdir(parents=True, exist_ok=True)
    root = make_phototriage(options.out / "made") if options.smoke else options.root
    experiment(root, options.out, options.smoke, options.assign)


if __name__ == "__main__":
    main()
