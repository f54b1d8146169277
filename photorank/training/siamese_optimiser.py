"""What moves a Siamese ranker's weights: parameter groups, schedule, float32 weights behind a half-precise network, and
their moving average."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from photorank.config.e2e import E2eConfig
from photorank.models.siamese import SiameseCNNRanker, to_precision
from photorank.training.siamese_norms import is_fixed, put_into, statistics_of


def freeze(model: SiameseCNNRanker, config: E2eConfig) -> None:
    """Switch off the gradients of what `config.freeze` says."""
    for module in model.backbone.modules():
        trains = config.freeze == "none" or (config.freeze == "conv" and isinstance(module, nn.Linear))
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(trains)


def train_mode(model: SiameseCNNRanker, config: E2eConfig, filler: bool = False) -> None:
    """Training mode, but for batch norms whose means and deviations are to stay as they are: those of a filler too."""
    model.train()
    frozen = filler or is_fixed(config)
    for module in model.backbone.modules():
        if frozen and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def rate_factor(step: int, epochs: float, config: E2eConfig) -> float:
    """What the learning rates are multiplied by in a step (the first is 0) that begins after so many epochs."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":  # Loshchilov and Hutter 2017, SGDR, without restarts
        return warm * 0.5 * (1 + math.cos(math.pi * epochs / config.epochs))
    if config.schedule == "step":
        return float(warm * config.step_factor ** (int(epochs) // config.step_epochs))
    return warm


class Optimising:
    """The trained weights of a model, in float32 whatever the model computes in, and what moves them."""

    def __init__(self, model: SiameseCNNRanker, config: E2eConfig) -> None:
        """Groups are `backbone` and `head`, each with its norms and biases apart. The model, in float32 so far, goes to
        its precision."""
        self.trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.weights: dict[str, Tensor] = dict(self.trained)
        if config.precision != "float32":
            self.weights |= {name: each.detach().clone().requires_grad_() for name, each in self.trained.items()}
            to_precision(model.backbone.network, getattr(torch, config.precision))
        self.average = {name: each.detach().clone() for name, each in self.weights.items()} if config.ema_decay else {}
        self.statistics: dict[str, Tensor] = {}
        """What batch norms keep where the moving average is judged; none: what the steps left them."""
        self._model, self._config = model, config
        groups = [self._group(part, norms) for part in ("backbone", "head") for norms in (False, True)]
        groups = [group for group in groups if group["params"]]
        if config.optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)
        else:
            self.optimiser = torch.optim.AdamW(groups, lr=0.0)

    def _group(self, part: str, norms: bool) -> dict[str, object]:
        config = self._config
        named = [each for name, each in self.weights.items() if name.startswith(part) and (each.ndim <= 1) == norms]
        rate = config.learning_rate * (config.head_factor if part == "head" else 1)
        decay = config.norm_weight_decay if norms else config.weight_decay
        return {"params": named, "weight_decay": decay, "part": part, "rate": rate}

    def step(self, factor: float) -> None:
        """Move the weights at `factor` times their rates by the gradients that the model has, which are used up."""
        self._gradients_to_weights()
        if self._config.clip_norm:
            torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self._config.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * factor
        self.optimiser.step()
        for each in (*self.trained.values(), *self.weights.values()):
            each.grad = None
        self._to_model(self.weights)
        for name, average in self.average.items():
            average.lerp_(self.weights[name].detach(), 1 - self._config.ema_decay)

    def norms(self) -> dict[str, Tensor]:
        """The norms of the gradients that the model has, by part."""
        found: dict[str, list[Tensor]] = {}
        for name, each in self.trained.items():
            if each.grad is not None:
                found.setdefault(name.split(".")[0], []).append(torch.linalg.vector_norm(each.grad.float()))
        return {part: torch.linalg.vector_norm(torch.stack(norms)) for part, norms in found.items()}

    @property
    def rates(self) -> dict[str, float]:
        """The learning rates of the last step, by part."""
        return {group["part"]: group["lr"] for group in self.optimiser.param_groups}

    @property
    def judged(self) -> dict[str, Tensor]:
        """What is judged and kept: the moving average if there is one, with its statistics, else the weights."""
        return {**(self.average or self.weights), **self.statistics}

    @contextmanager
    def judging(self) -> Iterator[None]:
        """The model has the weights that are judged in this block."""
        if not self.average:
            yield
            return
        kept = {name: each.detach().clone() for name, each in self.weights.items()}
        statistics = {name: each.clone() for name, each in statistics_of(self._model).items()}
        self._to_model(self.average)
        put_into(self._model, self.statistics)
        try:
            yield
        finally:
            self._to_model(kept)
            put_into(self._model, statistics)

    def _gradients_to_weights(self) -> None:
        for name, parameter in self.trained.items():
            weight = self.weights[name]
            if weight is not parameter and parameter.grad is not None:
                weight.grad = parameter.grad.float()

    @torch.no_grad()
    def _to_model(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.trained.items():
            if weights[name] is not parameter:
                parameter.copy_(weights[name])
