"""torchvision's classifiers: built as torchvision builds them for their weights, and where those are to be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, weights

if TYPE_CHECKING:
    import torch

_TRANSFORMING = ("googlenet", "inception_v3")
_POSITIONS = "encoder.pos_embedding"


def transforms_input(model: str, source: str | None, identity: dict[str, Any]) -> bool:
    """Whether weights want the input transformed once more by the network itself: torchvision's own ones of GoogLeNet
    and Inception were ported from a library with another mean and deviation.

    `source`, `identity`: as `weights.identify` gives them. A file is torchvision's by its name or its sha256.
    """
    if model.lower() not in _TRANSFORMING or source is None:
        return False
    return not weights.is_file(source) or _is_torchvisions(model, Path(source), identity["sha256"])


def create(feature: Feature) -> torch.nn.Module:
    """The whole model, with its weights loaded.

    ConfigError for what is no classifier of torchvision or does not take photos of the spec's size, WeightsError where
    the file does not hold its weights.
    """
    import torch
    from torchvision import models

    spec, name = feature.spec, feature.spec["model"]
    _check_classifier(name)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec["weights"].get(weights.RANDOM, 0))
            model: torch.nn.Module = models.get_model(name, weights=None, **_arguments(spec))
    except (ValueError, AssertionError) as error:
        raise refused_size(name, spec["preprocessing"]["size"], error) from error
    if weights.RANDOM in spec["weights"]:
        return model
    assert feature.source is not None
    path = weights.locate(feature, lambda tag: pretrained(name, tag, feature.weights_dir))
    weights.check_identity(path, spec["weights"])
    state = weights.load_state(path)
    _check_positions(model, name, state, path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not hold weights of {name}: {' '.join(str(error).split())[:200]}") from error
    return model


def refused_size(model: str, size: int, error: Exception) -> ConfigError:
    """What to say of a model that does not take photos of this size."""
    cause = " ".join(str(error).split())[:200]
    return ConfigError(f"{model} does not take photos of {size} by {size} pixels ({cause}); set another `size`")


def pretrained(model: str, tag: str, weights_dir: str | None) -> Path:
    """The file of a torchvision weights tag: brought, cached, or (if there is a network) fetched."""
    import http.client

    import torch

    needed = needs(model, tag)
    path = weights.brought(weights_dir, needed) or needed.cached
    if path is None:
        path = Path(needed.cache)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(needed.origin, str(path), hash_prefix=_digest_start(needed.origin))
        except (OSError, http.client.HTTPException, RuntimeError) as error:  # the last where the hash is another
            raise weights.missing(needed, weights_dir) from error
    return path


def needs(model: str, tag: str) -> weights.Needed:
    """The file of a tag, and where it is looked for; ConfigError for a model or tag that torchvision does not know."""
    import torch
    from torchvision import models

    _check_classifier(model)
    try:
        known = models.get_model_weights(model)[tag]
    except KeyError as error:
        tags = ", ".join(each.name for each in models.get_model_weights(model))
        raise ConfigError(f"torchvision has no weights {tag!r} for {model}; the tags are: {tags}") from error
    file = known.url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    names = (file, *weights.own_names(model, tag))
    megabytes = known.meta.get("_file_size")  # of 2**20 bytes
    return weights.Needed(
        model, tag, names, str(path), path if path.is_file() else None, known.url,
        round(megabytes * 2**20) if megabytes else None,
    )  # fmt: skip


def _check_classifier(model: str) -> None:
    from torchvision import models

    if model.lower() in models.list_models(module=models):
        return
    if model.lower() in models.list_models():
        raise ConfigError(
            f"torchvision's {model} is no classifier of photos, which a `cnn` is a part of; the classifiers are those "
            f"of torchvision.models.list_models(module=torchvision.models)"
        )
    raise ConfigError(f"torchvision has no model {model!r}; see torchvision.models.list_models()")


def _arguments(spec: dict[str, Any]) -> dict[str, Any]:
    """What a model is built with beyond its name: torchvision's builders take it from the weights."""
    name, size = spec["model"].lower(), spec["preprocessing"]["size"]
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit"):
        return {"input_size": (size, size)}
    if name in _TRANSFORMING and weights.RANDOM not in spec["weights"]:
        # What would be drawn is loaded, and drawing it takes a minute.
        return {"transform_input": spec["preprocessing"].get("transform_input", False), "init_weights": False}
    return {}


def _check_positions(model: torch.nn.Module, name: str, state: dict[str, torch.Tensor], path: Path) -> None:
    """ConfigError for weights of a vision transformer that are for photos of another size."""
    import math

    own = dict(model.named_parameters()).get(_POSITIONS)
    if own is None or _POSITIONS not in state or state[_POSITIONS].shape == own.shape:
        return
    side: Any = math.isqrt(state[_POSITIONS].shape[1] - 1) * getattr(model, "patch_size", 1)  # one is the class token
    raise ConfigError(f"{path} holds weights of {name} for photos of {side} by {side} pixels: set `size: {side}`")


def _is_torchvisions(model: str, path: Path, sha256: str) -> bool:
    from torchvision import models

    known = [needs(model, each.name) for each in models.get_model_weights(model)]
    return any(path.name in each.names or sha256.startswith(_digest_start(each.origin)) for each in known)


def _digest_start(url: str) -> str:
    """The sha256's first digits, which torchvision's files have in their names."""
    return Path(url).stem.rsplit("-", 1)[-1]
