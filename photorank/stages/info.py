"""info: what a store holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photorank.store import FORMAT, FeatureStore


@dataclass(frozen=True)
class SpaceInfo:
    """One feature space in figures."""

    name: str
    fingerprint: str
    role: str
    rows: int
    dim: int
    dtype: str
    segments: int
    bytes: int
    """On disk, everything in the space's folder."""
    spec: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class StoreInfo:
    """A store in figures."""

    path: str
    format: int
    photos: int
    """Distinct photos, by key."""
    files: int
    """Paths at which they were seen."""
    failures: int
    bytes: int
    spaces: list[SpaceInfo]


def store_info(store: Path) -> StoreInfo:
    """What the store at this path holds; StoreError where it is none."""
    opened = FeatureStore.open(store)
    spaces = [
        SpaceInfo(
            space.name, space.fingerprint, space.role, len(space), space.dim, space.dtype.name,
            len(list((space.path / "commits").glob("[!.]*.parquet"))), space.nbytes, dict(space.spec),
            dict(space.provenance),
        )
        for space in opened.spaces()
    ]  # fmt: skip
    size = sum(file.stat().st_size for file in Path(store).rglob("*") if file.is_file())
    return StoreInfo(
        str(store), FORMAT, len(opened.photos()), len(opened.files()), len(opened.failures()), size, spaces
    )  # fmt: skip
