"""What ends a training before its time, in a sentence that says what can be done."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Iterator

import torch

from photorank.errors import ConfigError, PhotorankError, RunError
from photorank.training.siamese import Trainer

_OUT_OF_MEMORY = ("DefaultCPUAllocator", "bad_alloc", "out of memory", "could not create a memory object")
"""What is said where there is no class for it: by PyTorch on processors, by C++, on `mps`, by oneDNN."""


@contextlib.contextmanager
def explained(trainer: Trainer) -> Iterator[None]:
    """What PyTorch raises for want of memory or of a compiler, and where another process ended, in a sentence."""
    try:
        yield
    except PhotorankError:
        raise
    except (RuntimeError, MemoryError) as error:
        cause = " ".join(str(error).split())[:200]
        if _is_want_of_memory(error):
            traceback.clear_frames(error.__traceback__)  # they hold what did not fit
            raise ConfigError(_smaller(trainer)) from error
        if trainer.config.compile and _is_of_the_compiler(error):
            raise ConfigError(
                f"the network cannot be compiled here ({cause}); train without --compile, or install what it lacks: a "
                f"C++ compiler, and Triton for a GPU"
            ) from error
        if trainer.accelerator.num_processes > 1:
            raise RunError(
                f"another process of this training ended ({cause}); see what it said, and go on with --resume"
            ) from error
        raise


def _is_want_of_memory(error: Exception) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        each in str(error) for each in _OUT_OF_MEMORY
    )


def _is_of_the_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _smaller(trainer: Trainer) -> str:
    """What the memory holds where it did not hold a step."""
    config, series = trainer.config, trainer.largest_series
    photos = _held(trainer)
    too_many = f"the memory of {trainer.accelerator.device} does not hold {trainer.at_once} photos at once"
    if not photos:
        return (
            f"{too_many}, nor those of the largest series ({series}), which belong together: --set "
            f"size={config.size // 2}, --set precision=bfloat16 or a smaller cnn_backbone takes less"
        )
    # Whole series, each put where there are fewest photos, are less than one series more than the average.
    parts = math.ceil(max(config.batch_photos, series) / max(2, photos - series))
    accumulate = math.ceil(parts / trainer.accelerator.num_processes)
    return (
        f"{too_many}, but {photos}: --set accumulate={accumulate} takes no more at once and learns the same, --set "
        f"batch_photos={photos} makes the steps themselves smaller"
    )


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
        if _is_want_of_memory(error):
            return False
        raise
    return True
