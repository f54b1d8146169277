"""The user's cache folder."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def cache_store() -> Path:
    """The store in the user's cache folder, where `rank` keeps vectors unless told otherwise."""
    return Path(platformdirs.user_cache_dir("photorank")) / "store"
