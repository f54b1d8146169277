"""Small stores and what is expected of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from photorank.store import FailureRow, FeatureStore, FileRow, PhotoRow, Space
from photorank.store.keys import KeyArray

SPEC: dict[str, Any] = {"kind": "test", "size": [224, 224], "mean": 0.48145466}


def some_keys(n: int, seed: int = 0) -> KeyArray:
    """n random keys."""
    return np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)


def some_rows(n: int, dim: int = 3, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """n random float32 rows."""
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


def make_space(store: FeatureStore, dim: int = 3, name: str = "clip", dtype: Any = "float32") -> Space:
    return store.create_space(name, SPEC, dim=dim, dtype=dtype, role="visual", provenance={"device": "cpu"})


def small_store(path: Path) -> FeatureStore:
    """A store with a space of two overlapping segments and a row in each table."""
    store = FeatureStore.create(path)
    space, keys, rows = make_space(store), some_keys(4), some_rows(4)
    space.append(keys[:2], rows[:2])
    space.append(keys[1:], rows[1:] + 1)
    key = keys[0].tobytes()
    store.add_photos([PhotoRow(key, 640, 480, "JPEG", 6)])
    store.add_files([FileRow(b"/a/\xff.jpg", 10, 20, key, "2024-05-01T10:00:00", "Camera")])
    store.add_failures([FailureRow(b"/a/b.jpg", 10, 20, None, "", "decode", "truncated", "0.1")])
    return store


def contents(space: Space) -> dict[bytes, tuple[float, ...]]:
    """What the space holds, as a dict."""
    keys, rows = space.load(verify=True)
    assert len(keys) == len(space)
    return {key.tobytes(): tuple(row.tolist()) for key, row in zip(keys, rows, strict=True)}
