"""Learn which photo of a series people prefer, and pick it.

`photorank.FeatureStore` reads and writes feature stores; `photorank.Ranker.load(run).rank(paths)` ranks photos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from photorank.stages.rank import Ranker
    from photorank.store import FeatureStore

__all__ = ["FeatureStore", "Ranker", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line must start without PyTorch.
    if name == "FeatureStore":
        from photorank.store import FeatureStore

        return FeatureStore
    if name == "Ranker":
        from photorank.stages.rank import Ranker

        return Ranker
    raise AttributeError(f"module 'photorank' has no attribute {name!r}")
