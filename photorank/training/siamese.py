"""Training a Siamese ranker on pixels, on a processor, a GPU, or several, by Hugging Face Accelerate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as functional
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from photorank.comparisons import Comparisons
from photorank.config.e2e import E2eConfig
from photorank.models.siamese import SPACE, SiameseCNNRanker
from photorank.training.siamese_batches import Part, cut, epoch_batches, parts_of, photos_of_series
from photorank.training.siamese_norms import batch_norms, is_fixed, measuring, statistics_of
from photorank.training.siamese_optimiser import Optimising, freeze, rate_factor, train_mode

_COMPARISONS_AT_ONCE = 4096
_SETTLING_PHOTOS = 1024  # that batch norms' means and deviations are of, where they are measured anew


class Photos(Protocol):
    """Where pixels come from."""

    waited: float
    """Seconds waited for pixels so far."""

    def batches(self, order: Iterable[NDArray[np.int64]]) -> Iterable[tuple[NDArray[np.int64], Tensor]]:
        """For each batch of photo numbers (n,) these and their pixels (n, 3, size, size) uint8, in that order."""
        ...


@dataclass
class Progress:
    """How far a training is: with the weights and the optimiser's state all that is needed to go on."""

    epoch: int = 0
    """Epochs that are over."""
    batch: int = 0
    """Steps done of the next one, ..."""
    step: int = 0
    """... and of all."""
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    """Of this epoch so far: loss in nats, comparisons, those of them that have an answer, and that were right."""
    epochs: list[dict[str, float]] = field(default_factory=list)
    """A row an epoch."""
    best_epoch: int = 0
    best_loss: float = float("inf")


class Trainer:
    """A model, its optimiser and where it stands; what each process does alike."""

    def __init__(
        self, model: SiameseCNNRanker, data: Comparisons, fit_rows: NDArray[np.int64], config: E2eConfig,
        accelerator: Accelerator,
    ) -> None:  # fmt: skip
        """`fit_rows` are the comparisons to learn from. Takes the model to its device and precision."""
        self.model, self.config, self.accelerator, self.progress = model, config, accelerator, Progress()
        self.data, self._fit_rows = data, fit_rows
        self.photos = len(np.unique([data.left[fit_rows], data.right[fit_rows]]))
        """Photos of an epoch."""
        self.largest_series = int(photos_of_series(data, fit_rows).max())
        """Photos that go through the network together, at least."""
        self.at_once, self.series = config.batch_photos, np.arange(0)
        """Photos that went through the network last, and the numbers of their series if that was in a step."""
        freeze(model, config)
        layout = torch.channels_last if config.channels_last else torch.preserve_format
        model.to(accelerator.device).to(memory_format=layout)
        self.optimising = Optimising(model, config)
        network: nn.Module = torch.compile(model) if config.compile else model  # type: ignore[assignment]
        self._network = accelerator.prepare_model(network)
        self.sums = torch.zeros(4, device=accelerator.device)
        """As `Progress.sums`, of this process and this epoch."""

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """The comparisons of each step of an epoch; the first is 0."""
        return epoch_batches(self.data, self._fit_rows, self.config.batch_photos, self.config.seed, epoch)

    def parts(self, epoch: int, batch: int, rows: NDArray[np.int64]) -> list[Part]:
        """What this process puts through the network in a step: at least one part, for the others wait for its
        gradients."""
        world, config = self.accelerator.num_processes, self.config
        parts = parts_of(self.data, rows, world * config.accumulate, config.flip, config.seed, epoch, batch)
        mine = parts[self.accelerator.process_index :: world]
        return [part for part in mine if not part.filler] or mine[:1]

    def step(
        self, parts: Sequence[Part], pixels: Iterator[Tensor], comparisons: int, epochs: float, log: bool = False
    ) -> dict[str, Tensor]:
        """One step on this process's parts, each with its pixels (n, 3, size, size) uint8.

        `comparisons` are those of the batch in all processes, `epochs` those done so far. With `log` the norms of the
        gradients, by part of the model.
        """
        train_mode(self.model, self.config, parts[0].filler)
        draws = [self.config.seed, self.progress.step, self.accelerator.process_index]
        torch.manual_seed(int(np.random.SeedSequence(draws).generate_state(1)[0]))  # of dropout
        for number, part in enumerate(parts):
            self.at_once, self.series = len(part.photos), part.series
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self._network):
                loss = self._loss(part, next(pixels))
                # Gradients are averaged over processes; the loss is the mean of all comparisons of the batch.
                self.accelerator.backward(loss * (self.accelerator.num_processes / comparisons))
        norms = self.optimising.norms() if log else {}
        self.optimising.step(rate_factor(self.progress.step, epochs, self.config))
        self.progress.step += 1
        return norms

    def try_step(self, photos: int) -> None:
        """What a step with so many photos at once takes, of memory too; training does not go on after this."""
        train_mode(self.model, self.config)
        side = self.config.window or self.config.size
        pixels = torch.zeros((photos, 3, side, side), dtype=torch.uint8)
        pair = torch.arange(2, device=self.accelerator.device)
        self.model(self._to_device(pixels), pair[:1], pair[1:]).sum().backward()
        self.optimising.step(0.0)

    def _loss(self, part: Part, photos: Tensor) -> Tensor:
        """The sum of the cross entropies (nats) of a part's comparisons against their soft labels."""
        device = self.accelerator.device
        left, right, wanted = (torch.from_numpy(each).to(device) for each in (part.left, part.right, part.p_left))
        logits = self._network(self._seen(part, photos), left, right).float()
        loss = functional.cross_entropy(logits, torch.stack([wanted, 1 - wanted], dim=1), reduction="sum")
        if part.filler:
            return loss * 0
        with torch.no_grad():
            decided = wanted != 0.5
            right_ones = decided & ((logits[:, 0] > logits[:, 1]) == (wanted > 0.5))
            counts = torch.stack([torch.ones_like(wanted).sum(), decided.sum(), right_ones.sum()])
            self.sums += torch.cat([loss.detach()[None], counts])
        return loss

    def _seen(self, part: Part, photos: Tensor) -> Tensor:
        """What the network sees of a part's photos."""
        pixels = self._to_device(photos)
        if self.config.window:
            pixels = cut(pixels, part.place, self.config.window)
        mirrored = torch.from_numpy(part.mirrored).to(pixels.device)
        return torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(3), pixels)

    def _to_device(self, photos: Tensor) -> Tensor:
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        return photos.to(self.accelerator.device, non_blocking=True).contiguous(memory_format=layout)

    @torch.no_grad()
    def settle(self, photos: Photos) -> None:
        """Bring batch norms' means and deviations into step: each process has moved its own by what it saw last. Those
        of the moving average of the weights, which no step computed with, are measured on photos of this epoch. To be
        called by every process before weights are judged or kept."""
        if is_fixed(self.config) or not batch_norms(self.model):
            return
        if not self.optimising.average:
            for each in statistics_of(self.model).values():
                if each.is_floating_point():
                    each.copy_(self.accelerator.reduce(each.float(), "mean"))
            return
        self.optimising.statistics = {}
        parts = self._settling_parts()
        with self.optimising.judging(), measuring(self.model):
            for part, (_, pixels) in zip(parts, photos.batches(each.photos for each in parts), strict=True):
                self.at_once, self.series = len(part.photos), part.series
                self.model.backbone(self._seen(part, pixels))
            statistics = {
                name: self._mean(each, len(parts)) if each.is_floating_point() else each.clone()
                for name, each in statistics_of(self.model).items()
            }
        self.optimising.statistics = statistics

    def _settling_parts(self) -> list[Part]:
        """Some of this process's parts of the epoch."""
        epoch, found, photos = self.progress.epoch, list[Part](), 0
        for number, rows in enumerate(self.batches(epoch)):
            if photos * self.accelerator.num_processes >= _SETTLING_PHOTOS:
                break
            found += [part for part in self.parts(epoch, number, rows) if not part.filler]
            photos = sum(len(part.photos) for part in found)
        return found

    def _mean(self, values: Tensor, parts: int) -> Tensor:
        """Of all processes' means over so many parts each."""
        both = torch.cat([values * parts, torch.full_like(values[:1], parts)])
        total: Tensor = self.accelerator.reduce(both)
        return total[:-1] / total[-1]

    @torch.no_grad()
    def embed(self, photos: Photos, numbers: NDArray[np.int64]) -> Tensor:
        """Features (n, dim) float32, on the processor, of the photos with these numbers (n,), of the weights that are
        judged. Shared among the processes; each gets all."""
        self.model.eval()
        world, index = self.accelerator.num_processes, self.accelerator.process_index
        share = -(-len(numbers) // world)
        mine = np.resize(numbers, share * world)[index::world]  # all of one length
        size = max(1, self.config.batch_photos // self.config.accumulate // world)
        order = [mine[at : at + size] for at in range(0, len(mine), size)]
        self.at_once, self.series = size, np.arange(0)
        found = []
        with self.optimising.judging():
            for chosen, pixels in photos.batches(order):
                features = self.model.backbone(self._to_device(pixels)).float()
                gathered: Tensor = self.accelerator.gather(features)  # process after process
                # A device has no room for the features of all photos.
                found.append(gathered.view(world, len(chosen), -1).transpose(0, 1).flatten(0, 1).cpu())
        return torch.cat(found)[: len(numbers)]

    def judge(self, photos: Photos, rows: NDArray[np.int64]) -> dict[str, float]:
        """Mean loss (nats) and accuracy of the weights that are judged on some comparisons."""
        data = self.data.take(rows)
        numbers = np.unique(np.concatenate([self.data.left[rows], self.data.right[rows]]))
        margins = self.margins(self.embed(photos, numbers), data)
        wanted = torch.from_numpy(data.p_left)
        loss = functional.binary_cross_entropy_with_logits(margins, wanted)
        decided = wanted != 0.5
        correct = ((margins > 0) == (wanted > 0.5))[decided].float().mean()
        return {"loss": float(loss), "accuracy": float(correct)}

    @torch.no_grad()
    def margins(self, features: Tensor, data: Comparisons) -> Tensor:
        """(C,) log odds of the left photo, of the weights that are judged; `features` (N, dim) are of `data`'s
        photos."""
        head, device = self.model.head.eval(), self.accelerator.device
        found = []
        with self.optimising.judging():
            for start in range(0, len(data), _COMPARISONS_AT_ONCE):
                rows = slice(start, start + _COMPARISONS_AT_ONCE)
                photos, at = np.unique(np.stack([data.left[rows], data.right[rows]]), return_inverse=True)
                left, right = torch.from_numpy(at.reshape(2, -1)).to(device)
                space = {SPACE: features[torch.from_numpy(photos)].to(device)}
                found.append(head.margins(space, left, right).cpu())
        return torch.cat(found)

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """Take the weights that an earlier epoch was judged by; training does not go on after this."""
        self.model.load_state_dict(weights)
        with torch.no_grad():
            for name, each in self.optimising.weights.items():  # the model has them in its precision
                each.copy_(weights[name])
        self.optimising.average, self.optimising.statistics = {}, {}

    def is_finite(self) -> bool:
        """Whether every weight is a number: after a step that diverged none may be."""
        return all(bool(torch.isfinite(each).all()) for each in self.optimising.weights.values())

    def weights(self) -> dict[str, Tensor]:
        """All of the model's tensors in float32 on the processor, with the weights that are judged."""
        state = {**self.model.state_dict(), **self.optimising.judged}
        return {name: each.detach().cpu().contiguous() for name, each in state.items()}
