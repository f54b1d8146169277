"""fit-head and sweep beside the usual training loop, on features with a planted utility.

    python pipelines/bench_fit_head.py FEATURES.npz PAIRLISTS [--folder DIR] [--parts PART ...] [--json]

FEATURES.npz has `names` (`000015-01.JPG`), `clip`, `cnn` and `iqa`, a row a photo; PAIRLISTS is a folder with
PhotoTriage's official lists, of which it has all photos of train and val.

fit    the command, from the store to the run folder
loop   training alone beside the usual loop (a Dataset of dicts, a DataLoader without workers, batches of 32, two
       forward passes a pair, float32, PyTorch's threads as they are) of the same network, in turns in one process;
       the loop goes over the comparisons six times in all, which is enough for its accuracy
sweep  the ablation, 105 trainings
singles  its trainings together, beside the same one by one in this process, and as commands: of those the fits of one
       seed and one command a subset are timed, and scaled to all
few    300 series of the split train, fused by `multifeature` and by the defaults, beside a linear head over the same
       features: accuracy on all other series of train and val, in pairs, on average over four draws of three seeds
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch.utils.data import DataLoader, Dataset

from photorank import metrics
from photorank.comparisons import Comparisons, hold_out
from photorank.config import HeadConfig, load_config, load_sweep_config
from photorank.extractors.device import best_precision
from photorank.models.prediction import margins_of
from photorank.stages import crossing
from photorank.stages.exchange import import_features
from photorank.stages.fit_head import load_comparisons, load_features
from photorank.stages.labels import phototriage
from photorank.stages.sweep import grid, sweep
from photorank.store import FeatureStore
from photorank.training.fusion import build_head, one_thread, train_head, train_heads

ROLES = {"clip": "visual", "resnet50": "visual", "iqa": "statistic"}
EPOCHS, LOOP_EPOCHS, TURNS = 30, 6, 3
PARTS = ("fit", "loop", "sweep", "singles", "few")
FEW, DRAWS, SEEDS = 300, 4, 3
Features = dict[str, torch.Tensor]


class Pairs(Dataset[dict[str, torch.Tensor]]):
    """The usual way: an item is a dict with both photos' features, in float32."""

    def __init__(self, features: Features, data: Comparisons, rows: np.ndarray[Any, Any]) -> None:
        self.features = {space: values.float() for space, values in features.items()}
        self.ends = np.stack([data.left[rows], data.right[rows]], axis=1).tolist()
        self.p_left = data.p_left[rows]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        left, right = self.ends[number]
        item = {f"left_{space}": values[left] for space, values in self.features.items()}
        item |= {f"right_{space}": values[right] for space, values in self.features.items()}
        return item | {"p_left": torch.tensor(self.p_left[number])}


def usual_loop(features: Features, data: Comparisons, config: HeadConfig) -> Iterator[tuple[Any, float]]:
    """The model as it was best on the early-stopping slice so far, and the seconds of each epoch."""
    torch.manual_seed(config.seed)
    train = data.rows("train")
    stopping = hold_out(data.group[train], config.stop_fraction, config.seed + 1)
    fit, stop = train[~stopping], train[stopping]
    model = build_head({space: values.shape[1] for space, values in features.items()}, ROLES, config)
    photos = torch.from_numpy(np.unique([data.left[train], data.right[train]]))
    model.fit_standardisation({space: values[photos] for space, values in features.items()})
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    loader = DataLoader(Pairs(features, data, fit), batch_size=32, shuffle=True, num_workers=0)
    least, best = float("inf"), copy.deepcopy(model)
    while True:
        started = time.perf_counter()
        model.train()
        for batch in loader:
            optimiser.zero_grad()
            left, right = (model({space: batch[f"{side}_{space}"] for space in features}) for side in ("left", "right"))
            functional.binary_cross_entropy_with_logits(left - right, batch["p_left"]).backward()
            optimiser.step()
        loss = metrics.log_loss(margins_of(model.eval(), features, data, stop), data.p_left[stop]).mean()
        if loss < least:
            least, best = loss, copy.deepcopy(model)
        yield best, time.perf_counter() - started


def prepare(npz: Path, pairlists: Path, folder: Path) -> tuple[Path, Path]:
    """The store and the comparisons, made where they are not there yet."""
    store, comparisons = folder / "store", folder / "comparisons.csv"
    if not store.exists():
        photos = folder / "train_val_imgs"
        for name, vectors in (("clip", "clip"), ("resnet50", "cnn"), ("iqa", "iqa")):
            import_features(store, npz, name, ROLES[name], "planted", "names", vectors, photos, absent=True)
    if not comparisons.exists():
        phototriage(pairlists, comparisons)
    return store, comparisons


def fit_command(store: Path, comparisons: Path, out: Path, *options: str) -> float:
    """Wall seconds of the command."""
    command = [sys.executable, "-m", "photorank", "fit-head", *options, "--store", str(store), "--out", str(out)]
    started = time.perf_counter()
    subprocess.run([*command, "--comparisons", str(comparisons)], check=True, capture_output=True)
    return time.perf_counter() - started


def product_rate(precision: str) -> tuple[float, int]:
    """Floating-point operations a second of a product of square matrices on one thread, the best of five at the best
    of some sizes; and that size."""
    rates = {}
    for size in (512, 1024, 2048):
        one, other = (torch.randn(size, size).to(getattr(torch, precision)) for _ in range(2))
        times = []
        with one_thread():
            for _ in range(5):
                started = time.perf_counter()
                one @ other
                times.append(time.perf_counter() - started)
        rates[size] = 2 * size**3 / min(times)
    best = max(rates, key=lambda size: rates[size])
    return rates[best], best


def operations(model: torch.nn.Module, photos: int) -> float:
    """Of the matrix products of training on so many photos once: forwards, for the weights' gradient, and, except where
    features come in, for the gradient of what came before."""
    weights = {name: each.numel() for name, each in model.named_parameters() if name.endswith("weight")}
    return 2.0 * photos * sum((2 if name.startswith("project") else 3) * count for name, count in weights.items())


def accuracy(model: Any, features: Features, data: Comparisons) -> metrics.Estimate:
    rows = data.rows("val")
    right = metrics.correct(margins_of(model.eval(), features, data, rows), data.p_left[rows])
    return metrics.bootstrap(right, data.series[rows])


def part_fit(store: Path, comparisons: Path, folder: Path) -> dict[str, Any]:
    options = ("--config", "multifeature", "--set", f"epochs={EPOCHS}", "--set", f"patience={EPOCHS}")
    times = [fit_command(store, comparisons, folder / f"run-{time.time_ns()}", *options) for _ in range(TURNS)]
    return {"command_seconds": statistics.median(times), "command_bar": "12 or less"}


def part_loop(features: Features, data: Comparisons) -> dict[str, Any]:
    config = load_config(HeadConfig, "head", "multifeature", [f"epochs={EPOCHS}", f"patience={EPOCHS}"])
    train = data.rows("train")
    fit = train[~hold_out(data.group[train], config.stop_fraction, config.seed + 1)]
    pairs, photos = EPOCHS * len(fit), EPOCHS * len(np.unique([data.left[fit], data.right[fit]]))
    # The default learning rate suits its small batches better, and no dropout its masks, a photo each.
    loop = usual_loop(features, data, HeadConfig(dropout=0))
    ratios, seconds, loop_seconds = [], [], []
    for _ in range(TURNS):
        started = time.perf_counter()
        trained = train_head(features, ROLES, data, config)
        seconds.append(time.perf_counter() - started)
        other = [next(loop) for _ in range(LOOP_EPOCHS // TURNS)]
        loop_seconds.append(EPOCHS * statistics.mean(each for _, each in other))
        ratios.append(loop_seconds[-1] / seconds[-1])
    precision = best_precision("cpu")
    rate, size = product_rate(precision)
    share = operations(trained.model, photos) / statistics.median(seconds) / rate
    return {
        "pairs_a_second": pairs / statistics.median(seconds),
        "loop_pairs_a_second": pairs / statistics.median(loop_seconds),
        "ratio": statistics.median(ratios), "ratio_bar": "5 or more",
        "accuracy": str(accuracy(trained.model, features, data)),
        "loop_accuracy": str(accuracy(other[-1][0], features, data)),
        "share_of_product_rate": share, "share_goal": 0.7, "product_rate": rate,
        "product": f"{size} x {size} x {size} in {precision}",
    }  # fmt: skip


def part_sweep(store: Path, comparisons: Path, folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    report = sweep(store, comparisons, load_sweep_config("ablation"), folder / f"sweep-{time.time_ns()}")
    seconds = time.perf_counter() - started
    accuracies = {" + ".join(each.config.features): str(each.figures["accuracy"]) for each in report.results}
    return {
        "sweep_seconds": seconds,
        "sweep_bar": "240 or less",
        "trainings": report.trainings,
        "accuracies": accuracies,
    }


def part_singles(features: Features, data: Comparisons, store: Path, comparisons: Path, folder: Path) -> dict[str, Any]:
    config = load_sweep_config("ablation")
    parts = crossing.fold_parts(data, config.folds)
    together = one_by_one = commands = 0.0
    for _, each in grid(config):
        plans = crossing.plans(each, each.features, parts, config.seeds)
        started = time.perf_counter()
        train_heads(features, ROLES, data, plans)
        together += time.perf_counter() - started
        started = time.perf_counter()
        for plan in plans[: config.folds]:  # of one seed
            train_heads(features, ROLES, data, [plan])
        one_by_one += (time.perf_counter() - started) * config.seeds
        options = ("--set", f"features=[{','.join(each.features)}]", "--set", f"epochs={each.epochs}")
        commands += fit_command(store, comparisons, folder / f"run-{time.time_ns()}", *options) * len(plans)
    return {
        "together_seconds": together, "one_by_one_seconds": one_by_one, "commands_seconds": commands,
        "faster_than_one_by_one": one_by_one / together, "one_by_one_bar": "1.2 or more",
        "faster_than_commands": commands / together, "commands_bar": "3 or more",
    }  # fmt: skip


def part_few(features: Features, data: Comparisons) -> dict[str, Any]:
    found = few(features, data)
    told = {name: asdict(each) if name.endswith("_less_linear") else str(each) for name, each in found.items()}
    return told | {"few_bar": "differences of which 0 or more is in the interval"}


def few(features: Features, data: Comparisons) -> dict[str, metrics.Estimate]:
    """Accuracies of heads trained on few series, and how much better than the linear one the others are."""
    known = np.flatnonzero(data.split != "test")
    parts = []
    for draw in range(DRAWS):
        groups = np.random.default_rng(draw).permutation(np.unique(data.group[data.rows("train")]))[:FEW]
        there = np.isin(data.group[known], groups)
        parts.append(crossing.Part(known[there], known[~there]))
    resamples, right = metrics.Resamples(data.group), {}
    for name in ("linear", "multifeature", "default"):
        options = [f"features=[{','.join(features)}]"]
        config = load_config(HeadConfig, "head", name if name != "default" else None, options)
        trained = train_heads(features, ROLES, data, crossing.plans(config, list(features), parts, SEEDS))
        answers = np.full((len(trained), len(data.left)), np.nan)
        for row, each, part in zip(answers, trained, parts * SEEDS, strict=True):
            margins = margins_of(each.model, features, data, part.held_out)
            row[part.held_out] = metrics.correct(margins, data.p_left[part.held_out])
        there = ~np.isnan(answers)
        counts = there.sum(0)
        right[name] = np.where(counts > 0, np.where(there, answers, 0).sum(0) / np.maximum(counts, 1), np.nan)
    found = {f"few_{name}": resamples.mean(values) for name, values in right.items()}
    linear = right.pop("linear")
    return found | {f"few_{name}_less_linear": resamples.mean(values - linear) for name, values in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("pairlists", type=Path)
    parser.add_argument("--folder", type=Path, help="where to work; what is there is used again")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="bench-fit-head-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    store, comparisons = prepare(options.features, options.pairlists, folder)
    opened, config = FeatureStore.open(store), load_config(HeadConfig, "head", "multifeature")
    data = load_comparisons(opened, comparisons, None, config)
    features = load_features(opened, [opened.space(name) for name in config.features], data.keys)
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    if "fit" in options.parts:
        found |= part_fit(store, comparisons, folder)
    if "loop" in options.parts:
        found |= part_loop(features, data)
    if "sweep" in options.parts:
        found |= part_sweep(store, comparisons, folder)
    if "singles" in options.parts:
        found |= part_singles(features, data, store, comparisons, folder)
    if "few" in options.parts:
        found |= part_few(features, data)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
