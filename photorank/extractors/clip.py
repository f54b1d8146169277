"""The image tower of any open_clip model: one L2-normalised embedding a photo.

Preprocessing is the one that open_clip ships with the model and its weights (Radford et al. 2021 for most: the shorter
side to the input size, bicubic, centre crop, the OpenAI mean and deviation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from photorank.errors import ConfigError
from photorank.extractors import Feature, Resized, _open_clip, hub, weights
from photorank.extractors.device import Forward, resolve_device
from photorank.extractors.memory import memory_for
from photorank.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

    from photorank.config import ClipConfig


def describe(name: str, config: ClipConfig, precision: str, weights_dir: str | None = None) -> Feature:
    """The feature space of an open_clip model's image embeddings.

    Raises ConfigError for an architecture or tag that open_clip does not know, WeightsError for weights not to be had.
    """
    from_hub = hub.read_config(config.model, weights_dir) if hub.is_hub(config.model) else None
    architecture = from_hub["model_cfg"] if from_hub is not None else _open_clip.architecture(config.model)
    preprocessing: dict[str, Any] = {
        "size": architecture["vision_cfg"].get("image_size", 224), **_open_clip.PREPROCESSING, "fill_color": 0
    }  # fmt: skip
    identity, source = weights.identify(
        _weights(config), config.seed, lambda tag: _open_clip.pretrained(config.model, tag, weights_dir), weights_dir
    )
    quick_gelu = bool(architecture.get("quick_gelu", False))
    if from_hub is not None:
        if config.tag is not None:
            raise ConfigError(f"{config.model} has a preprocessing of its own and no tags; leave `tag` out")
        known = from_hub.get("preprocess_cfg") or {}
        preprocessing.update({key: known[key] for key in preprocessing if key != "size" and known.get(key) is not None})
    elif (tag := _tag(config, source)) is not None:
        known = _open_clip.known_tag(config.model, tag)
        # Weights trained with QuickGELU need it; open_clip by itself warns and goes on with the other activation.
        quick_gelu = quick_gelu or bool(known.get("quick_gelu", False))
        preprocessing.update(_open_clip.preprocessing_of(known))
    elif source is not None:
        _open_clip.warn_of_unknown(config.model, source, quick_gelu)
    spec = {
        "kind": "clip",
        "library": "open_clip",
        "model": config.model,
        "weights": identity,
        "quick_gelu": quick_gelu,
        "output": "image embedding, L2-normalised",
        "preprocessing": preprocessing,
        "precision": precision,
        "decode": config.decode,
        "stored": "float16",
    }
    if from_hub is not None:  # open_clip's own models are known by their name
        spec["architecture"] = hub.architecture(architecture)
    return Feature(name, spec, role="visual", dtype="float16", source=source)


def needs(config: ClipConfig) -> weights.Needed | None:
    """The weights file, and where it is looked for; nothing is fetched."""
    return weights.needed(config.model, _weights(config), _open_clip.needs)


def _weights(config: ClipConfig) -> str:
    """The config's weights; a hub's repository has its own and no tags."""
    if not hub.is_hub(config.model) or config.weights == weights.RANDOM or weights.is_file(config.weights):
        return config.weights
    if config.weights != type(config).model_fields["weights"].default:  # a resolved config has the default written out
        raise ConfigError(
            f"{config.model} has weights of its own and no tag {config.weights!r}; leave `weights` out, or name a file"
        )
    return hub.OWN


def _tag(config: ClipConfig, source: str | None) -> str | None:
    """The tag that weights are of: their own, or of a file the one that the config or its name says."""
    if config.tag is not None and (source is None or not weights.is_file(source)):
        raise ConfigError(f"`tag` says what a weights file is, and {config.weights!r} is none; leave `tag` out")
    if source is None or not weights.is_file(source):
        return source
    return config.tag or _open_clip.tag_of_file(config.model, source)


def build(feature: Feature, device: str, batch_size: int) -> Forward:
    """The model, with its weights loaded; its vectors are unit vectors."""
    import torch
    import torch.nn.functional as functional

    device = resolve_device(device)
    dtype: torch.dtype = getattr(torch, feature.spec["precision"])
    model: Any = _open_clip.create(feature)

    def encode(batch: torch.Tensor) -> torch.Tensor:
        return functional.normalize(model.encode_image(batch).float(), dim=-1)

    with memory_for(feature.spec["model"], device):
        model.to(device, dtype).eval()
        return Forward(encode, feature.spec, preparer(feature), device, batch_size)


def preparer(feature: Feature) -> Resized:
    """open_clip's own preprocessing, as far as it is uint8: (height, width, 3)."""
    known = feature.spec["preprocessing"]
    size = tuple(known["size"]) if isinstance(known["size"], list) else (known["size"], known["size"])
    preprocess = Preprocessing(known["resize_mode"], size, size, known["interpolation"], (known["fill_color"],) * 3)
    return Resized(preprocess)
