"""The user's cache folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def cache_store() -> Path:
    """The store in the user's cache folder, where `rank` keeps vectors unless told otherwise."""
    return Path(platformdirs.user_cache_dir("photorank")) / "store"


@contextmanager
def passing_store() -> Iterator[Path]:
    """A place for a store in the user's cache folder; what was made there is gone afterwards."""
    cache = cache_store().parent
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="no-store-", dir=cache) as folder:
        yield Path(folder) / "store"
