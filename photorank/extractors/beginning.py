"""Where the backbone of a Siamese ranker begins: the weights that `extract` would take for the same model."""

from __future__ import annotations

import logging
from dataclasses import replace

from photorank.config import CnnConfig, E2eConfig
from photorank.extractors import cnn, weights
from photorank.models.siamese import SiameseCNNRanker

log = logging.getLogger(__name__)


def load_beginning(model: SiameseCNNRanker, config: E2eConfig) -> None:
    """Load the weights that `config` names into the backbone; random ones are left as they were drawn, and said aloud.

    Raises ConfigError for a tag that the library does not know, WeightsError for weights not to be had.
    """
    if config.weights == weights.RANDOM:
        log.warning("%s begins with random weights (seed %s)", config.cnn_backbone, config.seed)
        return
    library = "torchvision" if config.cnn_backbone in ("vgg16", "resnet50") else "timm"
    wanted = CnnConfig(library=library, model=config.cnn_backbone, weights=config.weights)
    folder = str(config.weights_dir) if config.weights_dir is not None else None
    feature = replace(cnn.describe(config.cnn_backbone, wanted, "float32", folder), weights_dir=folder)
    state, network = cnn.network(feature).state_dict(), model.backbone.network
    network.load_state_dict({name: state[name] for name in network.state_dict()})
