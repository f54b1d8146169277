"""Training a Siamese ranker beside the usual loop, from photos on the disk; on the processor.

    python pipelines/bench_e2e.py PHOTOS [--pairlists DIR] [--backbone resnet50] [--series N] [--batch-photos N]
                                  [--repeat N] [--cache] [--json]

PHOTOS stand in for those of PhotoTriage: the comparisons have the shape of the official pair graph, of its pairlists in
DIR, or made by its shares of series sizes. Every side takes the same comparisons once, in the same process, in turns,
with the same backbone, `paper` preprocessing, optimiser and as many workers, all started and warm; the figure is the
median of the ratios.

- usual loop: a Dataset of pairs that opens both photos with Pillow, a DataLoader, two forward passes a pair, float32.
- from memory: photorank's own steps on pixels that are in memory.

Weights are random, which costs what trained ones cost.
"""

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torchvision
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional
from turns import Figures, in_turns, seconds

from photorank.comparisons import Comparisons
from photorank.comparisons.phototriage import read_phototriage
from photorank.config import E2eConfig, parse_config
from photorank.models.siamese import SiameseCNNRanker
from photorank.photos import photo_key
from photorank.photos.finding import find_photos
from photorank.stages.pixels import Pixels, PixelSource
from photorank.training.siamese import Trainer

CORES = os.cpu_count() or 1
SIZE, FILL = 224, (117, 115, 110)
OFFICIAL = 2 * 12075 / 12019
"""Passes a photo of the usual loop over PhotoTriage's training split."""
SHARES = {2: 2791, 3: 1043, 4: 464, 5: 155, 6: 78, 7: 23, 8: 6}
"""Photos of a series → how many such series the training split has; all pairs of a series are compared."""


def graph(pairlists: Path | None, count: int) -> list[list[tuple[int, int]]]:
    """Of each of `count` series the pairs of its photos 0, 1, ...; of 200 draws that nearest to the official graph."""
    if pairlists is None:
        sizes = np.repeat(list(SHARES), list(SHARES.values()))
        every = [list(combinations(range(size), 2)) for size in sizes]
    else:
        table = read_phototriage(pairlists).table
        every = []
        for _, rows in table[table["split"] == "train"].groupby("series"):
            names = sorted({*rows["left"], *rows["right"]})
            every.append([(names.index(a), names.index(b)) for a, b in zip(rows["left"], rows["right"], strict=True)])
    draws = [np.random.default_rng(seed).permutation(len(every))[:count] for seed in range(200)]
    chosen = min(draws, key=lambda draw: abs(passes([every[each] for each in draw]) - OFFICIAL))
    return [every[each] for each in chosen]


def passes(series: Sequence[Sequence[tuple[int, int]]]) -> float:
    """Backbone passes a photo where each pair takes two."""
    return sum(2 * len(pairs) for pairs in series) / sum(1 + max(map(max, pairs)) for pairs in series)


def comparisons_of(series: Sequence[Sequence[tuple[int, int]]], keys: NDArray[np.uint8]) -> Comparisons:
    """The pairs over photos 0, 1, ..., series after series."""
    starts = np.cumsum([0, *(1 + max(map(max, pairs)) for pairs in series)])
    ends = np.array([(start + a, start + b) for start, pairs in zip(starts, series, strict=False) for a, b in pairs])
    number = np.repeat(np.arange(len(series)), [len(pairs) for pairs in series])
    p_left = np.random.default_rng(0).uniform(0.01, 0.99, len(ends)).astype(np.float32)
    train = np.full(len(ends), "train", dtype=object)
    return Comparisons(keys[: starts[-1]], ends[:, 0], ends[:, 1], p_left, number, [str(n) for n in set(number)], train)


class Pairs(torch.utils.data.Dataset[tuple[Tensor, Tensor, float]]):
    """Both photos of a pair, opened, brought to size and normalised."""

    def __init__(self, paths: Sequence[str], data: Comparisons) -> None:
        self.paths, self.data = paths, data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, float]:
        left, right = self.opened(self.data.left[number]), self.opened(self.data.right[number])
        return left, right, float(self.data.p_left[number])

    def opened(self, photo: int) -> Tensor:
        image = Image.open(self.paths[photo]).convert("RGB")
        ratio = max(image.size) / SIZE
        small = image.resize((round(image.width / ratio), round(image.height / ratio)), Image.Resampling.BILINEAR)
        square = Image.new("RGB", (SIZE, SIZE), FILL)
        square.paste(small, ((SIZE - small.width) // 2, (SIZE - small.height) // 2))
        return functional.normalize(functional.to_tensor(square), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class UsualLoop:
    """The Siamese network as it is usually written, and its epochs."""

    def __init__(self, backbone: str, paths: Sequence[str], data: Comparisons, batch: int) -> None:
        self.network: Any = getattr(torchvision.models, backbone)()
        if backbone == "vgg16":
            self.network.classifier, dim = self.network.classifier[:5], 4096
        else:
            self.network.fc, dim = nn.Identity(), 2048
        self.head = nn.Linear(dim, 2)
        self.optimiser = torch.optim.AdamW([*self.network.parameters(), *self.head.parameters()], lr=1e-5)
        self.loader = torch.utils.data.DataLoader(
            Pairs(paths, data), batch, shuffle=True, num_workers=CORES, persistent_workers=True
        )

    def epoch(self) -> None:
        self.network.train()
        for left, right, p_left in self.loader:
            logits = self.head(self.network(left) - self.network(right))
            loss = nn.functional.cross_entropy(logits, torch.stack([p_left, 1 - p_left], dim=1).float())
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()


class InMemory:
    """Stands in for a `PixelSource`."""

    waited = 0.0

    def __init__(self, source: PixelSource, photos: int) -> None:
        ((_, self.pixels),) = source.batches([np.arange(photos)])

    def batches(self, order: Iterable[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        for numbers in order:
            yield numbers, self.pixels[numbers]


class Ours:
    """photorank's training at a precision, and its epochs."""

    def __init__(self, backbone: str, data: Comparisons, batch_photos: int, precision: str) -> None:
        options = {"cnn_backbone": backbone, "weights": "random", "batch_photos": batch_photos, "precision": precision}
        config = parse_config(E2eConfig, options, "bench")
        model = SiameseCNNRanker(backbone, config.mlp_hidden_dims)
        self.trainer = Trainer(model, data, np.arange(len(data)), config, Accelerator(cpu=True))

    def epoch(self, photos: PixelSource | InMemory) -> None:
        trainer = self.trainer
        batches = trainer.batches(0)
        plan = [trainer.parts(0, number, rows) for number, rows in enumerate(batches)]
        pixels = (each for _, each in photos.batches(part.photos for parts in plan for part in parts))
        for parts, rows in zip(plan, batches, strict=True):
            trainer.step(parts, pixels, len(rows), 0.0)


def bench(figures: Figures, paths: Sequence[str], folder: Path, options: argparse.Namespace) -> None:
    series = graph(options.pairlists, options.series)
    keys = np.array([list(photo_key(Path(path).read_bytes())) for path in paths], np.uint8)
    data = comparisons_of(series, keys)
    paths = paths[: len(data.keys)]
    assert len(paths) == len(data.keys), f"{len(data.keys)} photos are needed"
    figures.note("series", len(series), f"({len(paths)} photos, {len(data)} comparisons)")
    figures.note("passes a photo in the usual loop", passes(series), f"(official: {OFFICIAL:.3f})")
    half = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    precisions = ["float32", "bfloat16"] if half else ["float32"]
    usual = UsualLoop(options.backbone, paths, data, round(options.batch_photos * len(data) / len(paths)))
    sides = {each: Ours(options.backbone, data, options.batch_photos, each) for each in precisions}
    fastest = sides[precisions[-1]]
    cache = folder / "cache.h5" if options.cache else None
    with PixelSource(paths, data.keys, Pixels("paper", SIZE), CORES, cache) as source:
        memory = InMemory(source, len(paths))
        work = {name: partial(side.epoch, source) for name, side in sides.items()}
        work |= {"memory": partial(fastest.epoch, memory), "usual": usual.epoch}
        taken = in_turns({name: partial(seconds, each) for name, each in work.items()}, options.repeat, warming=1)
    for name in ("usual", *precisions):
        figures.note(f"comparisons a second, {name}", len(data) / median(taken[name]), "")
    for name, bar in zip(precisions, (">= 1.9", ">= 3"), strict=False):
        what = f"comparisons a second, {name}, against the usual loop (float32)"
        figures.ratio(what, taken["usual"], taken[name], bar)
    what = f"comparisons a second, {precisions[-1]}, against the same steps from memory"
    figures.ratio(what, taken["memory"], taken[precisions[-1]], ">= 0.95")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--pairlists", type=Path, metavar="DIR", help="PhotoTriage's official lists")
    parser.add_argument("--backbone", choices=["resnet50", "vgg16"], default="resnet50")
    parser.add_argument("--series", type=int, default=12)
    parser.add_argument("--batch-photos", type=int, default=32, help="photos a step; the other side as many pairs")
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--cache", action="store_true", help="with a cache of pixels, filled while warming up")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(CORES)
    figures = Figures()
    paths = [each.path for each in find_photos([options.photos])[0]]
    with tempfile.TemporaryDirectory() as made:
        bench(figures, paths, Path(made), options)
    if options.json:
        print(json.dumps({"cores": CORES, "figures": figures.all}))


if __name__ == "__main__":
    main()
