"""How a Siamese ranker is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from photorank.config.features import Fraction, Strict
from photorank.config.head import Activation

_WEIGHTS = {"vgg16": "IMAGENET1K_V1", "resnet50": "IMAGENET1K_V2"}

OF_THE_MACHINE = {"accumulate", "channels_last", "compile", "device", "workers", "checkpoint_steps", "log_steps"}
"""Options that say how a training is done, not which: they may change when it is gone on with."""


def _default_weights(known: dict[str, Any]) -> str:
    return _WEIGHTS.get(known["cnn_backbone"], "pretrained")


class E2eConfig(Strict):
    """How `photorank e2e` trains a Siamese ranker on pixels."""

    cnn_backbone: str = "vgg16"
    """`vgg16` (its fc7 after the ReLU, 4096 numbers), `resnet50` (2048), or any timm model (its pooled features)."""
    mlp_hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = (128, 128)
    """Widths of the head's hidden layers; none: a linear head."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On the head's hidden layers, and between VGG16's fully connected layers."""
    activation: Activation = "tanh"
    """After the head's hidden layers."""
    use_paper_preprocessing: bool = True
    """The longer side to `size`, padded with `padding_mean_color`, so that all of a photo is seen (Chang et al. 2016);
    false: the shorter side to `size`, the square cut from the centre."""
    padding_mean_color: tuple[Fraction, Fraction, Fraction] = (0.460, 0.450, 0.430)
    """Red, green and blue in [0, 1], rounded to 8 bits: the mean colour of the training photos."""
    size: int = Field(default=224, ge=1)
    """Pixels of the square that the network sees."""
    decode: Literal["exact", "fast"] = "exact"
    """`exact`: every pixel is decoded. `fast`: fewer of a large JPEG, as for `extract`."""
    head: Literal["difference", "score"] = "difference"
    """`difference`: features' difference → MLP → two logits, as in the paper. `score`: features → MLP → one score a
    photo, whose difference is the log odds (Bradley and Terry 1952)."""
    weights: str = Field(default_factory=_default_weights)
    """Where the backbone begins: a tag of torchvision, `pretrained` for timm, a local file, or `random`."""

    epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=5, ge=1)
    """Epochs without a better loss on the early-stopping slice after which training ends."""
    batch_photos: int = Field(default=64, ge=2)
    """Photos a step, at most, over all processes; a batch holds whole series, a larger series is one by itself."""
    accumulate: int = Field(default=1, ge=1)
    """Parts in which a batch goes through the network, one after the other: less memory, the same step."""
    optimiser: Literal["sgd", "adamw"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Of the backbone."""
    head_factor: float = Field(default=10.0, gt=0)
    """The head's learning rate is so many times the backbone's."""
    weight_decay: float = Field(default=0.0, ge=0)
    norm_weight_decay: float = Field(default=0.0, ge=0)
    """Of norms and biases."""
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    """`cosine`: to 0 at the end of `epochs`; `step`: times `step_factor` after every `step_epochs`."""
    step_epochs: int = Field(default=10, ge=1)
    step_factor: float = Field(default=0.1, gt=0, le=1)
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rates grow from nothing, linearly."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest norm of all gradients together; 0: they are as they are."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay a step of the moving average of the weights, which is then what is judged and kept; 0: none."""
    freeze: Literal["none", "conv", "all"] = "none"
    """`none`: everything trains; `conv`: only fully connected layers do; `all`: only the head does."""
    freeze_batch_norm: bool = False
    """Batch norms keep the means and deviations that they begin with."""
    flip: bool = True
    """Mirror half of the series, all photos of a series alike. Never blur or exposure: that is what is judged."""
    window: int = Field(default=0, ge=0)
    """Train on a square of so many of the `size` pixels (Krizhevsky et al. 2012), somewhere, in all photos of a series
    at the same place; judged is the whole. 0: train on the whole too."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in; the optimiser's weights are float32 always."""
    channels_last: bool = True
    """Pixels of a photo lie together in memory: quicker convolutions on processors and tensor cores."""
    compile: bool = False
    """Compile the network (`torch.compile`): minutes at the start, faster steps on a GPU."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto`: the accelerator if there is one."""
    workers: int = Field(default=0, ge=0)
    """Processes that read and decode photos, of each process that trains; 0: one a processor core of the machine
    in all."""
    checkpoint_steps: int = Field(default=200, ge=1)
    """A killed training loses at most so many steps."""
    log_steps: int = Field(default=10, ge=1)
    """Steps between two points of TensorBoard's curves; the end of an epoch is one too."""
    stop_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training series that early stopping looks at; 0: train for all epochs."""
    val_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the series held out for the reported figures where the comparisons name no splits."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)

    @field_validator("window")
    @classmethod
    def _fits(cls, window: int, info: ValidationInfo) -> int:
        if window > info.data.get("size", window):
            raise ValueError(f"a window is not larger than the photos that it is of, whose size is {info.data['size']}")
        return window
