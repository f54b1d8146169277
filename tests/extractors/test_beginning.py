"""Where a Siamese ranker's backbone begins: at the weights that are named."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from photorank.config import E2eConfig
from photorank.errors import ConfigError, WeightsError
from photorank.extractors.beginning import load_beginning
from photorank.models.siamese import SiameseCNNRanker


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights as timm saves them, with a classifier."""
    torch.manual_seed(5)
    file = tmp_path / "somebody's.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), file)
    return file


def test_the_backbone_has_the_weights_of_the_file_and_the_head_its_own(weights: Path) -> None:
    model = SiameseCNNRanker("test_resnet")
    head = model.head.mlp[0].weight.clone()
    load_beginning(model, E2eConfig(cnn_backbone="test_resnet", weights=str(weights)))
    wanted = safetensors.torch.load_file(weights)
    for name, each in model.backbone.network.state_dict().items():
        assert torch.equal(each, wanted[name]), name
    assert torch.equal(model.head.mlp[0].weight, head)


def test_a_folder_brought_by_hand_is_looked_in(weights: Path) -> None:
    weights.rename(weights.with_name("test_resnet.r160_in1k--pretrained.safetensors"))
    model = SiameseCNNRanker("test_resnet")
    before = model.backbone.network.state_dict()["conv1.0.weight"].clone()
    load_beginning(model, E2eConfig(cnn_backbone="test_resnet"), weights.parent)
    assert not torch.equal(model.backbone.network.state_dict()["conv1.0.weight"], before)


def test_weights_that_are_not_there_or_of_another_model_are_a_sentence(weights: Path) -> None:
    model = SiameseCNNRanker("test_vit")
    with pytest.raises(WeightsError, match="does not hold weights of test_vit"):
        load_beginning(model, E2eConfig(cnn_backbone="test_vit", weights=str(weights)))
    with pytest.raises(ConfigError, match="timm has no weights 'IMAGENET'"):
        load_beginning(model, E2eConfig(cnn_backbone="test_vit", weights="IMAGENET"))
    with pytest.raises(WeightsError, match="cannot be read"):
        load_beginning(model, E2eConfig(cnn_backbone="test_vit", weights="gone.safetensors"))
