"""`photorank extract` beside the bare models, the usual loop, and a batched DataLoader; on whatever device there is.

    python pipelines/bench_extract.py PHOTOS [--large PHOTOS] [--photos N] [--device auto] [--batch-size N]
                                      [--repeat N] [--json]

ViT-B-32, ResNet50 (layer4) and the weightless statistics, random weights. Every side does the same photos in the same
process, in turns, its models built beforehand; the figure is the median of the ratios.

- bare: the forward passes on normalised batches in memory, at photorank's precision; then the statistics of photos in
  memory, by as many processes as there are cores.
- usual loop: one photo at a time, each model opening and preprocessing the file itself, float32, inference_mode.
- DataLoader: photos decoded once by as many workers, batches, photorank's precision, channels last.

With --large also the statistics alone on large JPEGs, beside the bare decoding of the same bytes by libjpeg-turbo.
"""

import argparse
import json
import logging
import multiprocessing.pool
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import mean, median

import numpy as np
import open_clip
import simplejpeg
import torch
import torchvision
from PIL import Image
from turns import Figures, in_turns, seconds

from photorank.config import ExtractConfig, parse_config
from photorank.extractors.device import best_precision, resolve_device
from photorank.extractors.statistics import statistics
from photorank.photos import decode_photo
from photorank.photos.finding import find_photos
from photorank.stages.extract import extract

CORES = os.cpu_count() or 1


class Networks:
    """The two networks at a precision, and the libraries' own preprocessing of a PIL image."""

    def __init__(self, device: str, precision: str) -> None:
        self.device, self.dtype = device, getattr(torch, precision)
        torch.manual_seed(0)
        clip, _, self.clip_preprocess = open_clip.create_model_and_transforms("ViT-B-32")
        cnn = torchvision.models.resnet50()
        layers = [cnn.conv1, cnn.bn1, cnn.relu, cnn.maxpool, cnn.layer1, cnn.layer2, cnn.layer3, cnn.layer4]
        self.cnn_preprocess = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
        placed = {"device": device, "dtype": self.dtype, "memory_format": torch.channels_last}
        self.clip = clip.to(**placed).eval()
        self.cnn = torch.nn.Sequential(*layers).to(**placed).eval()

    def ready(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to(self.device, self.dtype, memory_format=torch.channels_last)

    def __call__(self, clip: torch.Tensor, cnn: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of two batches (N, 3, 224, 224), on the host."""
        with torch.inference_mode():
            embedded = torch.nn.functional.normalize(self.clip.encode_image(clip).float(), dim=-1)
            return embedded.cpu().numpy(), self.cnn(cnn).mean((2, 3)).float().cpu().numpy()


class Opened(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor, np.ndarray]]):
    """Photos opened once and preprocessed for all three."""

    def __init__(self, paths: Sequence[str], networks: Networks) -> None:
        self.paths, self.of_clip, self.of_cnn = paths, networks.clip_preprocess, networks.cnn_preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        image = Image.open(self.paths[number]).convert("RGB")
        return self.of_clip(image), self.of_cnn(image), statistics(np.asarray(image))


def usual_loop(paths: Sequence[str], networks: Networks) -> None:
    for path in paths:
        clip = networks.clip_preprocess(Image.open(path).convert("RGB"))[None].to(networks.device)
        cnn = networks.cnn_preprocess(Image.open(path).convert("RGB"))[None].to(networks.device)
        networks(clip, cnn)
        statistics(np.asarray(Image.open(path).convert("RGB")))


def data_loader(paths: Sequence[str], networks: Networks, batch_size: int) -> None:
    pinned = networks.device.startswith("cuda")
    loader = torch.utils.data.DataLoader(Opened(paths, networks), batch_size, num_workers=CORES, pin_memory=pinned)
    for clip, cnn, _ in loader:
        networks(networks.ready(clip), networks.ready(cnn))


@cache
def photos_of(paths: tuple[str, ...]) -> list[np.ndarray]:
    return [decode_photo(Path(path).read_bytes()).rgb for path in paths]


def measure(paths: tuple[str, ...], number: int) -> None:
    statistics(photos_of(paths)[number])


def bare(
    paths: tuple[str, ...], networks: Networks, batch_size: int, pool: multiprocessing.pool.Pool
) -> tuple[Callable[[], float], dict[str, float]]:
    """A function that gives the seconds of the forward passes and statistics; milliseconds a photo of each."""
    images = [Image.fromarray(photo) for photo in photos_of(paths)]
    batches = [
        tuple(
            networks.ready(torch.stack([preprocess(image) for image in images[start : start + batch_size]]))
            for preprocess in (networks.clip_preprocess, networks.cnn_preprocess)
        )
        for start in range(0, len(images), batch_size)
    ]
    seen: dict[str, float] = {}

    def run() -> float:
        forward = seconds(lambda: [networks(*batch) for batch in batches])
        measured = seconds(lambda: pool.map(partial(measure, paths), range(len(paths)), chunksize=4))
        alone = seconds(lambda: [statistics(photo) for photo in photos_of(paths)])
        seen["forward"], seen["statistics"] = 1e3 * forward / len(paths), 1e3 * alone / len(paths)
        return forward + measured

    return run, seen


def ours(
    paths: Sequence[str], folder: Path, device: str, batch_size: int, precision: str, names: Sequence[str]
) -> float:
    """Seconds of a call on a new store, without those in which the models were built."""
    model = {"weights": "random", "precision": precision}
    kinds = {"clip": {"kind": "clip", **model}, "cnn": {"kind": "cnn", **model}, "iqa": {"kind": "iqa"}}
    features = {name: kinds[name] for name in names}
    config = parse_config(ExtractConfig, {"features": features, "device": device, "batch_size": batch_size}, "bench")
    with tempfile.TemporaryDirectory(dir=folder) as store:
        report = extract(paths, Path(store) / "s", config)
    assert report.phases is not None and not report.failures and set(report.computed.values()) == {len(paths)}, report
    return report.seconds - sum(taken for phase, taken in report.phases.seconds.items() if phase.startswith("build"))


def bench_models(figures: Figures, paths: tuple[str, ...], folder: Path, options: argparse.Namespace) -> None:
    device, batch_size = resolve_device(options.device), options.batch_size
    precision = best_precision(device)
    photos_of(paths)
    pool = multiprocessing.get_context("fork").Pool(CORES)  # its processes have the photos; before PyTorch has threads
    quick, plain = Networks(device, precision), Networks(device, "float32")
    run_bare, seen = bare(paths, quick, batch_size, pool)
    few = paths[: max(len(paths) // 3, min(len(paths), batch_size))]
    all_three = ("clip", "cnn", "iqa")
    sides = {
        "bare": run_bare,
        "photorank": lambda: ours(paths, folder, device, batch_size, precision, all_three),
        "loader": lambda: seconds(lambda: data_loader(paths, quick, batch_size)),
        "loop": lambda: seconds(lambda: usual_loop(few, plain)),
        "photorank32": lambda: ours(few, folder, device, batch_size, "float32", all_three),
    }
    taken = in_turns(sides, options.repeat)
    whole = taken["photorank"]
    figures.note(f"photorank, {precision} on {device}", len(paths) / median(whole), "photos/s")
    figures.note("bare forward passes", seen["forward"], "ms a photo")
    figures.note("statistics", seen["statistics"], "ms a photo", "<= 6 (small photos)")
    figures.ratio("wall time, against the bare forward passes and statistics", whole, taken["bare"], "<= 1.12")
    what = f"photos a second ({precision}), against the usual loop (float32)"
    figures.ratio(what, taken["loop"], whole, ">= 1.9", len(paths) / len(few))
    what = "photos a second (float32), against the usual loop (float32)"
    figures.ratio(what, taken["loop"], taken["photorank32"], ">= 1.1")
    figures.ratio(f"photos a second ({precision}), against the DataLoader", taken["loader"], whole, ">= 1.1")


def bench_large(figures: Figures, sources: Sequence[str], folder: Path, count: int, repeat: int) -> None:
    (folder / "large").mkdir()
    originals = [Path(path).read_bytes() for path in sources]
    paths = [str(folder / "large" / f"{number}.jpg") for number in range(count)]
    for number, path in enumerate(paths):  # bytes after the end of a JPEG are part of its key, and no pixels
        Path(path).write_bytes(originals[number % len(originals)] + b"%d" % number)
    photos = [simplejpeg.decode_jpeg(data) for data in originals]
    figures.note("large photos", mean(photo.size / 3e6 for photo in photos), "megapixels")
    sides = {
        "decode": lambda: seconds(lambda: [simplejpeg.decode_jpeg(data) for data in originals]) / len(originals),
        "measure": lambda: seconds(lambda: [statistics(photo) for photo in photos]) / len(photos),
        "photorank": lambda: ours(paths, folder, "cpu", 1, "float32", ["iqa"]) / count,
    }
    taken = in_turns(sides, repeat)
    figures.note("their decoding by libjpeg-turbo", 1e3 * median(taken["decode"]), "ms a photo")
    figures.note("their statistics", 1e3 * median(taken["measure"]), "ms a photo", "<= 20")
    what = "statistics of large photos, against cores / decoding time"
    figures.ratio(what, taken["decode"], taken["photorank"], ">= 0.6", 1 / CORES)


def jpegs(folder: Path) -> Iterator[str]:
    return (each.path for each in find_photos([folder])[0] if each.path.lower().endswith((".jpg", ".jpeg")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="PHOTOS")
    parser.add_argument("--large", type=Path, metavar="PHOTOS", help="a folder of large JPEGs")
    parser.add_argument("--photos", type=int, default=320, help="how many of PHOTOS")
    parser.add_argument("--large-photos", type=int, default=120, help="files to make of the large ones")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # random weights are meant here
    figures = Figures()
    with tempfile.TemporaryDirectory() as made:
        bench_models(figures, tuple(jpegs(options.folder))[: options.photos], Path(made), options)
        if options.large:
            bench_large(figures, list(jpegs(options.large)), Path(made), options.large_photos, options.repeat)
    if options.json:
        print(json.dumps({"cores": CORES, "figures": figures.all}))


if __name__ == "__main__":
    main()
