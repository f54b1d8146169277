"""e2e: comparisons and photos in, a run folder with a Siamese ranker trained on their pixels out."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from numpy.typing import NDArray

from photorank.comparisons import Comparisons, as_key, hold_out, read_comparisons, resolve
from photorank.config import E2eConfig
from photorank.config.e2e import OF_THE_MACHINE
from photorank.errors import ComparisonsError, ConfigError
from photorank.extractors.beginning import load_beginning
from photorank.extractors.memory import is_want_of_memory
from photorank.models.siamese import SiameseCNNRanker, usual_size
from photorank.runs import new_run, refuse_existing
from photorank.runs.e2e import save_siamese
from photorank.stages.e2e_report import E2eReport, Labels, report_of
from photorank.stages.endings import explained
from photorank.stages.epochs import Epochs
from photorank.stages.fit_head import predictions_of
from photorank.stages.pipeline import Progress
from photorank.stages.pixels import Pixels, PixelSource
from photorank.stages.places import Places
from photorank.stages.run_folder import write_extras
from photorank.training.checkpoints import Unfinished
from photorank.training.siamese import Trainer


def e2e(
    comparisons: Path, config: E2eConfig, out: Path, photos: Path | None = None, resume: bool = False,
    cache: Path | None = None, weights_dir: Path | None = None, progress: Progress | None = None,
) -> E2eReport | None:  # fmt: skip
    """Train on the `train` split and report on the others; writes the run `out`. None in all processes but the first.

    With `resume` a training of `out` that was stopped or killed goes on. Raises ComparisonsError and PhotoError for
    what cannot be learned from, ConfigError for what does not fit together or into memory, RunError where `out` exists,
    where an unfinished training of it does, where another process trains it, or where this one is stopped.
    """
    started = time.monotonic()
    refuse_existing(out)
    labels = _read(comparisons, photos, config)
    told = config.model_dump(mode="json", exclude=OF_THE_MACHINE)
    unfinished = Unfinished(out, {"config": told, "comparisons": _digest(labels.data)})
    # Of Accelerate's own settings none changes what is learned: the config says it.
    whole = GradientAccumulationPlugin(num_steps=1)
    accelerator = Accelerator(mixed_precision="no", cpu=config.device == "cpu", gradient_accumulation_plugin=whole)
    report = None
    with unfinished.alone(accelerator):
        refuse_existing(out)  # another process may have been done with it meanwhile
        unfinished.refuse(resume)
        trainer, margins = _train(labels, config, accelerator, unfinished, cache, weights_dir, progress)
        if accelerator.is_main_process:
            report = report_of(out, comparisons, labels, trainer, margins, time.monotonic() - started)
            _write(out, comparisons, report, labels.data, margins, trainer, unfinished)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return report


def _train(
    labels: Labels, config: E2eConfig, accelerator: Accelerator, unfinished: Unfinished, cache: Path | None,
    weights_dir: Path | None, progress: Progress | None,
) -> tuple[Trainer, NDArray[np.float64]]:  # fmt: skip
    """A trainer that has the weights of the best epoch, and the margins (C,) that they give all comparisons."""
    train = labels.data.rows("train")
    stopping = hold_out(labels.data.group[train], config.stop_fraction, config.seed + 1)
    with explained(config, accelerator):
        torch.manual_seed(config.seed)
        model = _model(config)
        if not unfinished.exists:
            load_beginning(model, config, weights_dir)
        trainer = Trainer(model, labels.data, train[~stopping], config, accelerator)
        unfinished.restore(trainer)
    pixels = Pixels(
        "paper" if config.use_paper_preprocessing else "scale_crop", config.size, config.padding_mean_color,
        config.decode,
    )  # fmt: skip
    pinned = accelerator.device.type == "cuda"
    source = PixelSource(labels.places, labels.data.keys, pixels, config.workers, cache, pinned)
    with source, explained(config, accelerator, trainer):
        Epochs(trainer, source, train[stopping], unfinished, progress).run()
        accelerator.wait_for_everyone()
        trainer.adopt(unfinished.best())
        features = trainer.embed(source, np.arange(len(labels.data.keys)))
        return trainer, trainer.margins(features, labels.data).double().numpy()


def _model(config: E2eConfig) -> SiameseCNNRanker:
    """The ranker, in evaluation mode; ConfigError where its backbone does not take photos of that size."""
    model = SiameseCNNRanker(
        config.cnn_backbone, config.mlp_hidden_dims, config.dropout, config.activation,
        config.use_paper_preprocessing, config.padding_mean_color, config.head,
    ).eval()  # fmt: skip
    for side in sorted({config.size, config.window or config.size}):
        try:
            with torch.no_grad():
                model.backbone(torch.zeros((1, 3, side, side), dtype=torch.uint8))
        except Exception as error:  # each architecture has checks of its own, or none
            if is_want_of_memory(error):
                raise
            cause, size = " ".join(str(error).split())[:200], usual_size(model.backbone)
            raise ConfigError(
                f"{config.cnn_backbone} does not take photos of {side} pixels ({cause}); it is made for "
                f"--set size={size}"
            ) from error
    return model


def _read(path: Path, photos: Path | None, config: E2eConfig) -> Labels:
    """The comparisons with the keys of their photos, each of which is read for it."""
    table = read_comparisons(path)
    if any(as_key(name) for name in pd.concat([table["left"], table["right"]])):
        raise ComparisonsError(f"{path} names photos by their keys; e2e reads the photos, so it wants their paths")
    places = Places(photos if photos is not None else path.parent)
    data = resolve(path, table, photos, places.key_of, config.val_fraction, config.seed)
    if not len(data.rows("train")):
        raise ComparisonsError(f"{path} has no comparisons in the split 'train'; there is nothing to learn from")
    variant = None
    if "variant" in table:
        variant = table["variant"].fillna("none").astype(str).to_numpy(dtype=object)
    keys = [key.tobytes() for key in data.keys]
    sizes = np.array([places.sizes[key] for key in keys], np.float64)
    return Labels(data, [places.of[key] for key in keys], sizes, variant)


def _digest(data: Comparisons) -> str:
    """What tells other comparisons from these."""
    arrays = (data.keys, data.left, data.right, data.p_left, data.series, data.split.astype("U5"))
    return hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)).hexdigest()


def _write(
    out: Path, comparisons: Path, report: E2eReport, data: Comparisons, margins: NDArray[np.float64],
    trainer: Trainer, unfinished: Unfinished,
) -> None:  # fmt: skip
    at, config = trainer.progress, trainer.config
    with new_run(out) as folder:
        told = {key: value for key, value in report.summary().items() if key not in ("run", "seconds", "processes")}
        table = predictions_of(data, margins)
        save_siamese(folder, trainer.model, trainer.weights(), config, at.epochs, at.best_epoch, told, table)
        shutil.copytree(unfinished.folder / "events", folder / "events")  # by step; write_extras adds those by epoch
        write_extras(folder, comparisons, config)
    unfinished.remove()
