"""Every option and its default, once, as pydantic models; YAML in, resolved YAML out.

A config file holds only what differs from the defaults here. Unknown keys are refused, with the nearest known one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, DirectoryPath, Field, ValidationError, field_validator

from photorank.config.e2e import E2eConfig as E2eConfig
from photorank.config.errors import explain
from photorank.config.features import TORCHVISIONS as TORCHVISIONS
from photorank.config.features import ClipConfig as ClipConfig
from photorank.config.features import CnnConfig as CnnConfig
from photorank.config.features import E2eFeatureConfig as E2eFeatureConfig
from photorank.config.features import FeatureConfig as FeatureConfig
from photorank.config.features import IqaConfig as IqaConfig
from photorank.config.features import OwnConfig as OwnConfig
from photorank.config.features import Strict
from photorank.config.head import HeadConfig as HeadConfig
from photorank.config.head import SweepConfig as SweepConfig
from photorank.errors import ConfigError


class ExtractConfig(Strict):
    """What `photorank extract` computes, and how."""

    features: dict[str, FeatureConfig] = Field(default={"iqa": IqaConfig()})
    """Name of the feature space → its extractor."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps, ...; several with commas between. `auto` takes every CUDA device there is."""
    batch_size: int = Field(default=32, ge=1)
    """Photos that go through a model at once."""
    workers: int = Field(default=0, ge=0)
    """Processes that read, decode and prepare photos; 0: one a processor core."""
    weights_dir: DirectoryPath | None = None
    """Where weights are looked for before the libraries' caches; `photorank weights list` names the files."""
    photo_seconds: float = Field(default=60.0, gt=0)
    """A photo that is not loaded by then is given up: its decoder hangs."""
    commit_rows: int = Field(default=2048, ge=1)
    """Photos after which the work so far is committed to the store, ..."""
    commit_seconds: float = Field(default=30.0, gt=0)
    """... or seconds, whichever comes first. A crash loses at most this much."""
    max_pixels: int = Field(default=178_956_970, ge=1)
    """A photo with more pixels is refused instead of decoded (decompression bombs)."""

    @field_validator("features")
    @classmethod
    def _some(cls, features: dict[str, FeatureConfig]) -> dict[str, FeatureConfig]:
        if not features:
            raise ValueError("there is nothing to compute; name a feature, or leave `features` out for the statistics")
        return features


Config = TypeVar("Config", ExtractConfig, HeadConfig, SweepConfig, E2eConfig)


def config_folders() -> list[Path]:
    """Where named configs are looked for: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir()]


def named_configs(stage: str) -> dict[str, Path]:
    """Name → file of every config of a stage (`extract`, `head`, `e2e`)."""
    found: dict[str, Path] = {}
    for folder in config_folders():
        for file in sorted((folder / stage).glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def load_config(model: type[Config], stage: str, ref: str | None, overrides: Sequence[str] = ()) -> Config:
    """The config of a file, or of a name under `configs/<stage>/`, with `key=value` overrides applied.

    Raises ConfigError where there is no such config, it is no mapping, or holds an unknown key or a wrong value.
    """
    file = _find(stage, ref) if ref is not None else None
    values = _read_yaml(file) if file is not None else {}
    for override in overrides:
        _set(values, override)
    return parse_config(model, values, ref or "--set", file.parent if file is not None else Path())


def load_extract_config(
    ref: str | None, names: Sequence[str] = (), device: str = "auto", batch_size: int | None = None,
    workers: int | None = None, weights_dir: Path | None = None, precision: str | None = None,
    decode: str | None = None,
) -> ExtractConfig:  # fmt: skip
    """The extract config of a file or name, with what the command line says: of the machine, and the precision and
    decoding of all features that have such.

    Without a file or name it is the defaults, or `multifeature` where features are asked for by name.
    """
    settings = {"device": device, "batch_size": batch_size, "workers": workers}
    overrides = [f"{key}={value}" for key, value in settings.items() if value is not None and value != "auto"]
    if weights_dir is not None and not weights_dir.is_dir():
        raise ConfigError(f"there is no folder {weights_dir}; --weights-dir names one that holds weights")
    if weights_dir is not None:
        overrides.append(f"weights_dir={json.dumps(str(weights_dir))}")
    config = load_config(ExtractConfig, "extract", ref or ("multifeature" if names else None), overrides)
    asked = {key: value for key, value in (("precision", precision), ("decode", decode)) if value is not None}
    features = {
        name: each.model_copy(update={key: value for key, value in asked.items() if hasattr(each, key)})
        for name, each in config.features.items()
    }
    return config.model_copy(update={"features": features})


def load_sweep_config(
    ref: str | None, overrides: Sequence[str] = (), grid: Sequence[str] = (), folds: int | None = None,
    seeds: int | None = None,
) -> SweepConfig:  # fmt: skip
    """The config of a file or a name under `configs/head/`, with what the command line says: `key=value` overrides,
    and of the grid `key=value,value`, in YAML. Values of one key are joined, and replace those of the file."""
    found = load_config(SweepConfig, "head", ref, overrides)
    given = {key: value for key, value in (("folds", folds), ("seeds", seeds)) if value is not None}
    tried: dict[str, tuple[Any, ...]] = {}
    for each in grid:
        key, equals, text = each.partition("=")
        if not equals or not key:
            raise ConfigError(f"--grid {each!r} is not of the form key=value,value")
        try:
            tried[key] = (*tried.get(key, ()), *yaml.safe_load(f"[{text}]"))
        except yaml.YAMLError as error:
            raise ConfigError(f"--grid {each!r}: the values are not YAML; quote them") from error
    return found.model_copy(update={**given, "grid": {**found.grid, **tried}})


def parse_config(model: type[Config], values: Mapping[str, Any], origin: str, folder: Path = Path()) -> Config:
    """`values` as a config, its folders relative to `folder`; ConfigError names `origin` and the first thing wrong."""
    try:
        return model.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        kinds = [each.model_fields["kind"].default for each in get_args(get_args(FeatureConfig)[0])]
        raise ConfigError(f"{origin}: {explain(model, error, kinds)}") from error


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
