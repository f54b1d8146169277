"""The user's cache folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from photorank.errors import StoreError


def cache_store() -> Path:
    """The store in the user's cache folder, where `rank` keeps vectors unless told otherwise."""
    return Path(platformdirs.user_cache_dir("photorank")) / "store"


def usable_cache_store() -> Path:
    """The same, when its folder is there or could be made; StoreError where it could not."""
    store = cache_store()
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the cache folder {store.parent} cannot be made ({error.strerror or error}); name a store elsewhere "
            f"(--store DIR), or set XDG_CACHE_HOME to a folder that can be written to"
        ) from error
    return store


@contextmanager
def passing_store() -> Iterator[Path]:
    """A place for a store in the user's cache folder; what was made there is gone afterwards."""
    cache = usable_cache_store().parent
    with tempfile.TemporaryDirectory(prefix="no-store-", dir=cache) as folder:
        yield Path(folder) / "store"
