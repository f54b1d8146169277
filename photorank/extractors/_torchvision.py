"""torchvision's classifiers, and where their weights are to be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, weights

if TYPE_CHECKING:
    import torch


def create(feature: Feature) -> torch.nn.Module:
    """The whole model, with its weights loaded.

    ConfigError for what torchvision does not know, WeightsError where the file does not hold its weights.
    """
    import torch
    from torchvision import models

    spec, name = feature.spec, feature.spec["model"]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec["weights"].get(weights.RANDOM, 0))
            model: torch.nn.Module = models.get_model(name, weights=None)
    except ValueError as error:
        raise ConfigError(f"torchvision has no model {name!r}; see torchvision.models.list_models()") from error
    if weights.RANDOM in spec["weights"]:
        return model
    assert feature.source is not None
    path = weights.locate(feature, lambda tag: pretrained(name, tag, feature.weights_dir))
    weights.check_identity(path, spec["weights"])
    state = weights.load_state(path)
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

    try:
        known = models.get_model_weights(model)[tag]
    except ValueError as error:
        raise ConfigError(f"torchvision has no model {model!r}; see torchvision.models.list_models()") from error
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


def _digest_start(url: str) -> str:
    """The sha256's first digits, which torchvision's files have in their names."""
    return Path(url).stem.rsplit("-", 1)[-1]
