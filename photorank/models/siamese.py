"""The Siamese ranker: a trainable backbone over pixels, and a head over the difference of two photos' features.

Chang, Yu, Wang, Ashley, Finkelstein (2016), Automatic Triage for a Photo Series: both photos pass through one network,
their features are subtracted, and a small network tells from the difference which one people prefer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from photorank.errors import ConfigError

SPACE = "e2e"
"""What the features of a backbone are called, among the features of a run and in a store."""
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh,
}  # fmt: skip
# torchvision/transforms/_presets.py
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PairHead(nn.Module):
    """Features of photos in, preferences out. `difference`: an MLP over left − right gives two logits, whose softmax is
    (P(left), P(right)). `score`: an MLP gives each photo one score, and P(left) = sigmoid(s_left − s_right)."""

    def __init__(
        self, dim: int, mlp_hidden_dims: Sequence[int], dropout: float, activation: str,
        head: Literal["difference", "score"],
    ) -> None:  # fmt: skip
        super().__init__()
        self.head: str = head
        layers: list[nn.Module] = []
        for hidden in mlp_hidden_dims:
            layers += [nn.Linear(dim, hidden), _ACTIVATIONS[activation](), nn.Dropout(dropout)]
            dim = hidden
        self.mlp = nn.Sequential(*layers, nn.Linear(dim, 2 if head == "difference" else 1))

    def logits(self, features: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """(C, 2) logits of the photos in rows `left` and `right` (C,) of `features` (N, dim)."""
        if self.head == "difference":
            found: Tensor = self.mlp(features[left].float() - features[right].float())
            return found
        scores = self.mlp(features.float()).squeeze(-1)  # (N,)
        return torch.stack([scores[left], scores[right]], dim=-1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Scores (N,) of photos; only of a `score` head."""
        scores: Tensor = self.mlp(features[SPACE].float())
        return scores.squeeze(-1)

    def margins(self, features: Mapping[str, Tensor], left: Tensor, right: Tensor) -> Tensor:
        """(C,) log odds that the photo in row `left` (C,) is preferred to that in row `right` (C,), antisymmetric: what
        a `difference` head says of both orders, averaged."""
        values = features[SPACE]
        forth, back = self.logits(values, left, right), self.logits(values, right, left)
        return ((forth[:, 0] - forth[:, 1]) - (back[:, 0] - back[:, 1])) / 2


class SiameseCNNRanker(nn.Module):
    """Pixels in, preferences out. `cnn_backbone`: `vgg16` (4096-d, fc7 after its ReLU), `resnet50` (2048-d), or any
    timm model (its pooled features). A batch holds each photo once, however many comparisons it is in."""

    def __init__(
        self,
        cnn_backbone: str = "vgg16",
        mlp_hidden_dims: Sequence[int] = (128, 128),
        dropout: float = 0.0,
        activation: str = "tanh",
        use_paper_preprocessing: bool = True,
        padding_mean_color: tuple[float, float, float] = (0.460, 0.450, 0.430),
        head: Literal["difference", "score"] = "difference",
    ) -> None:
        """The last two say what `fit` the photos are to be given in. Weights are drawn from PyTorch's generator."""
        super().__init__()
        self.backbone = Backbone(cnn_backbone, dropout)
        self.head = PairHead(self.backbone.dim, mlp_hidden_dims, dropout, activation, head)
        fill = tuple(round(255 * part) for part in padding_mean_color)
        self.fill: tuple[int, ...] | None = fill if use_paper_preprocessing else None
        """RGB of what photos are padded with; None: they are cut."""

    def forward(self, photos: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """(C, 2) logits of comparisons `left`, `right` (C,) of `photos` (N, 3, H, W) uint8."""
        logits: Tensor = self.head.logits(self.backbone(photos), left, right)
        return logits


class Backbone(nn.Module):
    """Photos (N, 3, H, W) uint8 in, features (N, dim) out, in the network's precision."""

    def __init__(self, name: str, dropout: float = 0.0) -> None:
        """`dropout` is that between VGG16's fully connected layers."""
        super().__init__()
        self.network, self.dim, mean, std = _build(name, dropout)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        """(N, dim)."""
        # The operations of torchvision's ToTensor and Normalize, in their order.
        pixels = photos.float().div_(255).sub_(self.get_buffer("mean")).div_(self.get_buffer("std"))
        # A network has the precision of its convolutions: its batch norms keep float32.
        weight = next(each for each in self.network.parameters() if each.ndim > 1)
        features: Tensor = self.network(pixels.to(weight.dtype))
        return features


def usual_size(backbone: Backbone) -> int:
    """Pixels of the square that the network was made for, and many networks of timm insist on."""
    import timm

    known: dict[str, Any] = timm.data.resolve_model_data_config(backbone.network)  # of torchvision's networks 224
    return int(known["input_size"][-1])


def to_precision(module: nn.Module, precision: torch.dtype) -> nn.Module:
    """The module with its weights in `precision`, but for batch norms, which are left alone: means that move by little
    want float32."""
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    kept = [each.state_dict() for each in norms]
    module.to(precision)
    for each, state in zip(norms, kept, strict=True):
        each.float().load_state_dict(state)  # not what was rounded on the way
    return module


def _build(name: str, dropout: float) -> tuple[nn.Module, int, Sequence[float], Sequence[float]]:
    """A network without its classifier, the width of its features, mean and deviation of its input in [0, 1]."""
    from torchvision import models

    network: Any
    if name == "vgg16":
        network = models.vgg16(dropout=dropout)
        network.classifier = network.classifier[:5]  # fc6, ReLU, dropout, fc7, ReLU
        return network, 4096, _MEAN, _STD
    if name == "resnet50":
        network = models.resnet50()
        network.fc = nn.Identity()
        return network, 2048, _MEAN, _STD
    import timm

    _refuse_unknown(name)
    try:
        network = timm.create_model(name, num_classes=0)
    except (OSError, ValueError) as error:
        raise ConfigError(f"timm cannot make {name!r} ({' '.join(str(error).split())[:200]}); name another") from error
    known = timm.data.resolve_model_data_config(network)
    return network, getattr(network, "head_hidden_size", network.num_features), known["mean"], known["std"]


def _refuse_unknown(name: str) -> None:
    """ConfigError for what timm would look for elsewhere than among its own models: on a hub, in a folder."""
    import timm

    unknown = f"{name!r} is neither vgg16, resnet50 nor a model of timm"
    if not timm.is_model(name):
        plain = name.rsplit("/", 1)[-1]
        hint = f"; is it {plain!r}? Models are named without the hub's name" if timm.is_model(plain) else ""
        raise ConfigError(f"{unknown}; see timm.list_models(){hint}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # a tag that the architecture has not
        raise ConfigError(f"{unknown} ({error}); see timm.list_models(pretrained=True)") from error
