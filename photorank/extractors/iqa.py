"""Image quality without a reference: weightless statistics, and any list of pyiqa's no-reference metrics.

pyiqa is an extra (`photorank[iqa]`): its licence is PolyForm Noncommercial. Metrics see the photo at its own size.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, Prepared, Preparer, weights
from photorank.extractors.statistics import STATISTICS, VERSION, statistics

if TYPE_CHECKING:
    import torch

    from photorank.config import IqaConfig

log = logging.getLogger(__name__)


def describe(name: str, config: IqaConfig, precision: str, weights_dir: str | None = None) -> Feature:
    """The feature space of the statistics and metrics, in that order; `precision` is float32 whatever it says.

    Raises ConfigError where nothing is asked for, pyiqa is missing, or a metric is unknown or needs a reference.
    """
    if not config.statistics and not config.metrics:
        raise ConfigError(f"{name}: an iqa feature with neither statistics nor metrics is empty")
    spec: dict[str, Any] = {"kind": "iqa", "precision": "float32", "decode": "exact", "stored": "float32"}
    if config.statistics:
        spec["statistics"] = {"version": VERSION, "names": list(STATISTICS)}
    if config.metrics:
        known = _metric_table()
        unknown = [metric for metric in config.metrics if known.get(metric, {}).get("metric_mode") != "NR"]
        if unknown:
            raise ConfigError(f"pyiqa has no no-reference metric {unknown[0]!r}; `pyiqa -ls` lists what it has")
        spec["metrics"] = {
            "pyiqa": importlib.metadata.version("pyiqa"),
            "names": list(config.metrics),
            "lower_better": [bool(known[metric].get("lower_better", False)) for metric in config.metrics],
        }
    return Feature(name, spec, role="statistic", dtype="float32")


def needs(config: IqaConfig) -> weights.Needed | None:
    """Where pyiqa looks for the metrics' weights; which files these are is known to pyiqa alone."""
    if not config.metrics:
        return None
    return weights.Needed(
        "pyiqa", ", ".join(config.metrics), names=(), cache=str(_cache()), cached=None, origin="pyiqa"
    )


class Iqa:
    """Statistics and metrics; see `photorank.extractors.Extractor`."""

    def __init__(self, feature: Feature, device: str) -> None:
        self.device = "cpu"
        names = feature.spec.get("metrics", {}).get("names", [])
        if names:  # the statistics need no PyTorch, which takes seconds to import
            from photorank.extractors.device import resolve_device

            self.device = resolve_device(device)
        self._name = feature.name
        self._metrics = {metric: _create(metric, self.device) for metric in names}

    def embed(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Vectors (n, dim) float32. A metric that fails on a photo gives NaN there, and a warning that says why."""
        return np.stack([np.concatenate([values, *map(self._measure, photo)]) for values, *photo in prepared])

    def _measure(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        picture = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            return np.asarray([self._value(metric, picture) for metric in self._metrics], np.float32)

    def _value(self, metric: str, picture: torch.Tensor) -> float:
        from photorank.extractors.memory import memory_for

        run, (height, width) = self._metrics[metric], picture.shape[2:]
        cause = "it gives no number"
        try:
            with memory_for(f"{metric} of {width} by {height} pixels", self.device):
                value = float(run(picture.to(run.device)))
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:  # too small a picture, for most metrics
            value, cause = float("nan"), f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if not np.isfinite(value):
            log.warning("%s: %s fails on a photo of %d by %d pixels (%s)", self._name, metric, width, height, cause)
        return value


def build(feature: Feature, device: str, batch_size: int) -> Iqa:
    """The metrics, with their weights loaded."""
    return Iqa(feature, device)


def preparer(feature: Feature) -> Preparer:
    """The statistics (D,) float32, and the photo itself where metrics are to see it.

    ConfigError where the spec's statistics are not those that this photorank computes.
    """
    has_statistics, has_metrics = "statistics" in feature.spec, "metrics" in feature.spec
    if has_statistics and feature.spec["statistics"] != {"version": VERSION, "names": list(STATISTICS)}:
        raise ConfigError(
            f"{feature.name}: these statistics are of version {feature.spec['statistics']['version']}, this "
            f"photorank computes version {VERSION}; extract and train again"
        )

    def prepare(rgb: NDArray[np.uint8]) -> Prepared:
        values = statistics(rgb) if has_statistics else np.empty(0, np.float32)
        return (values, rgb) if has_metrics else (values,)

    return prepare


def _metric_table() -> dict[str, dict[str, Any]]:
    """pyiqa's own table of metrics, read from its file: importing pyiqa takes seconds."""
    found = importlib.util.find_spec("pyiqa")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("metrics need pyiqa (licence: PolyForm Noncommercial): pip install 'photorank[iqa]'")
    file = Path(found.submodule_search_locations[0]) / "default_model_configs.py"
    spec = importlib.util.spec_from_file_location("photorank._pyiqa_metrics", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table: dict[str, dict[str, Any]] = module.DEFAULT_CONFIGS
    return table


def _create(metric: str, device: str) -> Any:
    import pyiqa

    from photorank.extractors.memory import memory_for

    try:
        with memory_for(metric, device):
            return pyiqa.create_metric(metric, device=device)
    except OSError as error:  # urllib's and the hub's errors are OSErrors
        raise WeightsError(
            f"pyiqa's weights for {metric!r} are not in its cache and could not be fetched: bring them to "
            f"{_cache()}, or leave the metric out; the statistics and the metrics piqe and entropy need none"
        ) from error


def _cache() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "pyiqa"
