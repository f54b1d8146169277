"""Optimisers over the parameters of several heads at once: a row each, which has its own rate and count of steps.

PyTorch's own would be as many objects, and importing them takes longer than training a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from photorank.config import HeadConfig

_MEAN, _SQUARE, _TINY = 0.9, 0.999, 1e-8


class Optimiser:
    """AdamW (Loshchilov and Hutter 2019), or stochastic gradient descent with momentum, as PyTorch computes them."""

    def __init__(self, configs: Sequence[HeadConfig], size: int) -> None:
        """For a row of `size` parameters a config; which optimiser it is, is the same for all."""
        self._kind = configs[0].optimiser

        rows = [[each.learning_rate, each.weight_decay, each.momentum] for each in configs]
        self._rate, self._decay, self._momentum = torch.tensor(rows).T.unsqueeze(2)  # (M, 1) each
        self._mean, self._square = torch.zeros(len(configs), size), torch.zeros(len(configs), size)
        self._steps = torch.zeros(len(configs), 1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        index = torch.tensor(rows, dtype=torch.int64)
        for name in ("_rate", "_decay", "_momentum", "_mean", "_square", "_steps"):
            setattr(self, name, getattr(self, name)[index])

    def step(self, values: Tensor, gradients: Tensor, moving: Tensor) -> None:
        """Change `values` (M, P) along `gradients` (M, P), in the rows where `moving` (M, 1) is 1 and not 0."""
        self._steps += moving
        rate = self._rate * moving
        if self._kind == "sgd":
            along = gradients + self._decay * values
            self._mean.copy_(torch.where(moving > 0, self._momentum * self._mean + along, self._mean))
            values.sub_(rate * self._mean)
            return
        steps = self._steps.clamp(min=1)
        self._mean.lerp_(gradients, (1 - _MEAN) * moving)
        self._square.lerp_(gradients.square(), (1 - _SQUARE) * moving)
        scale = self._square.sqrt().div_((1 - _SQUARE**steps).sqrt()).add_(_TINY)
        values.mul_(1 - rate * self._decay)
        values.sub_(scale.reciprocal_().mul_(self._mean).mul_(rate / (1 - _MEAN**steps)))
