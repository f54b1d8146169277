"""A torchvision classifier up to a named layer: maps are averaged over the picture's area, vectors taken as they are.
Or a timm model's pooled features: what is different for these is in `photorank.extractors._timm`.

Preprocessing is the classic ImageNet evaluation unless asked otherwise (see `photorank.config.CnnConfig`): the shorter
side to `resize` pixels (bilinear, antialiased), a centre square of `size`, torchvision's mean and deviation. A timm
model has timm's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from photorank.extractors import Feature, Resized, _layer, _timm, _torchvision, weights
from photorank.extractors.device import Forward, photos_at_once, resolve_device
from photorank.extractors.memory import memory_for
from photorank.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

    from photorank.config import CnnConfig

# torchvision/transforms/_presets.py
_MEAN = [0.485, 0.456, 0.406]
_STD = [0.229, 0.224, 0.225]


def describe(name: str, config: CnnConfig, precision: str, weights_dir: str | None = None) -> Feature:
    """The feature space of a torchvision model's layer, or of a timm model's pooled features.

    Raises ConfigError for a model or tag that the library does not know, WeightsError for weights not to be had. The
    layer is checked when the model is built.
    """
    if config.library == "timm":
        return _timm.describe(name, config, precision, weights_dir)
    identity, source = weights.identify(
        config.weights, config.seed, lambda tag: _torchvision.pretrained(config.model, tag, weights_dir), weights_dir
    )
    preprocessing: dict[str, Any] = {**fit(config), "size": config.size, "mean": _MEAN, "std": _STD}
    if _torchvision.transforms_input(config.model, source, identity):
        preprocessing["transform_input"] = True
    spec = {
        "kind": "cnn",
        "library": "torchvision",
        "model": config.model,
        "layer": config.layer,
        "weights": identity,
        "output": "mean over the picture's area",
        "preprocessing": preprocessing,
        "precision": precision,
        "decode": config.decode,
        "stored": "float16",
    }
    return Feature(name, spec, role="visual", dtype="float16", source=source)


def needs(config: CnnConfig) -> weights.Needed | None:
    """The weights file, and where it is looked for; nothing is fetched."""
    if config.library == "timm":
        return _timm.needs(config)
    return weights.needed(config.model, config.weights, _torchvision.needs)


def build(feature: Feature, device: str, batch_size: int) -> Forward:
    """The model, with its weights loaded and cut after the layer."""
    import torch

    spec, device = feature.spec, resolve_device(device)
    model: Any = network(feature)
    averaged = {4: (2, 3), 3: (1,)}  # what of (N, C, H, W) maps and of (N, tokens, C) is averaged over
    if not _is_timms(feature):
        model, axis = _layer.cut(model, spec["model"], spec["layer"], spec["preprocessing"]["size"])
        _fold_norms(model)
        averaged = {4: (2, 3), 3: (2,)} if axis == _layer.FIRST else {4: (1, 2), 3: (1,)}

    def pooled(batch: torch.Tensor) -> torch.Tensor:
        found = model(batch)
        out: torch.Tensor = found["out"] if isinstance(found, dict) else found  # torchvision's nodes come by name
        return out.mean(averaged[out.ndim]) if out.ndim > 2 else out

    with memory_for(spec["model"], device):
        # Channels-last convolutions are the quicker ones on CPUs and on tensor cores.
        model = model.to(device, getattr(torch, spec["precision"])).to(memory_format=torch.channels_last).eval()
        return Forward(pooled, spec, preparer(feature), device, photos_at_once(model, device, batch_size))


def preparer(feature: Feature) -> Resized:
    """The preprocessing as far as it is uint8: (height, width, 3) of the size that the network sees."""
    if _is_timms(feature):
        return _timm.preparer(feature)
    return square(feature.spec["preprocessing"])


def square(known: dict[str, Any]) -> Resized:
    """The preparer of a network that sees a square of `size` pixels: padded with the RGB `pad`, or cut after the
    shorter side was brought to `resize`."""
    size = (known["size"],) * 2
    if "pad" in known:
        return Resized(Preprocessing("longest", size, size, fill=tuple(known["pad"])))
    return Resized(Preprocessing("shortest", (known["resize"],) * 2, size))


def network(feature: Feature) -> torch.nn.Module:
    """The whole model with its weights loaded: of torchvision with its classifier, of timm without."""
    return _timm.create(feature) if _is_timms(feature) else _torchvision.create(feature)


def _is_timms(feature: Feature) -> bool:
    return bool(feature.spec["library"] == "timm")


def fit(config: CnnConfig) -> dict[str, Any]:
    """What a spec says of how a photo is made to fit; what does the same is said in the same words."""
    if config.preprocessing == "paper":
        return {"pad": [round(255 * part) for part in config.padding_mean_color]}
    return {"resize": config.size if config.preprocessing == "scale_crop" else config.resize}


def _fold_norms(cut: Any) -> None:
    """Make each batch normalisation that follows a convolution part of its weights, as Jacob et al. 2018 do (section
    3.2): a pass less over the largest maps. `cut`: a traced model in evaluation mode, of float32 still."""
    import torch

    for node in cut.graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, torch.fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        convolution, norm = cut.get_submodule(before.target), cut.get_submodule(node.target)
        if isinstance(convolution, torch.nn.Conv2d) and isinstance(norm, torch.nn.BatchNorm2d):
            cut.set_submodule(before.target, torch.nn.utils.fuse_conv_bn_eval(convolution, norm))
            cut.set_submodule(node.target, torch.nn.Identity())
