"""What ends a training before its time, in a sentence that says what can be done."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Iterator

import torch
from accelerate import Accelerator

from photorank.config import E2eConfig
from photorank.errors import ConfigError, PhotorankError, RunError
from photorank.extractors.memory import is_want_of_memory
from photorank.training.siamese import Trainer

_COMMUNICATION = ("gloo", "NCCL", "Connection closed", "Connection reset", "Socket")
"""What is said where another process did not answer."""


@contextlib.contextmanager
def explained(config: E2eConfig, accelerator: Accelerator, trainer: Trainer | None = None) -> Iterator[None]:
    """What PyTorch raises for want of memory or of a compiler, and where another process ended, in a sentence. Without
    a trainer the block is what makes one."""
    try:
        yield
    except PhotorankError:
        raise
    except (RuntimeError, MemoryError) as error:
        cause = " ".join(str(error).split())[:200]
        if is_want_of_memory(error):
            traceback.clear_frames(error.__traceback__)  # they hold what did not fit
            raise ConfigError(_smaller(trainer) if trainer is not None else _too_large(accelerator)) from error
        if config.compile and _is_of_the_compiler(error):
            raise ConfigError(
                f"the network cannot be compiled here ({cause}); train without --compile, or install what it lacks: a "
                f"C++ compiler, and Triton for a GPU"
            ) from error
        if accelerator.num_processes > 1 and _is_of_communication(error):
            raise RunError(
                f"another process of this training ended ({cause}); see what it said, and go on with --resume"
            ) from error
        raise


def _is_of_the_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _is_of_communication(error: Exception) -> bool:
    return isinstance(error, torch.distributed.DistError) or any(each in str(error) for each in _COMMUNICATION)


def _too_large(accelerator: Accelerator) -> str:
    return (
        f"the memory of {accelerator.device} does not hold the network and what its optimiser keeps: a smaller "
        f"cnn_backbone, --set freeze=conv or --set optimiser=sgd takes less"
    )


def _smaller(trainer: Trainer) -> str:
    """What the memory holds where it did not hold the photos that went through the network last."""
    config, series = trainer.config, trainer.largest_series
    none, less = f"the memory of {trainer.accelerator.device} does not hold", _less(config)
    if len(trainer.series) == 1:
        name = trainer.data.series_names[trainer.series[0]]
        return f"{none} the {trainer.at_once} photos of the series {name}, which belong together: {less}"
    none += f" {trainer.at_once} photos at once"
    photos = _held(trainer)
    if not photos:
        return f"{none}, nor those of the largest series ({series}), which belong together: {less}"
    # Whole series, each put where there are fewest photos, are less than one series more than the average.
    parts = math.ceil(max(config.batch_photos, series) / max(2, photos - series))
    accumulate = math.ceil(parts / trainer.accelerator.num_processes)
    return (
        f"{none}, but {photos}: --set accumulate={accumulate} takes no more at once and learns the same, --set "
        f"batch_photos={photos} makes the steps themselves smaller"
    )


def _less(config: E2eConfig) -> str:
    """What makes each photo take less."""
    precision = "" if config.precision == "bfloat16" else "--set precision=bfloat16, "
    return f"--set size={config.size // 2}, {precision}a smaller cnn_backbone or fewer photos in a series take less"


def _held(trainer: Trainer) -> int:
    """Half, a quarter, ... of the photos that did not fit, at least a series: the first of these that does; or 0."""
    if trainer.accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
    photos = trainer.at_once
    while photos > trainer.largest_series:
        photos = max(photos // 2, trainer.largest_series)
        if _fits(trainer, photos):
            return photos
    return 0


def _fits(trainer: Trainer, photos: int) -> bool:
    try:
        trainer.try_step(photos)
    except (RuntimeError, MemoryError) as error:
        if is_want_of_memory(error):
            return False
        raise
    return True
