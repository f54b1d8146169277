"""Every option and its default, once, as pydantic models; YAML in, resolved YAML out.

A config file holds only what differs from the defaults here. Unknown keys are refused, with the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from photorank.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Activation = Literal["relu", "gelu", "silu", "tanh"]
Decode = Literal["exact", "fast"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClipConfig(_Strict):
    """An open_clip model: the L2-normalised image embedding."""

    kind: Literal["clip"] = "clip"
    model: str = "ViT-B-32"
    """An architecture that open_clip knows."""
    weights: str = "laion2b_s34b_b79k"
    """A pretrained tag of open_clip, a local file (.safetensors, or .pt with weights only), or `random`."""
    seed: int = 0
    """Seed of `random` weights; without meaning for others."""
    precision: Precision = "auto"
    decode: Decode = "exact"
    """`exact`: every pixel is decoded. `fast`: fewer of a JPEG that has four times the rows and columns that the
    model's resizing asks for, or more; at least twice as many are left. Any other photo is the same either way."""


TORCHVISIONS = ("layer", "preprocessing", "resize", "size", "padding_mean_color")
"""Options of `CnnConfig` that are for torchvision's models only."""


def _default_weights(known: dict[str, Any]) -> str:
    return "pretrained" if known.get("library") == "timm" else "IMAGENET1K_V2"


class CnnConfig(_Strict):
    """A torchvision classifier up to a named layer, averaged over the picture's area, or a timm model: the pooled
    features that its classifier sees, after its own preprocessing. From `layer` and `preprocessing` on to
    `padding_mean_color` options are for torchvision's only."""

    kind: Literal["cnn"] = "cnn"
    library: Literal["torchvision", "timm"] = "torchvision"
    """Whose model it is."""
    model: str = "resnet50"
    """A classifier that torchvision knows, or any model that timm knows, with or without a tag: `resnet50.a1_in1k`."""
    layer: str = "layer4"
    """A module's name; for VGG and AlexNet also `fc6` and `fc7`, each after its ReLU."""
    weights: str = Field(default_factory=_default_weights)
    """A local file (.safetensors, or .pt with weights only), `random`, a torchvision weights tag (IMAGENET1K_V2 unless
    given), or for timm `pretrained` (unless given): those of the tag in the model's name, or of timm's first one."""
    seed: int = 0
    """Seed of `random` weights; without meaning for others."""
    preprocessing: Literal["standard", "scale_crop", "paper"] = "standard"
    """How a photo becomes a square of `size` pixels, always bilinear and antialiased. `standard`: the shorter side to
    `resize`, the square cut from the centre. `scale_crop`: the shorter side to `size` itself, so that more of the photo
    is seen. `paper`: the longer side to `size`, padded with `padding_mean_color`, so that all of it is seen (Chang et
    al. 2016, Automatic Triage for a Photo Series)."""
    resize: int = Field(default=256, ge=1)
    """Pixels of the shorter side before the cut; only for `standard`."""
    size: int = Field(default=224, ge=1)
    """Pixels of the square that the network sees."""
    padding_mean_color: tuple[Fraction, Fraction, Fraction] = (0.460, 0.450, 0.430)
    """Red, green and blue in [0, 1] of what `paper` pads with, rounded to 8 bits: the mean colour of the training
    photos."""
    precision: Precision = "auto"
    decode: Decode = "exact"
    """As for `clip`."""

    @model_serializer(mode="wrap")
    def _of_its_library(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        others = TORCHVISIONS if self.library == "timm" else ()
        return {option: value for option, value in values.items() if option not in others}


class IqaConfig(_Strict):
    """Weightless statistics of the picture, and metrics of pyiqa that need no reference."""

    kind: Literal["iqa"] = "iqa"
    statistics: bool = True
    """The statistics of `photorank.extractors.statistics`."""
    metrics: tuple[str, ...] = ()
    """Names of pyiqa's no-reference metrics (needs `photorank[iqa]`)."""


FeatureConfig = Annotated[ClipConfig | CnnConfig | IqaConfig, Field(discriminator="kind")]


class ExtractConfig(_Strict):
    """What `photorank extract` computes, and how."""

    features: dict[str, FeatureConfig] = Field(default={"iqa": IqaConfig()})
    """Name of the feature space → its extractor."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ..."""
    batch_size: int = Field(default=32, ge=1)
    """Photos that go through a model at once."""
    workers: int = Field(default=0, ge=0)
    """Processes that read, decode and prepare photos; 0: one a processor core."""
    photo_seconds: float = Field(default=60.0, gt=0)
    """A photo that is not loaded by then is given up: its decoder hangs."""
    commit_rows: int = Field(default=2048, ge=1)
    """Photos after which the work so far is committed to the store, ..."""
    commit_seconds: float = Field(default=30.0, gt=0)
    """... or seconds, whichever comes first. A crash loses at most this much."""
    max_pixels: int = Field(default=178_956_970, ge=1)
    """A photo with more pixels is refused instead of decoded (decompression bombs)."""


class HeadConfig(_Strict):
    """How `photorank fit-head` trains a head."""

    features: tuple[str, ...] = ()
    """Feature spaces of the store, `name` or `name@fingerprint`; none: every space there is."""
    projection_dim: int = Field(default=64, ge=1)
    """Width to which each visual space is projected before fusion."""
    mlp_hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    """Widths of the hidden layers over the fused features; none: a linear head."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """On the projected visual features and hidden layers; statistics are never dropped."""
    activation: Activation = "gelu"
    epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=12, ge=1)
    """Epochs without a better loss on the early-stopping slice after which training ends."""
    batch_size: int = Field(default=256, ge=1)
    """Comparisons a step, at least; a batch always holds whole series."""
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    stop_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training series that early stopping looks at; 0: train for all epochs."""
    val_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the series held out for the reported figures where the comparisons name no splits."""
    seed: int = Field(default=0, ge=0)


Config = TypeVar("Config", ExtractConfig, HeadConfig)


def config_folders() -> list[Path]:
    """Where named configs are looked for: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parent
    return [folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir()]


def named_configs(stage: str) -> dict[str, Path]:
    """Name → file of every config of a stage (`extract`, `head`)."""
    found: dict[str, Path] = {}
    for folder in config_folders():
        for file in sorted((folder / stage).glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def load_config(model: type[Config], stage: str, ref: str | None, overrides: Sequence[str] = ()) -> Config:
    """The config of a file, or of a name under `configs/<stage>/`, with `key=value` overrides applied.

    Raises ConfigError where there is no such config, it is no mapping, or holds an unknown key or a wrong value.
    """
    values: dict[str, Any] = {}
    if ref is not None:
        values = _read_yaml(_find(stage, ref))
    for override in overrides:
        _set(values, override)
    return parse_config(model, values, ref or "--set")


def load_extract_config(
    ref: str | None, names: Sequence[str], device: str, batch_size: int | None, workers: int | None
) -> ExtractConfig:
    """The extract config of a file or name, with what the command line says about the machine.

    Without a file or name it is the defaults, or `multifeature` where features are asked for by name.
    """
    settings = {"device": device, "batch_size": batch_size, "workers": workers}
    overrides = [f"{key}={value}" for key, value in settings.items() if value is not None and value != "auto"]
    return load_config(ExtractConfig, "extract", ref or ("multifeature" if names else None), overrides)


def parse_config(model: type[Config], values: Mapping[str, Any], origin: str) -> Config:
    """`values` as a config; ConfigError names `origin` and the first thing wrong with them."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(model, error)}") from error


def dump_config(config: BaseModel) -> str:
    """The config as YAML with every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _find(stage: str, ref: str) -> Path:
    path = Path(ref)
    if path.is_file():
        return path
    named = named_configs(stage)
    if ref in named:
        return named[ref]
    names = ", ".join(named) or "none"
    raise ConfigError(f"there is no config file {ref!r} and no {stage} config of that name; the names are: {names}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}, not keys and values")
    return values


def _set(values: dict[str, Any], override: str) -> None:
    """Apply `a.b=value` (value read as YAML) to nested mappings, in place."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} is not of the form key=value")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override!r}: {parent} holds no keys")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML; quote it") from error


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        # Pydantic puts the chosen kind into the path of a union's member; the file has no such level.
        pairs = zip(["", "", *where], where, strict=False)
        shown = [part for parent, part in pairs if not (parent == "features" and part in _kinds())]
        return (
            f"{'.'.join(shown) or 'the config'}: {first['msg'][0].lower() + first['msg'][1:]} (got {first['input']!r})"
        )
    models: list[type[BaseModel]] = [model]
    for part in where[:-1]:
        fields = [each.model_fields[part].annotation for each in models if part in each.model_fields]
        inner = [found for annotation in fields for found in _models_in(annotation)]
        tagged = [each for each in models if "kind" in each.model_fields and each.model_fields["kind"].default == part]
        models = tagged or inner or models
    known = sorted({name for each in models for name in each.model_fields})
    near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.0)
    return f"unknown key {where[-1]!r}; did you mean {near[0]!r}? The keys here are: {', '.join(known)}"


def _kinds() -> set[str]:
    return {each.model_fields["kind"].default for each in _models_in(ExtractConfig.model_fields["features"].annotation)}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
