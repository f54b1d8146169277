"""Batch norms' means and deviations for weights that no step computed with, as a moving average of weights is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from photorank.config.e2e import E2eConfig


def is_fixed(config: E2eConfig) -> bool:
    """Whether batch norms keep the means and deviations that they begin with."""
    return config.freeze_batch_norm or config.freeze != "none"


def batch_norms(model: nn.Module) -> dict[str, nn.modules.batchnorm._BatchNorm]:
    """Those that keep means and deviations, by name."""
    norms = {name: each for name, each in model.named_modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)}
    return {name: each for name, each in norms.items() if each.running_mean is not None}


def statistics_of(model: nn.Module) -> dict[str, Tensor]:
    """What batch norms keep, by its name in the model's state."""
    norms = batch_norms(model)
    return {f"{name}.{part}": each for name, norm in norms.items() for part, each in norm.named_buffers(recurse=False)}


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Batch norms begin anew in this block, and keep the plain mean of what passes, as `swa_utils.update_bn` has it;
    all else is in evaluation mode, and so are they after it."""
    norms = batch_norms(model).values()
    momenta = [each.momentum for each in norms]
    model.eval()
    for each in norms:
        each.reset_running_stats()
        each.momentum = None  # PyTorch's word for the plain mean
        each.train()
    try:
        yield
    finally:
        for each, momentum in zip(norms, momenta, strict=True):
            each.momentum = momentum
            each.eval()


@torch.no_grad()
def put_into(model: nn.Module, statistics: dict[str, Tensor]) -> None:
    """Give batch norms what `statistics_of` said."""
    there = statistics_of(model)
    for name, each in statistics.items():
        there[name].copy_(each)
