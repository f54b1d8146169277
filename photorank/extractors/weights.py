"""Weights: where they are looked for, how they are identified without building a model, and how they are loaded.

Identity is `{"random": seed, "torch": version}` (the architecture is elsewhere in the spec; PyTorch's initialisation
and generator may change between versions) or `{"sha256": ...}` of the file. Hashing a gigabyte takes a second or
more, so its digest is remembered in the user's cache folder by path, size and modification time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from photorank.errors import WeightsError

if TYPE_CHECKING:
    import torch

    from photorank.extractors import Feature

RANDOM = "random"
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def is_file(weights: str) -> bool:
    """Whether `weights` names a local file rather than a tag."""
    return weights.endswith(FILE_SUFFIXES) or "/" in weights or os.sep in weights


@dataclass(frozen=True)
class Needed:
    """Weights that a feature takes: one file, looked for in a folder brought by hand, then in the library's cache."""

    model: str
    weights: str
    """The library's tag, or the file that the config names."""
    names: tuple[str, ...]
    """What the file may be called in the folder, the first that is there is taken."""
    cache: str
    """Where the library looks."""
    cached: Path | None
    """The file, if it is there."""
    origin: str
    """Where the library fetches it from, if there is a network."""
    size: int | None = None
    """In bytes, as far as the library or the cache knows."""
    beside: tuple[str, ...] = ()
    """Files that have to be in the same folder."""


def own_names(model: str, weights: str) -> tuple[str, ...]:
    """What a weights file may be called whatever the library calls it: `<model>--<tag>` and a suffix."""
    return tuple(f"{model.replace('/', '-')}--{weights}{suffix}" for suffix in (".safetensors", ".pt", ".pth", ".bin"))


def needed(model: str, weights: str, of_tag: Callable[[str, str], Needed]) -> Needed | None:
    """What a config's model and weights need; None for random ones. `of_tag` knows the library's tags."""
    if weights == RANDOM:
        return None
    if not is_file(weights):
        return of_tag(model, weights)
    path = Path(weights).expanduser().resolve()
    there = path if path.is_file() else None
    return Needed(model, weights, (path.name,), str(path), there, "", there.stat().st_size if there else None)


def in_hub(
    model: str, weights: str, names: Sequence[str], repository: str, files: Sequence[str], revision: str | None = None
) -> Needed:
    """Weights that are one of `files` in a repository of the Hugging Face hub; only its cache is looked at."""
    import huggingface_hub.constants

    cache = huggingface_hub.constants.HF_HUB_CACHE
    found = [huggingface_hub.try_to_load_from_cache(repository, file, cache, revision) for file in files]
    cached = next((Path(each) for each in found if isinstance(each, str)), None)
    return Needed(
        model, weights, (*names, *(f"{repository.rpartition('/')[2]}/{file}" for file in files)),
        str(Path(cache) / f"models--{repository.replace('/', '--')}"), cached,
        f"{huggingface_hub.constants.ENDPOINT}/{repository}", cached.stat().st_size if cached else None,
    )  # fmt: skip


def brought(weights_dir: str | None, needed: Needed) -> Path | None:
    """The first of the files that is in the folder, with what has to be beside it; None where there is none."""
    paths = [Path(weights_dir) / name for name in needed.names] if weights_dir is not None else []
    return next(
        (path for path in paths if all(each.is_file() for each in (path, *map(path.with_name, needed.beside)))), None
    )


def missing(needed: Needed, weights_dir: str | None) -> WeightsError:
    """What to say of weights that are nowhere and cannot be fetched."""
    names = " or ".join(filter(None, (", ".join(needed.names[:-1]), needed.names[-1])))
    names += "".join(f", {each} beside it" for each in needed.beside)
    looked = f"neither in {weights_dir} (as {names}) nor" if weights_dir is not None else "not"
    remedy = "bring the file there" if weights_dir is not None else f"bring the file as {names} (--weights-dir DIR)"
    return WeightsError(
        f"the weights {needed.weights!r} of {needed.model} are {looked} in the cache ({needed.cache}), and could not "
        f"be fetched from {needed.origin}: {remedy}, or use `--config random` or the `iqa` statistics, which need none"
    )


def identify(
    weights: str, seed: int, fetch: Callable[[str], Path], weights_dir: str | None = None
) -> tuple[dict[str, Any], str | None]:
    """Identity of what a config calls `weights`, and where they come from: a file, a tag, or None for random ones.

    `fetch` gives the file of a tag of the library. Raises WeightsError where there is no such file.
    """
    if weights == RANDOM:
        return random_identity(seed), None
    if is_file(weights):
        path = _file(weights, weights_dir)
        return file_identity(path), str(path)
    return file_identity(fetch(weights)), weights


def locate(feature: Feature, fetch: Callable[[str], Path]) -> Path:
    """The weights file of a feature whose weights are not random."""
    assert feature.source is not None
    return _file(feature.source, feature.weights_dir) if is_file(feature.source) else fetch(feature.source)


def _file(named: str, weights_dir: str | None) -> Path:
    """The file that is named, or one of its name that was brought: a run may come from another machine."""
    path = Path(named).expanduser().resolve()
    near = Path(weights_dir) / path.name if weights_dir is not None else path
    return near if near.is_file() and not path.is_file() else path


def random_identity(seed: int) -> dict[str, Any]:
    """Identity of weights that the architecture's own initialisation draws after `torch.manual_seed(seed)`."""
    return {RANDOM: seed, "torch": importlib.metadata.version("torch")}


def file_identity(path: Path) -> dict[str, Any]:
    """`{"sha256": hex}` of a weights file; WeightsError where it cannot be read."""
    try:
        stat = path.stat()
        memory = Path(platformdirs.user_cache_dir("photorank")) / "weights.json"
        name, seen = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        known = _read(memory)
        entry = known.get(name)
        if entry is not None and entry[:2] == seen:
            return {"sha256": entry[2]}
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"the weights file {path} cannot be read: {error.strerror or error}") from error
    _write(memory, {**known, name: [*seen, digest]})
    return {"sha256": digest}


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors file, or of a PyTorch file read with `weights_only=True`; nothing is unpickled."""
    import safetensors.torch
    import torch

    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has errors of its own; all mean that the file is not usable
        cause = " ".join(str(error).split())[:200]
        if isinstance(error, pickle.UnpicklingError) or "TorchScript" in cause:  # PyTorch tells how to run it
            cause = (
                "it holds something else than tensors (a whole model?), which is never unpickled; save the model's "
                "state_dict() there, best as .safetensors"
            )
        raise WeightsError(f"{path} is not a file of weights: {cause}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no named tensors; save a model's state_dict() there")
    return state


def check_identity(path: Path, identity: dict[str, Any]) -> None:
    """WeightsError where the file is no longer the one that the spec was made from."""
    if file_identity(path) != identity:
        raise WeightsError(f"{path} is not the weights file that the spec names (sha256 {identity.get('sha256')})")


def _read(memory: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(memory: Path, known: dict[str, list[Any]]) -> None:
    # A memory that cannot be kept costs time, not correctness.
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=memory.parent, delete=False) as file:
            json.dump(known, file)
        os.replace(file.name, memory)  # noqa: PTH105
