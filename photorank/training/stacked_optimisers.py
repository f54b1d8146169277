"""Optimisers over the parameters of several heads at once: a row each, which has its own rate and count of steps.

PyTorch's own objects would be as many, and importing what they need takes longer than training a head; its function
for AdamW needs none of that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from photorank.config import HeadConfig


class Optimiser:
    """AdamW (Loshchilov and Hutter 2019), or stochastic gradient descent with momentum, as PyTorch computes them."""

    def __init__(self, configs: Sequence[HeadConfig], size: int) -> None:
        """For a row of `size` parameters a config; which optimiser it is, is the same for all."""
        self._configs = list(configs)
        self._mean, self._square = torch.zeros(len(configs), size), torch.zeros(len(configs), size)
        self._steps = torch.zeros(len(configs))

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        self._configs = [self._configs[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.int64)
        self._mean, self._square, self._steps = (each[index] for each in (self._mean, self._square, self._steps))

    def step(self, values: Tensor, gradients: Tensor, moving: Sequence[bool]) -> None:
        """Change `values` (M, P) along `gradients` (M, P), in the rows that are `moving` (M,)."""
        rows = zip(self._configs, moving, values, gradients, self._mean, self._square, self._steps, strict=True)
        for config, moves, value, gradient, mean, square, steps in rows:
            if not moves:
                continue
            if config.optimiser == "sgd":
                mean.mul_(config.momentum).add_(gradient).add_(value, alpha=config.weight_decay)
                value.sub_(mean, alpha=config.learning_rate)
            else:
                adamw(
                    [value], [gradient], [mean], [square], [], [steps], fused=True, amsgrad=False, beta1=0.9,
                    beta2=0.999, lr=config.learning_rate, weight_decay=config.weight_decay, eps=1e-8, maximize=False,
                )  # fmt: skip
