"""How a head is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from photorank.config_features import Strict

Activation = Literal["none", "relu", "gelu", "silu", "tanh"]


class HeadConfig(Strict):
    """How `photorank fit-head` trains a head."""

    features: tuple[str, ...] = ()
    """Feature spaces of the store, `name` or `name@fingerprint`; none: every space there is."""
    head: Literal["score", "difference"] = "score"
    """`score`: a score a photo, of which the margin is the difference. `difference`: a network over the difference of
    both photos' features, as published (Chang et al. 2016, Automatic Triage for a Photo Series)."""
    l2_normalise: bool = False
    """Bring each visual vector to length 1 before it is standardised."""
    projection_dim: int = Field(default=64, ge=1)
    """Width to which each visual space is projected before fusion."""
    mlp_hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    """Widths of the hidden layers over the fused features; none: a linear head."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """On the projected visual features and hidden layers; statistics are never dropped."""
    activation: Activation = "gelu"
    epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=12, ge=1)
    """Epochs without a better loss on the early-stopping slice after which training ends."""
    batch_size: int = Field(default=256, ge=1)
    """Comparisons a step, at least; a batch always holds whole series."""
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    stop_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training series that early stopping looks at; 0: train for all epochs."""
    val_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the series held out for the reported figures where the comparisons name no splits."""
    seed: int = Field(default=0, ge=0)
