"""A user's own extractor: a class, made with its options, that is called with a photo and returns a vector.

It is called in the processes that load photos, one object in each: on all cores at once, and where a crash or an
endless loop costs one photo. The process that runs the models finds the module's file and hashes it, but imports
nothing. Code is only run that a config of the user names; what a run or a store says of it is not enough.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.config import OwnConfig
from photorank.errors import ConfigError, PhotoError
from photorank.extractors import Feature, Prepared, Preparer


def describe(name: str, config: OwnConfig, precision: str, weights_dir: str | None = None) -> Feature:
    """The feature space of a class's vectors: its name, options and version and the bytes of its module's file.

    Nothing is imported but the packages around an installed module. ConfigError where there is no such module.
    """
    module, colon, class_name = config.extractor.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), class_name)):
        raise ConfigError(f"{name}: extractor is written module:Class, not {config.extractor!r}")
    file = _find(module, Path(config.folder))
    spec = {
        "kind": "own",
        "extractor": config.extractor,
        "sha256": hashlib.sha256(_read(file)).hexdigest(),
        "options": config.options,
        "version": config.version,
        "precision": "float32",
        "decode": "exact",
        "stored": "float32",
    }
    return Feature(name, spec, config.role, dtype="float32", source=str(file))


def needs(config: OwnConfig) -> None:
    """No weights that photorank knows of."""
    return


def named(feature: Feature, configs: Iterable[Any]) -> Feature:
    """The feature of a run, its code where one of the user's own configs says that it is; else without code.

    ConfigError where a config names the extractor but not as it was.
    """
    changed = None
    for config in configs:
        if isinstance(config, OwnConfig) and config.extractor == feature.spec["extractor"]:
            found = describe(feature.name, config, "float32")
            if found.spec == feature.spec:
                return replace(feature, source=found.source)
            changed = next(key for key in feature.spec if found.spec.get(key) != feature.spec[key])
    if changed is not None:
        what = "module's file" if changed == "sha256" else f"`{changed}`"
        raise ConfigError(
            f"{feature.name}: the {what} of {feature.spec['extractor']} is not as it was when the run was trained; "
            f"bring that back, or extract and train again"
        )
    return replace(feature, source=None)


class Own:
    """Takes the vectors that the loading processes made; see `photorank.extractors.Extractor`."""

    device = "cpu"

    def embed(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Vectors (n, dim) float32."""
        return np.stack([vector for (vector,) in prepared])


def build(feature: Feature, device: str, batch_size: int) -> Own:
    """Nothing is built here: all is done where photos are loaded."""
    return Own()


def preparer(feature: Feature) -> Preparer:
    """The user's object, made here, behind checks: a vector (dim,) float32.

    ConfigError where the code is not that of the spec, or no object can be made of it.
    """
    extractor = feature.spec["extractor"]
    call = _create(feature)

    def prepare(rgb: NDArray[np.uint8]) -> Prepared:
        shown = rgb.view()
        shown.flags.writeable = False  # other extractors see the same pixels
        values = np.asarray(call(shown))
        if values.ndim != 1 or not values.size:
            raise PhotoError(f"{extractor} gave an array of shape {values.shape} for it, not a vector")
        if values.dtype.kind not in "biuf":
            raise PhotoError(f"{extractor} gave a vector of {values.dtype} for it, not of numbers")
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise PhotoError(f"{extractor} gave a vector for it that is not finite ({values[at]} at {at})")
        with np.errstate(over="ignore"):  # what float32 cannot hold is told when it comes to be stored
            return (values.astype(np.float32),)

    return prepare


def _create(feature: Feature) -> Callable[[NDArray[np.uint8]], Any]:
    extractor = feature.spec["extractor"]
    if feature.source is None:
        raise ConfigError(
            f"{feature.name} is computed by code of its own ({extractor}), which is only run when a config of yours "
            f"names it: --config FILE, as for extract"
        )
    module_name, _, class_name = extractor.partition(":")
    module = _imported(module_name, Path(feature.source), feature.spec["sha256"])
    if not hasattr(module, class_name):
        raise ConfigError(f"{feature.source} has no {class_name!r}, which the feature {feature.name} names")
    try:
        made = getattr(module, class_name)(**feature.spec["options"])
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ConfigError(f"{extractor} cannot be made with its options: {_told(error)}") from error
    if not callable(made):
        raise ConfigError(f"{extractor} cannot be called: give it a method __call__(self, rgb) that returns a vector")
    call: Callable[[NDArray[np.uint8]], Any] = made
    return call


@functools.cache
def _imported(name: str, file: Path, sha256: str) -> ModuleType:
    """The module, made of the very bytes that the spec is about: a stale `__pycache__` would be other code."""
    source = _read(file)
    if hashlib.sha256(source).hexdigest() != sha256:
        raise ConfigError(f"{file} was changed meanwhile; start again")
    there = sys.modules.get(name)
    if there is not None and getattr(there, "__file__", None) != str(file):
        raise ConfigError(f"{file} cannot be imported as {name!r}: another module has that name; rename the file")
    root = str(file.parents[name.count(".") + (file.name == "__init__.py")])
    if root not in sys.path:
        sys.path.insert(0, root)  # for what the module imports from beside it
    parent = name.rpartition(".")[0]
    try:
        if parent:
            importlib.import_module(parent)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102  (named by the user's own config)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        sys.modules.pop(name, None)
        raise ConfigError(f"{file} cannot be imported: {_told(error)}") from error
    return module


def _find(module: str, folder: Path) -> Path:
    """The module's source file: in the folder, else where Python finds it."""
    path = folder.joinpath(*module.split("."))
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            return file
    try:
        found = importlib.util.find_spec(module)
    except Exception:  # its packages may raise anything
        found = None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise ConfigError(f"there is no module {module!r} in {folder}, nor on Python's path")
    return Path(found.origin).absolute()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
