"""Weights: how they are identified without building a model, and how they are loaded.

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
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from photorank.errors import WeightsError

if TYPE_CHECKING:
    import torch

RANDOM = "random"
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def is_file(weights: str) -> bool:
    """Whether `weights` names a local file rather than a tag."""
    return weights.endswith(FILE_SUFFIXES) or "/" in weights or os.sep in weights


def identify(weights: str, seed: int, fetch: Callable[[str], Path]) -> tuple[dict[str, Any], str | None]:
    """Identity of what a config calls `weights`, and where they come from: a file, a tag, or None for random ones.

    `fetch` gives the file of a tag of the library. Raises WeightsError where there is no such file.
    """
    if weights == RANDOM:
        return random_identity(seed), None
    if is_file(weights):
        path = Path(weights).expanduser().resolve()
        return file_identity(path), str(path)
    return file_identity(fetch(weights)), weights


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
        raise WeightsError(f"{path} is not a file of weights: {' '.join(str(error).split())[:200]}") from error
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
