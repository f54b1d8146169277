"""weights: which files a config's features need, where they are looked for, and which of them are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from photorank.config import ExtractConfig
from photorank.extractors import needs
from photorank.extractors.weights import brought, file_identity, is_file


@dataclass(frozen=True)
class FeatureWeights:
    """The weights of one feature."""

    feature: str
    model: str
    weights: str
    """The library's tag, or the file that the config names."""
    names: tuple[str, ...]
    """What the file may be called in the folder of `--weights-dir`; none where the library alone knows its files."""
    looked_in: tuple[str, ...]
    """That folder, if one is named, then the library's cache."""
    origin: str
    """Where the library fetches it from, if there is a network."""
    found: str | None
    """The file, if it is there."""
    size: int | None
    """In bytes: of the file, else as far as the library knows."""
    sha256: str | None = None
    """Hex; of a file that is there, where it was asked for."""

    @property
    def missing(self) -> bool:
        """Whether it is known not to be there."""
        return self.found is None and bool(self.names)


def feature_weights(config: ExtractConfig, hashed: bool = False) -> list[FeatureWeights]:
    """The weights of every feature that takes some; with `hashed` also the sha256 of those that are there.

    Nothing is fetched. Raises ConfigError for a model or tag that its library does not know.
    """
    folder = str(config.weights_dir) if config.weights_dir is not None else None
    rows = []
    for name, each in config.features.items():
        needed = needs(each)
        if needed is None:
            continue
        # A file that the config names is looked for there first, as `extract` does.
        first, second = brought(folder, needed), needed.cached
        found = (second or first) if is_file(needed.weights) else (first or second)
        rows.append(
            FeatureWeights(
                name, needed.model, needed.weights, needed.names,
                (*([folder] if folder is not None else []), needed.cache), needed.origin,
                str(found) if found is not None else None, _size(found) or needed.size,
                file_identity(found)["sha256"] if hashed and found is not None else None,
            )
        )  # fmt: skip
    return rows


def _size(found: Path | None) -> int | None:
    return found.stat().st_size if found is not None else None
