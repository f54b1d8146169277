"""The image tower of any open_clip model: one L2-normalised embedding a photo.

Preprocessing is the one that open_clip ships with the model and its weights (Radford et al. 2021 for most: the shorter
side to the input size, bicubic, centre crop, the OpenAI mean and deviation).
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, Prepared, Resized, hub, weights
from photorank.extractors.device import Forward, resolve_device
from photorank.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

    from photorank.config import ClipConfig

# open_clip's defaults (open_clip/constants.py), here so that describing a random model imports no torch.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def describe(name: str, config: ClipConfig, precision: str, weights_dir: str | None = None) -> Feature:
    """The feature space of an open_clip model's image embeddings.

    Raises ConfigError for an architecture or tag that open_clip does not know, WeightsError for weights not to be had.
    """
    from_hub = hub.read_config(config.model, weights_dir) if hub.is_hub(config.model) else None
    architecture = from_hub["model_cfg"] if from_hub is not None else _architecture(config.model)
    preprocessing: dict[str, Any] = {
        "size": architecture["vision_cfg"].get("image_size", 224),
        "mean": list(_MEAN),
        "std": list(_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    identity, source = weights.identify(
        _weights(config), config.seed, lambda tag: _pretrained(config.model, tag, weights_dir), weights_dir
    )
    quick_gelu = bool(architecture.get("quick_gelu", False))
    if from_hub is not None:
        known = from_hub.get("preprocess_cfg") or {}
        preprocessing.update({key: known[key] for key in preprocessing if key != "size" and known.get(key) is not None})
    elif source is not None and not weights.is_file(source):
        known = _tag(config.model, source)
        # Weights trained with QuickGELU need it; open_clip by itself warns and goes on with the other activation.
        quick_gelu = quick_gelu or bool(known.get("quick_gelu", False))
        changed = ("mean", "std", "interpolation", "resize_mode")
        preprocessing.update({key: known[key] for key in changed if known.get(key)})
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
    return weights.needed(config.model, _weights(config), _needs)


def _weights(config: ClipConfig) -> str:
    """The config's weights; a hub's repository has its own and no tags."""
    if not hub.is_hub(config.model) or config.weights == weights.RANDOM or weights.is_file(config.weights):
        return config.weights
    if config.weights != type(config).model_fields["weights"].default:  # a resolved config has the default written out
        raise ConfigError(
            f"{config.model} has weights of its own and no tag {config.weights!r}; leave `weights` out, or name a file"
        )
    return hub.OWN


class Clip:
    """An open_clip model on a device; see `photorank.extractors.Extractor`."""

    def __init__(self, feature: Feature, device: str, batch_size: int) -> None:
        import torch

        self.device = resolve_device(device)
        dtype: torch.dtype = getattr(torch, feature.spec["precision"])
        model: Any = _create(feature)
        encode = model.to(self.device, dtype).eval().encode_image
        self._forward = Forward(encode, feature.spec, preparer(feature), self.device, batch_size)

    def embed(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Unit vectors (n, dim) float32."""
        import torch.nn.functional as functional

        return functional.normalize(self._forward(prepared), dim=-1).numpy()


def build(feature: Feature, device: str, batch_size: int) -> Clip:
    """The model, with its weights loaded."""
    return Clip(feature, device, batch_size)


def preparer(feature: Feature) -> Resized:
    """open_clip's own preprocessing, as far as it is uint8: (height, width, 3)."""
    known = feature.spec["preprocessing"]
    size = tuple(known["size"]) if isinstance(known["size"], list) else (known["size"], known["size"])
    preprocess = Preprocessing(known["resize_mode"], size, size, known["interpolation"], (known["fill_color"],) * 3)
    return Resized(preprocess)


def _create(feature: Feature) -> torch.nn.Module:
    import open_clip
    import torch

    spec, name = feature.spec, feature.spec["model"]
    if hub.is_hub(name):
        name = hub.register(spec, feature.weights_dir)
    quiet = _SilencedRootLog()  # open_clip warns about random weights; photorank has said so itself
    if weights.RANDOM in spec["weights"]:
        with torch.random.fork_rng(devices=[]), quiet:
            torch.manual_seed(spec["weights"][weights.RANDOM])
            model: torch.nn.Module = open_clip.create_model(name, pretrained=None)
        return model
    assert feature.source is not None
    path = weights.locate(feature, lambda tag: _pretrained(spec["model"], tag, feature.weights_dir))
    is_tag = not weights.is_file(feature.source) and not hub.is_hub(spec["model"])
    cached = _needs(name, feature.source).cached if is_tag else None
    weights.check_identity(path, spec["weights"])
    try:
        # By tag where open_clip fetched it, so that it applies what belongs to the tag; it reads the same file.
        tag = feature.source if path == cached else str(path)
        with quiet:
            model = open_clip.create_model(name, pretrained=tag, force_quick_gelu=spec["quick_gelu"])
    except Exception as error:  # state dicts that do not fit raise RuntimeError, unreadable ones many others
        raise WeightsError(
            f"{path} does not hold weights of {spec['model']}: {' '.join(str(error).split())[:200]}"
        ) from error
    return model


class _SilencedRootLog(logging.Filter):
    """While entered, the root logger passes nothing below an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    def __enter__(self) -> None:
        logging.getLogger().addFilter(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeFilter(self)


def _architecture(model: str) -> dict[str, Any]:
    """open_clip's own config of a model, read from the installed package without importing it."""
    found = importlib.util.find_spec("open_clip")
    assert found is not None and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "model_configs"
    file = folder / f"{model.replace('/', '-')}.json"
    if not file.is_file():
        import difflib

        near = difflib.get_close_matches(model, [each.stem for each in folder.glob("*.json")], n=3, cutoff=0.3)
        raise ConfigError(f"open_clip has no model {model!r}; near it are: {', '.join(near)}")
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def _tag(model: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of a pretrained tag."""
    import open_clip

    known: dict[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise ConfigError(f"open_clip has no weights {tag!r} for {model}; the tags are: {tags}")
    return known


def _pretrained(model: str, tag: str, weights_dir: str | None) -> Path:
    """The file of a tag: brought, cached, or (if there is a network) fetched."""
    import open_clip

    needed = _needs(model, tag)
    path = weights.brought(weights_dir, needed) or needed.cached
    if path is not None:
        return path
    known = _tag(model, tag) if not hub.is_hub(model) else {}
    try:
        if not known:
            return hub.fetch(model)
        if known.get("hf_hub"):
            hub.reach()
        return Path(open_clip.download_pretrained(known))
    except Exception as error:  # network, cache and hub errors of four libraries
        raise weights.missing(needed, weights_dir) from error


def _needs(model: str, tag: str) -> weights.Needed:
    if hub.is_hub(model):
        return hub.needs(model)
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    known = _tag(model, tag)
    names = weights.own_names(model, tag)
    # "organisation/name/", a file's name may follow.
    repository, _, file = known.get("hf_hub", "").rpartition("/")
    if repository:
        return weights.in_hub(
            model, tag, names, repository, [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
        )
    # Tags with a plain URL open_clip caches itself.
    path = Path("~/.cache/clip").expanduser() / known["url"].rpartition("/")[2]
    return weights.Needed(model, tag, (*names, path.name), str(path), path if path.is_file() else None, known["url"])
