"""How a head is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from photorank.config.features import Strict
from photorank.errors import ConfigError

Activation = Literal["none", "relu", "gelu", "silu", "tanh"]
Width = Annotated[int, Field(ge=1, le=16_384)]
Loss = Literal["bradley_terry", "margin_ranking", "hinge", "fidelity", "listnet", "listmle"]


class HeadConfig(Strict):
    """How `photorank fit-head` trains a head."""

    model_config = ConfigDict(allow_inf_nan=False)

    features: tuple[str, ...] = ()
    """Feature spaces of the store, `name` or `name@fingerprint`; none: every space there is."""
    head: Literal["score", "difference"] = "score"
    """`score`: a score a photo, of which the margin is the difference. `difference`: a network over the difference of
    both photos' features, as published (Chang et al. 2016, Automatic Triage for a Photo Series)."""
    l2_normalise: bool = False
    """Bring each visual vector to length 1 before it is standardised."""
    projection_dim: Width = 64
    """Width to which each visual space is projected before fusion."""
    mlp_hidden_dims: tuple[Width, ...] = (64, 32)
    """Widths of the hidden layers over the fused features; none: a linear head."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """On the projected visual features and hidden layers, alike for all photos of a series; statistics are never
    dropped."""
    activation: Activation = "gelu"
    """Of the projections and hidden layers; `none`: all of the head is linear."""
    loss: Loss = "bradley_terry"
    """See `photorank.training.losses`. `listnet` and `listmle` are over whole series, and need `head: score`."""
    margin: float = Field(default=1.0, gt=0)
    """Log odds by which `margin_ranking` and `hinge` want the preferred photo to lead."""
    min_agreement: float = Field(default=0.0, ge=0, le=1)
    """Comparisons on which a smaller share of people agree, max(p, 1 − p), are not trained on."""
    min_votes: int = Field(default=0, ge=0)
    """Nor those on which fewer people were asked."""
    weights: Literal["none", "votes"] = "none"
    """`votes`: a comparison counts in proportion to the people who were asked."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`."""
    epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=12, ge=1)
    """Epochs without a better loss on the early-stopping slice after which training ends."""
    batch_size: int = Field(default=256, ge=1)
    """Comparisons a step, about: a batch always holds whole series. Fewer where an epoch would have less than about ten
    steps."""
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """In which visual features are projected while training; `auto`: bfloat16 where the processor computes in it."""
    stop_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training series that early stopping looks at, and the temperature is found on; 0: train for all
    epochs."""
    val_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the series held out for the reported figures where the comparisons name no splits."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)


class SweepConfig(HeadConfig):
    """How `photorank sweep` trains heads; of it `fit-head` takes all but the grid."""

    folds: int = Field(default=0, ge=0)
    """Cross-validation by series over the splits train and val; 0: trained on train, reported on val."""
    seeds: int = Field(default=1, ge=1)
    """Trainings of each head, with the seeds `seed`, `seed` + 1, …"""
    grid: dict[str, tuple[Any, ...]] = Field(default={})
    """Option → the values to try; all combinations are trained."""

    def head_config(self) -> HeadConfig:
        """What `fit-head` trains; ConfigError where there is a grid."""
        if self.grid:
            raise ConfigError(f"this config has a grid (of {', '.join(self.grid)}): photorank sweep trains it")
        return HeadConfig.model_validate(self.values({}))

    def values(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What a `HeadConfig` is made of: this one's options, and `changes` to them."""
        return {**self.model_dump(include=set(HeadConfig.model_fields)), **changes}
