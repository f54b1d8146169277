"""Where the backbone of a Siamese ranker begins: the weights that `extract` would take for the same model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from photorank.config import CnnConfig, E2eConfig
from photorank.extractors import cnn, weights
from photorank.models.siamese import SiameseCNNRanker

log = logging.getLogger(__name__)


def load_beginning(model: SiameseCNNRanker, config: E2eConfig, weights_dir: Path | None = None) -> None:
    """Load the weights that `config` names into the backbone; random ones are left as they were drawn, and said aloud.

    Raises ConfigError for a tag that the library does not know, WeightsError for weights not to be had.
    """
    if config.weights == weights.RANDOM:
        log.warning("%s begins with random weights (seed %s)", config.cnn_backbone, config.seed)
        return
    of_timm = config.cnn_backbone not in ("vgg16", "resnet50")
    wanted = CnnConfig(library="timm" if of_timm else "torchvision", model=config.cnn_backbone, weights=config.weights)
    folder = str(weights_dir) if weights_dir is not None else None
    feature = replace(cnn.describe(config.cnn_backbone, wanted, "float32", folder), weights_dir=folder)
    state, network = cnn.network(feature).state_dict(), model.backbone.network
    network.load_state_dict({name: state[name] for name in network.state_dict()})
