"""The head: a small scorer over stored features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
# A photo far outside what was trained on must not outweigh everything else.
_CLAMP = 6.0


class MultiFeaturePairwiseRanker(nn.Module):
    """Features of a photo in, one score out; `P(left) = sigmoid(score(left) − score(right))` (Bradley and Terry 1952).

    Each space is standardised by the mean and deviation of the training photos; visual spaces are projected, statistics
    join late and are never dropped out. Antisymmetric by construction: both photos pass through the same network.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        roles: Mapping[str, str],
        projection_dim: int = 64,
        mlp_hidden_dims: Sequence[int] = (64, 32),
        dropout: float = 0.1,
        activation: str = "gelu",
    ) -> None:
        """`dims` and `roles` (`visual` or `statistic`) are by space, in the order in which they are fused."""
        super().__init__()
        self.spaces = list(dims)
        self.visual = [space for space in dims if roles[space] == "visual"]
        act = _ACTIVATIONS[activation]
        for i, space in enumerate(self.spaces):
            self.register_buffer(f"mean_{i}", torch.zeros(dims[space]))
            self.register_buffer(f"scale_{i}", torch.ones(dims[space]))
        self.project = nn.ModuleList(
            nn.Sequential(nn.Linear(dims[space], projection_dim), act(), nn.Dropout(dropout)) for space in self.visual
        )
        width = projection_dim * len(self.visual) + sum(dims[space] for space in dims if space not in self.visual)
        layers: list[nn.Module] = []
        for hidden in mlp_hidden_dims:
            layers += [nn.Linear(width, hidden), act(), nn.Dropout(dropout)]
            width = hidden
        self.mlp = nn.Sequential(*layers, nn.Linear(width, 1))

    @torch.no_grad()
    def fit_standardisation(self, features: Mapping[str, Tensor]) -> None:
        """Take mean and deviation from the training photos' features, a (N, dim) tensor a space."""
        for i, space in enumerate(self.spaces):
            values = features[space].double()
            deviation = values.std(0, correction=0)
            # A dimension that never varied says nothing; dividing by its rounding noise would make it say a lot.
            constant = deviation <= 1e-6 * values.abs().amax(0).clamp(min=1e-6)
            self.get_buffer(f"mean_{i}").copy_(values.mean(0))
            self.get_buffer(f"scale_{i}").copy_(torch.where(constant, 0.0, 1 / deviation.clamp(min=1e-12)))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Scores (N,) of photos given as a (N, dim) float tensor a space."""
        standard = {}
        for i, space in enumerate(self.spaces):
            values = (features[space].float() - self.get_buffer(f"mean_{i}")) * self.get_buffer(f"scale_{i}")
            standard[space] = values.clamp(-_CLAMP, _CLAMP)
        projected = [project(standard[space]) for project, space in zip(self.project, self.visual, strict=True)]
        late = [standard[space] for space in self.spaces if space not in self.visual]
        scores: Tensor = self.mlp(torch.cat(projected + late, dim=-1))  # (N, sum of widths) -> (N, 1)
        return scores.squeeze(-1)

    def margins(self, features: Mapping[str, Tensor], left: Tensor, right: Tensor) -> Tensor:
        """(C,) log odds that the photo in row `left` (C,) of `features` is preferred to that in row `right` (C,)."""
        scores: Tensor = self(features)
        return scores[left] - scores[right]
