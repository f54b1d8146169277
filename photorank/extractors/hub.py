"""open_clip models that are a repository of the Hugging Face hub: `hf-hub:organisation/name`, as open_clip writes them.

Such a repository holds `open_clip_config.json`, the architecture and its preprocessing, and the weights beside it. Both
are taken from the folder of weights brought by hand, else from the hub's cache, else (if there is a network) fetched.
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from photorank.errors import ConfigError, WeightsError
from photorank.extractors import weights

PREFIX = "hf-hub:"
OWN = "hf-hub"
"""Stands for the repository's own weights where others have a tag."""
CONFIG = "open_clip_config.json"
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def is_hub(model: str) -> bool:
    """Whether the model is a repository of the hub."""
    return model.startswith(PREFIX)


def needs(model: str) -> weights.Needed:
    """The weights file of a repository, which counts as there when its config is there too; nothing is fetched."""
    needed = weights.in_hub(model, OWN, (), _repository(model), _FILES)
    cached = needed.cached if needed.cached is not None and _cached_config(model) is not None else None
    return dataclasses.replace(needed, cached=cached, beside=(CONFIG,))


def read_config(model: str, weights_dir: str | None) -> dict[str, Any]:
    """`open_clip_config.json` of a repository.

    Raises ConfigError where it is no such file, WeightsError where it is nowhere.
    """
    needed = needs(model)
    weights_file = weights.brought(weights_dir, needed)
    path = weights_file.parent / CONFIG if weights_file is not None else _cached_config(model)
    if path is None:
        try:
            path = fetch(model, CONFIG)
        except Exception as error:  # network, cache and hub errors of several libraries
            raise weights.missing(needed, weights_dir) from error
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        complete = all(isinstance(found["model_cfg"][part], dict) for part in ("vision_cfg", "text_cfg"))
        int(found["model_cfg"]["embed_dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no config of an open_clip model ({type(error).__name__}: {error})") from error
    if not complete:
        raise ConfigError(f"{path} is no config of an open_clip model: its vision_cfg and text_cfg are mappings")
    return found


def fetch(model: str, *files: str) -> Path:
    """The first of the files (without any: of those that hold weights) that the hub has for a model's repository.

    Raises what `fetch_first` raises.
    """
    return fetch_first(_repository(model), files or _FILES)


def fetch_first(repository: str, files: Sequence[str], revision: str | None = None) -> Path:
    """The first of the files that a repository of the hub has.

    Raises what the hub's client raises, and OSError at once where the hub cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reach()
    for file in files:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
        except LocalEntryNotFoundError:  # nothing could be asked
            raise
        except EntryNotFoundError:
            continue
    raise FileNotFoundError(f"{repository} has none of: {', '.join(files)}")


def reach() -> None:
    """OSError at once where the hub cannot be reached: its client by itself tries for three quarters of a minute."""
    import huggingface_hub.constants

    if not urllib.request.getproxies():  # a proxy resolves names for us
        socket.getaddrinfo(urllib.parse.urlsplit(huggingface_hub.constants.ENDPOINT).hostname, 443)


def register(spec: dict[str, Any], weights_dir: str | None) -> str:
    """Make the repository's architecture known to open_clip, and give the name under which it is.

    WeightsError where the repository's config is no longer the one that the spec was made from.
    """
    import tempfile

    import open_clip

    found = read_config(spec["model"], weights_dir)["model_cfg"]
    if architecture(found) != spec["architecture"]:
        raise WeightsError(f"the {CONFIG} of {spec['model']} is not the one that the spec was made from; extract again")
    name = f"photorank--{_repository(spec['model']).replace('/', '--')}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.json"
        file.write_text(json.dumps(found))
        open_clip.add_model_config(file)
    return name


def architecture(model_config: dict[str, Any]) -> dict[str, Any]:
    """What of a model's config shapes the image embedding."""
    return {part: model_config[part] for part in ("embed_dim", "vision_cfg")}


def _cached_config(model: str) -> Path | None:
    import huggingface_hub.constants

    cache = huggingface_hub.constants.HF_HUB_CACHE
    found = huggingface_hub.try_to_load_from_cache(_repository(model), CONFIG, cache_dir=cache)
    return Path(found) if isinstance(found, str) else None


def _repository(model: str) -> str:
    repository = model.removeprefix(PREFIX)
    # As the hub's client has it, which raises an error of its own for others.
    if not re.fullmatch(r"\b[\w.-]+\b/\b[\w.-]{1,96}\b", repository) or re.search(r"--|\.\.|\.git$", repository):
        raise ConfigError(f"a model of the hub is written {PREFIX}organisation/name, not {model!r}")
    return repository
