"""open_clip's models: what it knows of them, where their weights are to be had, and a model with weights in it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, hub, weights

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

PREPROCESSING: dict[str, Any] = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""open_clip's defaults (open_clip/constants.py), here so that describing a random model imports no torch."""


def create(feature: Feature) -> torch.nn.Module:
    """The model with its weights loaded; WeightsError where the file does not hold them."""
    import open_clip
    import torch

    spec, name = feature.spec, feature.spec["model"]
    if hub.is_hub(name):
        name = hub.register(spec, feature.weights_dir)
    quiet = _SilencedRootLog()  # open_clip warns about random weights; photorank has said so itself
    if weights.RANDOM in spec["weights"]:
        with torch.random.fork_rng(devices=[]), quiet:
            torch.manual_seed(spec["weights"][weights.RANDOM])
            model: torch.nn.Module = open_clip.create_model(name, pretrained=None, **_without_downloads(name))
        return model
    assert feature.source is not None
    path = weights.locate(feature, lambda tag: pretrained(spec["model"], tag, feature.weights_dir))
    weights.check_identity(path, spec["weights"])
    state = weights.load_state(path)
    try:
        with quiet:
            other = _without_downloads(name)
            model = open_clip.create_model(name, pretrained=None, force_quick_gelu=spec["quick_gelu"], **other)
            with _reading(_with_text_of(model, state) if other else state):
                open_clip.load_checkpoint(model, str(path))
    except Exception as error:  # state dicts that do not fit raise RuntimeError, and open_clip's renaming many others
        raise WeightsError(
            f"{path} does not hold weights of {spec['model']}: {' '.join(str(error).split())[:200]}"
        ) from error
    return model


def _without_downloads(name: str) -> dict[str, Any]:
    """What a model is made with instead of a text tower that is a hub's repository, which open_clip would fetch (its
    config at least) although texts are never looked at: the smallest one of its own."""
    import open_clip

    known: Any = open_clip.get_model_config(name.replace("/", "-"))
    small = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
    return {"text_cfg": small} if "hf_model_name" in known["text_cfg"] else {}


def _with_text_of(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file's weights, but those of the text tower as the model has them."""
    rest = {key: value for key, value in state.items() if not key.removeprefix("module.").startswith("text")}
    return {**rest, **{key: value for key, value in model.state_dict().items() if key.startswith("text")}}


@contextlib.contextmanager
def _reading(state: dict[str, torch.Tensor]) -> Iterator[None]:
    """While entered, open_clip reads this whatever the file: its own reading is not as strict about what is pickled,
    and what it does with what it has read (renaming, positions for another size) is not to be had without."""
    from open_clip import factory

    own = factory.load_state_dict
    # As it takes it from a training on several devices.
    bare = {key.removeprefix("module."): value for key, value in state.items()}
    factory.load_state_dict = lambda *_, **__: bare
    try:
        yield
    finally:
        factory.load_state_dict = own


class _SilencedRootLog(logging.Filter):
    """While entered, the root logger passes nothing below an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    def __enter__(self) -> None:
        logging.getLogger().addFilter(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeFilter(self)


def architecture(model: str) -> dict[str, Any]:
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


def known_tag(model: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of a pretrained tag."""
    import open_clip

    known: dict[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise ConfigError(f"open_clip has no weights {tag!r} for {model}; the tags are: {tags}")
    return known


def preprocessing_of(known: dict[str, Any]) -> dict[str, Any]:
    """What a tag says of the preprocessing."""
    return {key: known[key] for key in PREPROCESSING if known.get(key)}


def tag_of_file(model: str, file: str) -> str | None:
    """The tag of a file that is called `<model>--<tag>`, as those brought by hand are; None for other names."""
    import open_clip

    name, _, tag = Path(file).stem.partition("--")
    known = name == model.replace("/", "-") and open_clip.get_pretrained_cfg(model, tag)
    return tag if known else None


@functools.cache
def warn_of_unknown(model: str, file: str, quick_gelu: bool) -> None:
    """Say, once, what a file's weights are taken to be trained with, where open_clip has others of the same model."""
    import open_clip

    def differs(tag: str) -> bool:
        known = open_clip.get_pretrained_cfg(model, tag)
        found = {
            key: list(value) if key in ("mean", "std") else value for key, value in preprocessing_of(known).items()
        }
        return {**PREPROCESSING, **found} != PREPROCESSING or bool(known.get("quick_gelu")) > quick_gelu

    others = [tag for tag in open_clip.list_pretrained_tags_by_model(model) if differs(tag)]
    if others:
        log.warning(
            "%s is taken to be trained %s QuickGELU on photos whose shorter side is resized (bicubic), cut, and "
            "normalised with OpenAI's mean and deviation; open_clip has weights of %s for which that is wrong (%s): if "
            "it is one of them, say so with `tag: TAG`, or name the file %s--TAG%s",
            file, "with" if quick_gelu else "without", model, ", ".join(others), model.replace("/", "-"),
            Path(file).suffix,
        )  # fmt: skip


def pretrained(model: str, tag: str, weights_dir: str | None) -> Path:
    """The file of a tag: brought, cached, or (if there is a network) fetched."""
    import open_clip

    needed = needs(model, tag)
    path = weights.brought(weights_dir, needed) or needed.cached
    if path is not None:
        return path
    known = known_tag(model, tag) if not hub.is_hub(model) else {}
    try:
        if not known:
            return hub.fetch(model)
        if known.get("hf_hub"):
            hub.reach()
        return Path(open_clip.download_pretrained(known))
    except Exception as error:  # network, cache and hub errors of four libraries
        raise weights.missing(needed, weights_dir) from error


def needs(model: str, tag: str) -> weights.Needed:
    """The file of a tag, and where it is looked for; ConfigError for a tag that open_clip does not know."""
    if hub.is_hub(model):
        return hub.needs(model)
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    known = known_tag(model, tag)
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
