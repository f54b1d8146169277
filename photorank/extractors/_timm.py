"""What a `cnn` of timm differs in: any model of its registry, with the preprocessing that timm has for the weights.

The vector is the pooled features that the model's classifier would see (`forward_features`, then
`forward_head(pre_logits=True)`), which is all that the model gives once its classifier is reset to none. Only timm
knows its models' sizes and means, so here even describing imports it, and PyTorch with it.
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photorank.config import TORCHVISIONS
from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, Resized, hub, weights
from photorank.photos.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

    from photorank.config import CnnConfig

PRETRAINED = "pretrained"
_CROPS = {"center": "shortest", "squash": "squash", "border": "longest"}  # timm's `crop_mode`, and what does the same


def describe(name: str, config: CnnConfig, precision: str, weights_dir: str | None) -> Feature:
    """The feature space of a timm model's pooled features.

    Raises ConfigError for a model that timm does not know and for options that are torchvision's, WeightsError for
    weights not to be had.
    """
    given = [option for option in TORCHVISIONS if option in config.model_fields_set]
    if given:
        raise ConfigError(
            f"{name}: `{given[0]}` is for torchvision's models; those of timm come with their own preprocessing and "
            f"give the pooled features that their classifier sees: leave it out"
        )
    known = _known(config.model)
    identity, source = weights.identify(
        config.weights, config.seed, lambda tag: _pretrained(config.model, tag, weights_dir), weights_dir
    )
    if source == PRETRAINED:
        source = _full_name(known)
    spec = {
        "kind": "cnn",
        "library": "timm",
        "model": known["architecture"],
        "weights": identity,
        "output": "pooled features before the classifier",
        "preprocessing": _preprocessing(known),
        "precision": precision,
        "decode": config.decode,
        "stored": "float16",
    }
    return Feature(name, spec, role="visual", dtype="float16", source=source)


def needs(config: CnnConfig) -> weights.Needed | None:
    """The weights file, and where it is looked for; nothing is fetched."""
    return weights.needed(config.model, config.weights, _needs)


def preparer(feature: Feature) -> Resized:
    """timm's evaluation transform, as far as it is uint8: (height, width, 3)."""
    known = feature.spec["preprocessing"]
    size, resize = tuple(known["size"]), tuple(known["resize"])
    fill = tuple(round(255 * part) for part in known["mean"])  # timm pads with the mean, and only where all must fit
    preprocess = Preprocessing(known["resize_mode"], resize, size, known["interpolation"])
    if known["resize_mode"] == "longest":
        preprocess = Preprocessing("longest", resize, size, known["interpolation"], fill)
    return Resized(preprocess)


def create(feature: Feature) -> torch.nn.Module:
    """The model, (N, 3, H, W) → (N, D), with its weights loaded and without its classifier.

    WeightsError where the file does not hold all of its weights, ConfigError for a model without pooled features.
    """
    import timm
    import torch

    spec, name = feature.spec, feature.spec["model"]
    overlay = {"input_size": (3, *spec["preprocessing"]["size"])}
    if weights.RANDOM in spec["weights"]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec["weights"][weights.RANDOM])
            model: torch.nn.Module = timm.create_model(name, num_classes=0, pretrained_cfg_overlay=overlay)
        return model
    assert feature.source is not None
    path = weights.locate(feature, lambda model: _pretrained(model, PRETRAINED, feature.weights_dir))
    weights.check_identity(path, spec["weights"])
    return _loaded(name, path, overlay)


def _loaded(name: str, path: Path, overlay: dict[str, Any]) -> torch.nn.Module:
    """The model with a file's weights, by timm's own loading, which renames those of other people's files.

    timm loads strictly, as is wanted here, only into as many classes as it is told that the file has.
    """
    import timm

    state, known = weights.load_state(path), _known(name)
    classifier = known.get("classifier") or ""
    head = state.get(f"{classifier if isinstance(classifier, str) else classifier[0]}.weight")
    first: Exception | None = None
    for classes in [len(head)] if head is not None else dict.fromkeys((known["num_classes"], 0)):
        told = {**overlay, "state_dict": state, "num_classes": classes, "label_offset": None}
        try:
            built: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=told, num_classes=classes)
        except Exception as error:  # what does not fit raises RuntimeError, and timm's renaming many others
            first = first or error
            continue
        built.pretrained_cfg.pop("state_dict")  # a copy of all weights
        built.reset_classifier(0)
        model: torch.nn.Module = built
        return model
    raise WeightsError(f"{path} does not hold weights of {name}: {' '.join(str(first).split())[:200]}") from first


def _known(model: str) -> dict[str, Any]:
    """What timm knows of a model, `architecture` or `architecture.tag`; ConfigError where that is nothing."""
    import timm

    try:
        known = timm.get_pretrained_cfg(model)
    except RuntimeError as error:  # an architecture that it has, a tag that it has not
        architecture = timm.models.get_arch_name(model)
        tags = ", ".join(timm.list_models(f"{architecture}.*", include_tags=True))
        raise ConfigError(f"timm has no model {model!r}; with a tag there are: {tags or 'none'}") from error
    if known is None:
        near = difflib.get_close_matches(model.split(".")[0], timm.list_models(), n=3, cutoff=0.3)
        raise ConfigError(f"timm has no model {model!r}; near it are: {', '.join(near)}")
    found: dict[str, Any] = known.to_dict()
    return found


def _preprocessing(known: dict[str, Any]) -> dict[str, Any]:
    """What timm's evaluation transform does to a photo; sizes are [height, width]."""
    import timm.data

    resolved = timm.data.resolve_data_config(pretrained_cfg=known)
    size = list(resolved["input_size"][1:])
    return {
        "resize_mode": _CROPS[resolved["crop_mode"]],
        "resize": [math.floor(side / resolved["crop_pct"]) for side in size],
        "size": size,
        "interpolation": resolved["interpolation"],
        "mean": list(resolved["mean"]),
        "std": list(resolved["std"]),
    }


def _pretrained(model: str, tag: str, weights_dir: str | None) -> Path:
    """The file of a model's pretrained weights: brought, cached, or (if there is a network) fetched."""
    needed = _needs(model, tag)
    path = weights.brought(weights_dir, needed) or needed.cached
    if path is not None:
        return path
    known = _known(model)
    try:
        if known.get("hf_hub_id"):
            repository, _, revision = known["hf_hub_id"].partition("@")
            return hub.fetch_first(repository, _files(known), revision or None)
        import torch

        path = Path(needed.cache)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(needed.origin, str(path))
        return path
    except Exception as error:  # network, cache and hub errors of three libraries
        raise weights.missing(needed, weights_dir) from error


def _needs(model: str, tag: str) -> weights.Needed:
    if tag != PRETRAINED:
        raise ConfigError(
            f"timm has no weights {tag!r}: they are `pretrained`, a file or `random`, and a tag is part of the model's "
            f"name, as in resnet50.a1_in1k"
        )
    known = _known(model)
    url = known.get("url")
    names = weights.own_names(_full_name(known), tag)
    if known.get("hf_hub_id"):
        repository, _, revision = known["hf_hub_id"].partition("@")
        return weights.in_hub(model, tag, names, repository, _files(known), revision or None)
    if not url:
        raise ConfigError(f"timm has no pretrained weights of {model}: name a file (weights: FILE), or `random`")
    import torch

    url, file = (url, url.rsplit("/", 1)[-1]) if isinstance(url, str) else url
    path = Path(torch.hub.get_dir()) / "checkpoints" / file  # where PyTorch's hub keeps such files
    return weights.Needed(model, tag, (file, *names), str(path), path if path.is_file() else None, url)


def _full_name(known: dict[str, Any]) -> str:
    return f"{known['architecture']}.{known['tag']}" if known.get("tag") else str(known["architecture"])


def _files(known: dict[str, Any]) -> list[str]:
    """What a repository may call the weights, in timm's own order."""
    return [known["hf_hub_filename"]] if known.get("hf_hub_filename") else ["model.safetensors", "pytorch_model.bin"]
