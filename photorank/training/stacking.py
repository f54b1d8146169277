"""Several heads of one shape trained at once: their parameters lie in one tensor, and a step is one for all of them.

Each member has its own comparisons, order of batches, dropout masks, optimiser and early stopping, all drawn from its
own seed, and nothing is computed of it in another shape than alone: it ends where it would end alone, to the bit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from photorank.config import HeadConfig
from photorank.metrics import correct
from photorank.models.fusion import Dropout, Linear, MultiFeaturePairwiseRanker
from photorank.training.batches import EMPTY, Batch, Series, padded, places
from photorank.training.losses import LISTWISE, PAIRWISE
from photorank.training.stacked_optimisers import Optimiser

Features = Mapping[str, Tensor]
Figures = dict[str, float]
Ints = NDArray[np.int64]
Answer = tuple[Tensor, Tensor]
"""Margins and `p_left` of comparisons; ½ where there is none."""
_ROWS = 32
"""Photos and comparisons of a batch are filled up to a multiple of this: a matrix product of a new shape costs as much
as several, and what is left over when a processor takes several numbers at once may be rounded otherwise."""
_STEPS = 10
"""An epoch has about as many steps or more: few comparisons are learnt from in batches smaller than was asked for, or
patience, which counts epochs, would end a training after so few steps that nothing was learnt."""


@dataclass
class History:
    """What happened in training: a row an epoch, and the epoch that was kept."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0

    @property
    def diverged(self) -> bool:
        """Whether a loss was no number."""
        return not all(math.isfinite(value) for row in self.epochs for value in row.values())


class Member:
    """One head in training."""

    def __init__(
        self, model: MultiFeaturePairwiseRanker, config: HeadConfig, standard: Features, fit: Series, stop: Series
    ) -> None:
        """`standard` is what `model.standardise` makes of all photos; early stopping looks at `stop`."""
        self.model, self.config, self.standard, self.history = model, config, standard, History()
        self._fit, self._best = fit, float("inf")
        order, masks = np.random.SeedSequence(config.seed).spawn(2)
        self._order, self._masks = np.random.default_rng(order), np.random.SFC64(masks)
        self.stop_batches = stop.batches(np.arange(len(stop)), config.batch_size)
        self.values = nn.utils.parameters_to_vector(model.parameters()).detach()
        """(P,) all parameters."""
        self._kept = self.values.clone()

    def next_batches(self) -> list[Batch]:
        """The batches of an epoch."""
        size = min(self.config.batch_size, max(1, len(self._fit.left) // _STEPS))
        return self._fit.batches(self._order.permutation(len(self._fit)), size)

    def draw_mask(self, rows: int, width: int) -> NDArray[np.float32]:
        """A dropout mask (rows, width): 0, or 1 / (1 − p)."""
        share, size = self.config.dropout, rows * width
        drawn = self._masks.random_raw(-(-size // 4)).view(np.uint16)[:size]  # four of 64 bits
        mask = (drawn >= round(share * (1 << 16))).reshape(rows, width).astype(np.float32)
        mask *= 1 / (1 - share)
        return mask

    def end_epoch(self, train: Figures, stop: Figures) -> bool:
        """Note an epoch, and the parameters if it is the best; True when it was the last."""
        history, number = self.history, len(self.history.epochs) + 1
        row = {f"train_{name}": value for name, value in train.items()}
        row |= {f"stop_{name}": value for name, value in stop.items()}
        history.epochs.append({"epoch": float(number), **row})
        stop_loss = stop.get("loss")
        # Without a slice there is nothing to choose by: the last epoch is kept.
        if stop_loss is None or stop_loss < self._best:
            self._best = stop_loss if stop_loss is not None else self._best
            self._kept.copy_(self.values)
            history.best_epoch = number
        waited = number - history.best_epoch >= self.config.patience
        return number == self.config.epochs or waited or history.diverged

    def finish(self) -> None:
        """Give the parameters that were kept to the model."""
        nn.utils.vector_to_parameters(self._kept, self.model.parameters())
        self.model.eval()


def train(members: Sequence[Member]) -> None:
    """Train heads of one shape and loss, each to its own end; their `model` and `history` then hold the outcome."""
    running = list(members)
    optimiser = Optimiser([each.config for each in running], len(running[0].values))
    while running:
        stack = _Stack(running, optimiser)
        ended: list[Member] = []
        while not ended:
            told = zip(running, stack.epoch(), stack.judge(), strict=True)
            ended = [each for each, train, stop in told if each.end_epoch(train, stop)]
        for each in ended:
            each.finish()
        optimiser.keep([number for number, each in enumerate(running) if each not in ended])
        running = [each for each in running if each not in ended]


class _Stack:
    """Members whose parameters lie together: every tensor has them, M, as its first dimension."""

    def __init__(self, members: Sequence[Member], optimiser: Optimiser) -> None:
        self.members, self.config, self._optimiser = members, members[0].config, optimiser
        self._model = copy.deepcopy(members[0].model)
        shapes = [each.shape for each in self._model.parameters()]
        sizes = [shape.numel() for shape in shapes]
        # Each row begins where a member's own would: a product may be rounded by where in memory its matrices begin.
        self._values = torch.zeros(len(members), _filled(sum(sizes)))[:, : sum(sizes)]
        torch.stack([member.values for member in members], out=self._values)
        for member, row in zip(members, self._values, strict=True):
            member.values = row
        parts = torch.split(self._values, sizes, 1)
        for (owner, name), shape, part in zip(_owners(self._model), shapes, parts, strict=True):
            setattr(owner, name, nn.Parameter(part.view(-1, *shape)))
        self._parameters = list(self._model.parameters())
        after = "comparisons" if self.config.head == "difference" else "photos"
        self._layers: list[tuple[Linear, str]] = []
        for modules, rows in ((self._model.project, "photos"), (self._model.mlp, after)):
            for layer in modules.modules():
                if isinstance(layer, Linear):
                    self._layers.append((layer, rows))
                if isinstance(layer, Dropout):
                    layer.share = max(member.config.dropout for member in members)
                    layer.draw = partial(self._draw, rows)
        self._repeats: dict[str, list[Ints]] = {}
        self._memory: dict[str, Tensor] = {}

    def epoch(self) -> list[Figures]:
        """One epoch of every member: the mean loss of its batches, and the accuracy while they were learnt."""
        self._model.train()
        batches = [member.next_batches() for member in self.members]
        sums, answers = torch.zeros(len(batches)), []
        for step in _side_by_side(batches):
            loss, answer = self._losses(step)
            gradients = torch.autograd.grad(loss.sum(), self._parameters)
            moving = [len(batch.left) > 0 for batch in step]
            self._optimiser.step(self._values, torch.cat([each.flatten(1) for each in gradients], 1), moving)
            sums += loss.detach()
            answers.append(answer)
        return _figures(sums.tolist(), [len(each) for each in batches], answers)

    @torch.no_grad()
    def judge(self) -> list[Figures]:
        """Each member on its early-stopping slice: the mean loss and the accuracy; {} where it has none."""
        self._model.eval()
        batches = [member.stop_batches for member in self.members]
        sums, answers = torch.zeros(len(batches)), []
        for step in _side_by_side(batches):
            loss, answer = self._losses(step)
            sums += loss * torch.tensor([float(len(batch.left)) for batch in step])
            answers.append(answer)
        return _figures(sums.tolist(), [sum(len(one.left) for one in each) for each in batches], answers)

    def _losses(self, step: Sequence[Batch]) -> tuple[Tensor, Answer]:
        """(M,) the mean loss of each member's batch, 0 where it is empty; and margins and `p_left`, (M, C) each."""
        # One mask for the photos of a series: what they have in common is in the features by far the most, and would
        # not cancel in their difference if parts of it were dropped from the one and not from the other.
        self._repeats = {
            "photos": [each.sizes for each in step],
            "comparisons": [np.ones(len(each.left), np.int64) for each in step],
        }
        counts = {rows: [_filled(int(each.sum())) for each in repeats] for rows, repeats in self._repeats.items()}
        for layer, rows in self._layers:
            layer.counts = counts[rows]
        fused, loss = self._model.fuse(self._gather(step, max(counts["photos"]))), self.config.loss
        left, right = (_tensor([getattr(each, name) for each in step]) for name in ("left", "right"))
        p_left = _tensor([each.p_left for each in step], 0.5)  # a place without a comparison is one without an answer
        if loss in PAIRWISE:
            margins = self._model.compare(fused, left, right)
            losses = PAIRWISE[loss](margins, p_left, self.config.margin)
            weight = _tensor([each.weight / max(1, len(each.weight)) for each in step])
        else:
            longest = _filled(max(int(each.sizes.max(initial=0)) for each in step))
            lists = _tensor([places(each, longest) for each in step], -1)  # (M, G, L)
            at = lists.clamp(min=0).flatten(1)
            of_photos = self._model.score_of(fused)
            margins = of_photos.gather(-1, left) - of_photos.gather(-1, right)
            both = of_photos, _tensor([each.targets for each in step])
            scores, targets = (each.gather(-1, at).view(lists.shape) for each in both)
            losses = LISTWISE[loss](scores, targets, lists >= 0)
            weight = _tensor([each.list_weight / max(1, len(each.list_weight)) for each in step])
        # In double precision, for a sum not to depend on how many places are filled up.
        return (losses * weight).sum(-1, dtype=torch.float64).float(), (margins.detach(), p_left)

    def _gather(self, step: Sequence[Batch], most: int) -> dict[str, Tensor]:
        """The photos' standardised features, (M, most, dim) a space; what a place without a photo holds is finite."""
        found = {}
        for space, values in self.members[0].standard.items():
            size = len(step) * most * values.shape[1]
            if space not in self._memory or len(self._memory[space]) < size:
                self._memory[space] = torch.zeros(2 * size, dtype=values.dtype)
            found[space] = rows = self._memory[space][:size].view(len(step), most, -1)
            for row, member, batch in zip(rows, self.members, step, strict=True):
                photos = torch.from_numpy(batch.photos)
                torch.index_select(member.standard[space], 0, photos, out=row[: len(photos)])
        return found

    def _draw(self, rows: str, shape: torch.Size) -> Tensor:
        masks = np.zeros(shape, np.float32)
        for mask, member, repeats in zip(masks, self.members, self._repeats[rows], strict=True):
            mask[: repeats.sum()] = np.repeat(member.draw_mask(len(repeats), shape[-1]), repeats, 0)
        return torch.from_numpy(masks)


def _side_by_side(batches: Sequence[Sequence[Batch]]) -> list[list[Batch]]:
    """The first batches of all members, the second, …; empty ones where a member has no more."""
    return [
        [each[number] if number < len(each) else EMPTY for each in batches] for number in range(max(map(len, batches)))
    ]


def _figures(losses: Sequence[float], counts: Sequence[int], answers: Sequence[Answer]) -> list[Figures]:
    """Of each member: its sum of `losses` (M,) by its count, and the accuracy of its answers; {} where it has none."""
    if not answers:
        return [{} for _ in losses]
    margins, p_left = (torch.cat(each, -1).numpy() for each in zip(*answers, strict=True))
    found = []
    for loss, count, right in zip(losses, counts, correct(margins, p_left), strict=True):
        decided = right[~np.isnan(right)]
        accuracy = {"accuracy": float(decided.mean())} if len(decided) else {}
        found.append({"loss": loss / count, **accuracy} if count else {})
    return found


def _filled(count: int) -> int:
    return -(-count // _ROWS) * _ROWS


def _tensor(rows: Sequence[NDArray[Any]], fill: float = 0) -> Tensor:
    return torch.from_numpy(padded(rows, _filled(max(map(len, rows))), fill))


def _owners(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """The module and the attribute of each parameter, in the order of `parameters()`."""
    names = [name.rpartition(".") for name, _ in model.named_parameters()]
    return [(model.get_submodule(module), name) for module, _, name in names]
