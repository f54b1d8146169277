"""The backbone of a Siamese ranker that `photorank e2e` trained: a run's features, to be used like any other's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photorank.errors import RunError, WeightsError
from photorank.extractors import Feature, Resized, weights
from photorank.extractors.device import Forward, photos_at_once, resolve_device
from photorank.extractors.memory import memory_for

if TYPE_CHECKING:
    import torch

    from photorank.config import E2eFeatureConfig

_PREFIX = "backbone.network."


def describe(name: str, config: E2eFeatureConfig, precision: str, weights_dir: str | None = None) -> Feature:
    """The feature space of a run's backbone: all that defines it is there. RunError where the run is none of `e2e`."""
    try:
        about = json.loads((Path(config.run) / "run.json").read_text(encoding="utf-8"))
        space = about["spaces"][0] if about["kind"] == "siamese" else None
        spec: dict[str, Any] | None = space and space["spec"]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise RunError(f"{config.run} is not a run that can be read; `photorank e2e` writes runs") from error
    if spec is None:
        raise RunError(
            f"{config.run} is a run of kind {about['kind']!r}; only those of `photorank e2e` have a backbone"
        )
    return of_run(name, spec, Path(config.run))


def of_run(name: str, spec: dict[str, Any], run: Path) -> Feature:
    """The feature of a spec whose weights are in the folder `run`, wherever that has been moved to."""
    return Feature(name, spec, role="visual", dtype="float32", source=str((run / "weights.safetensors").absolute()))


def needs(config: E2eFeatureConfig) -> weights.Needed:
    """The run's weights."""
    path = (Path(config.run) / "weights.safetensors").absolute()
    there = path if path.is_file() else None
    size = there.stat().st_size if there else None
    return weights.Needed("e2e", config.run, (path.name,), str(path), there, "", size)


def preparer(feature: Feature) -> Resized:
    """What the photos went through in training: (size, size, 3) uint8."""
    from photorank.extractors.cnn import square  # imports Pillow, which a head that reads its run never needs

    return square(feature.spec["preprocessing"])


def build(feature: Feature, device: str, batch_size: int) -> Forward:
    """The backbone, with the run's weights loaded."""
    import torch

    from photorank.models.siamese import Backbone, to_precision

    spec, device = feature.spec, resolve_device(device)
    network = Backbone(spec["model"]).network
    _load(network, feature)
    to_precision(network, getattr(torch, spec["precision"]))
    with memory_for(spec["model"], device):
        model: Any = network.to(device).to(memory_format=torch.channels_last).eval()
        return Forward(model, spec, preparer(feature), device, photos_at_once(model, device, batch_size))


def spec_of(model: str, preprocessing: dict[str, Any], precision: str, decode: str, file: Path) -> dict[str, Any]:
    """The spec of a backbone whose weights are those in the weights file of a run."""
    return {
        "kind": "e2e",
        "model": model,
        "weights": weights.file_identity(file),
        "output": "features of the backbone",
        "preprocessing": preprocessing,
        "precision": precision,
        "decode": decode,
        "stored": "float32",
    }


def _load(network: torch.nn.Module, feature: Feature) -> None:
    assert feature.source is not None
    path = weights.locate(feature, Path)
    weights.check_identity(path, feature.spec["weights"])
    state = weights.load_state(path)
    try:
        network.load_state_dict(
            {name[len(_PREFIX) :]: each for name, each in state.items() if name.startswith(_PREFIX)}
        )
    except RuntimeError as error:
        cause = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} does not hold weights of {feature.spec['model']}: {cause}") from error
