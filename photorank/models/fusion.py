"""The head: a small network over stored features, trained on comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh,
}  # fmt: skip
# A photo far outside what was trained on must not outweigh everything else.
_CLAMP = 6.0
_PART = 256
"""Photos that are standardised at once."""


class _Product(torch.autograd.Function):
    """(rows, in) of any float dtype times the transposed weight (out, in), computed in the rows' dtype: (rows, out)
    float32. With `counts`, of a stack: (M, rows, in) times (M, out, in), and of each member so many rows, 0 after them.

    A stack's products are of the very shapes that each member has alone: a batched product rounds otherwise, and in
    bfloat16 the least difference grows until a training ends elsewhere. It would not be faster either. PyTorch's own
    gradient of the weight is transposed, which takes five times as long in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, counts: Sequence[int] | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.counts = counts
        return _rows_by_weight(rows, weight.mT, counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        rows, weight = ctx.saved_tensors
        gradient, counts = gradient.to(rows.dtype), ctx.counts
        of_rows = _rows_by_weight(gradient, weight, counts) if ctx.needs_input_grad[0] else None
        return of_rows, _rows_by_rows(gradient, rows, counts), None


def _rows_by_weight(rows: Tensor, weight: Tensor, counts: Sequence[int] | None) -> Tensor:
    if counts is None:
        return (rows @ weight.to(rows.dtype)).float()
    if len(counts) == 1:  # all of the rows are its own
        return (rows[0] @ weight[0].to(rows.dtype)).float().unsqueeze(0)
    found = torch.zeros(*rows.shape[:-1], weight.shape[-1])
    for place, one, other, count in zip(found, rows, weight, counts, strict=True):
        place[:count] = one[:count] @ other.to(rows.dtype)
    return found


def _rows_by_rows(one: Tensor, other: Tensor, counts: Sequence[int] | None) -> Tensor:
    if counts is None:
        return (one.mT @ other).float()
    if len(counts) == 1:
        return (one[0].mT @ other[0]).float().unsqueeze(0)
    found = torch.empty(len(counts), one.shape[-1], other.shape[-1])
    for place, left, right, count in zip(found, one, other, counts, strict=True):
        place.copy_(left[:count].mT @ right[:count])
    return found


class Linear(nn.Linear):
    """`nn.Linear` over rows of any float dtype, which are multiplied in it, float32 out.

    Parameters may be stacked: weight (M, out, in) and bias (M, out) take (M, rows, in); `counts` then says how many of
    the rows each member has.
    """

    counts: Sequence[int] | None = None

    def forward(self, rows: Tensor) -> Tensor:
        """(..., rows, in) -> (..., rows, out)."""
        product: Tensor = _Product.apply(rows, self.weight, self.counts)
        return product + self.bias.unsqueeze(-2)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose masks can be drawn elsewhere: members of a stack draw each their own."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.draw: Callable[[torch.Size], Tensor] = self._draw

    def forward(self, rows: Tensor) -> Tensor:
        return rows * self.draw(rows.shape) if self.training and self.share else rows

    def _draw(self, shape: torch.Size) -> Tensor:
        return (torch.rand(shape) >= self.share).float() / (1 - self.share)


class MultiFeaturePairwiseRanker(nn.Module):
    """Features of photos in, the log odds with which one is preferred to another out.

    Each space is standardised by the mean and deviation of the training photos; visual spaces are projected, statistics
    join late and are never dropped out. What follows depends on `head`:

    - `score`: an MLP gives each photo one score, and `P(left) = sigmoid(score(left) − score(right))` (Bradley and Terry
      1952).
    - `difference`: an MLP over the difference of both photos' fused features gives two logits, for left and right
      (Chang et al. 2016, Automatic Triage for a Photo Series); both orders of the two photos are averaged.

    Either is antisymmetric by construction: `P(a over b) + P(b over a) = 1`.
    """

    temperature: Tensor
    """() what log odds are divided by, found after training (Guo et al. 2017)."""

    def __init__(
        self,
        dims: Mapping[str, int],
        roles: Mapping[str, str],
        projection_dim: int = 64,
        mlp_hidden_dims: Sequence[int] = (64, 32),
        dropout: float = 0.1,
        activation: str = "gelu",
        head: str = "score",
        l2_normalise: bool = False,
    ) -> None:
        """`dims` and `roles` (`visual` or `statistic`) are by space, in the order in which they are fused.

        `l2_normalise`: each visual vector is brought to length 1 before it is standardised.
        """
        super().__init__()
        self.spaces = list(dims)
        self.visual = [space for space in dims if roles[space] == "visual"]
        self.head, self.l2_normalise = head, l2_normalise
        act = _ACTIVATIONS[activation]
        for i, space in enumerate(self.spaces):
            self.register_buffer(f"mean_{i}", torch.zeros(dims[space]))
            self.register_buffer(f"scale_{i}", torch.ones(dims[space]))
        self.register_buffer("temperature", torch.ones(()))
        self.project = nn.ModuleList(
            nn.Sequential(Linear(dims[space], projection_dim), Dropout(dropout)) for space in self.visual
        )
        width = projection_dim * len(self.visual) + sum(dims[space] for space in dims if space not in self.visual)
        layers: list[nn.Module] = []
        for hidden in mlp_hidden_dims:
            layers += [Linear(width, hidden), act(), Dropout(dropout)]
            width = hidden
        self.mlp = nn.Sequential(*layers, Linear(width, 1 if head == "score" else 2))

    @torch.no_grad()
    def fit_standardisation(self, features: Mapping[str, Tensor]) -> None:
        """Take mean and deviation from the training photos' features, a (N, dim) tensor a space."""
        for i, space in enumerate(self.spaces):
            # In parts that stay in the processor's cache, or copies in double precision would take most of the time.
            parts = torch.split(features[space], _PART)
            count, dim = len(features[space]), features[space].shape[1]
            mean, square, most = (torch.zeros(dim, dtype=torch.float64) for _ in range(3))
            for part in parts:
                values = self._normalised(space, part).double()
                mean += values.sum(0) / count
                torch.maximum(most, values.abs().amax(0), out=most)
            for part in parts:
                square += (self._normalised(space, part).double() - mean).square_().sum(0) / count
            deviation = square.sqrt()
            # A dimension that never varied says nothing; dividing by its rounding noise would make it say a lot.
            constant = deviation <= 1e-6 * most.clamp(min=1e-6)
            self.get_buffer(f"mean_{i}").copy_(mean)
            self.get_buffer(f"scale_{i}").copy_(torch.where(constant, 0.0, 1 / deviation.clamp(min=1e-12)))

    def standardise(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The (N, dim) tensors of each space as what `fuse` takes, float32."""
        return {
            space: (self._normalised(space, features[space]) - self.get_buffer(f"mean_{i}"))
            .mul_(self.get_buffer(f"scale_{i}"))
            .clamp_(-_CLAMP, _CLAMP)
            for i, space in enumerate(self.spaces)
        }

    def fuse(self, standard: Mapping[str, Tensor]) -> Tensor:
        """Standardised features, (..., N, dim) a space, projected and joined: (..., N, sum of widths) float32."""
        projected = [project(standard[space]) for project, space in zip(self.project, self.visual, strict=True)]
        late = [standard[space] for space in self.spaces if space not in self.visual]
        return torch.cat(projected + late, dim=-1)

    def score_of(self, fused: Tensor) -> Tensor:
        """Scores (..., N) of fused photos (..., N, width), before the temperature; for `head: score` only."""
        scores: Tensor = self.mlp(fused)  # (..., N, width) -> (..., N, 1)
        return scores.squeeze(-1)

    def compare(self, fused: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Log odds (..., C), before the temperature, that row `left` (..., C) of `fused` is preferred to `right`."""
        if self.head == "score":
            scores = self.score_of(fused)
            return scores.gather(-1, left) - scores.gather(-1, right)
        index = torch.stack([left, right]).unsqueeze(-1)  # (2, ..., C, 1)
        ends = [fused.gather(-2, side.expand(*side.shape[:-1], fused.shape[-1])) for side in index]
        difference = ends[0] - ends[1]
        logits: Tensor = self.mlp(difference) - self.mlp(-difference)  # (..., C, width) -> (..., C, 2)
        return (logits[..., 0] - logits[..., 1]) / 2

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Scores (N,) of photos given as a (N, dim) float tensor a space; for `head: score` only."""
        return self.score_of(self.fuse(self.standardise(features))) / self.temperature

    def margins(self, features: Mapping[str, Tensor], left: Tensor, right: Tensor) -> Tensor:
        """(C,) log odds that the photo in row `left` (C,) of `features` is preferred to that in row `right` (C,)."""
        return self.compare(self.fuse(self.standardise(features)), left, right) / self.temperature

    def _normalised(self, space: str, values: Tensor) -> Tensor:
        if self.l2_normalise and space in self.visual:
            return functional.normalize(values.float(), dim=-1)
        return values.float()
