"""torchvision's classifiers of all families at layers of all kinds."""

import numpy as np
import pytest
import torch
import torchvision

from photorank.config import CnnConfig
from photorank.errors import ConfigError
from photorank.extractors import Feature, build, describe, preparer
from tests.conftest import make_picture


def prepared(feature: Feature) -> list[tuple[np.ndarray]]:
    return [preparer(feature)(np.asarray(make_picture(seed))) for seed in (1, 2)]


def vectors(feature: Feature) -> np.ndarray:
    return build(feature, "cpu", 2).embed(prepared(feature))


def batch(feature: Feature) -> torch.Tensor:
    """What torchvision's preset makes of what the network is to see."""
    known = feature.spec["preprocessing"]
    mean, std = (torch.tensor(known[name]).view(3, 1, 1) for name in ("mean", "std"))
    photos = [torch.from_numpy(photo).permute(2, 0, 1) / 255 for (photo,) in prepared(feature)]
    return torch.stack([(photo - mean) / std for photo in photos])


# Each module's axis of channels, by what its authors write of it.
FAMILIES: dict[str, dict[str, int]] = {
    "swin_t": {"features.0.0": 1, "features.2": -1, "norm": -1, "permute": 1},
    "swin_v2_t": {"norm": -1},
    "convnext_tiny": {"features.1": 1, "features.1.0.block.1": -1, "features.1.0.block.2": -1},
    "maxvit_t": {"blocks.0.layers.0.layers.window_attention.attn_layer": -1, "blocks.0": 1},
    "vit_b_16": {"conv_proj": 1, "encoder.dropout": -1},
    "efficientnet_b0": {"features.4": 1},
    "regnet_y_400mf": {"trunk_output.block2": 1},
    "shufflenet_v2_x0_5": {"stage2": 1},
}


@pytest.mark.parametrize("model", FAMILIES)
def test_vectors_are_the_means_of_a_layers_channels(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    oracle = torchvision.models.get_model(model, weights=None).eval()
    # Drawn once: what is looked at is the layers.
    monkeypatch.setattr("torchvision.models.get_model", lambda *_, **__: oracle)
    found: dict[str, torch.Tensor] = {}
    for layer in FAMILIES[model]:
        oracle.get_submodule(layer).register_forward_hook(
            lambda module, args, out, layer=layer: found.__setitem__(layer, out.clone())
        )
    with torch.inference_mode():
        oracle(batch(describe("x", CnnConfig(model=model, weights="random"))))
    for module in oracle.modules():
        module._forward_hooks.clear()
    for layer, axis in FAMILIES[model].items():
        out = found[layer]
        rest = [each for each in range(1, out.ndim) if each != axis % out.ndim]
        expected = (out.mean(rest) if rest else out).numpy()
        ours = vectors(describe("x", CnnConfig(model=model, layer=layer, weights="random")))
        assert ours.shape == expected.shape, layer
        np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max(), err_msg=layer)


@pytest.mark.parametrize(
    ("model", "layer"),
    [("vit_b_16", "getattr"), ("vit_b_16", "floordiv"), ("vit_b_16", "encoder.layers.encoder_layer_0.self_attention")],
)
def test_a_layer_without_maps_or_vectors_is_one_sentence_that_names_some(model: str, layer: str) -> None:
    with pytest.raises(ConfigError, match=rf"at '{layer}'; name a module that does: conv_proj, encoder, heads, or"):
        build(describe("x", CnnConfig(model=model, layer=layer, weights="random")), "cpu", 1)


@pytest.mark.parametrize(
    ("model", "layer", "size"),
    [("vgg11", "fc7", 1), ("vit_b_16", "encoder.ln", 100)],
)
def test_a_size_that_a_model_does_not_take_is_one_sentence(model: str, layer: str, size: int) -> None:
    said = rf"{model} does not take photos of {size} by {size} pixels \(.*\); set another `size`"
    with pytest.raises(ConfigError, match=said) as error:
        build(describe("x", CnnConfig(model=model, layer=layer, weights="random", size=size)), "cpu", 1)
    assert "\n" not in str(error.value)
