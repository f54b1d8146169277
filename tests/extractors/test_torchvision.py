"""torchvision's classifiers of all families at layers of all kinds, and built as its own builders do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models import WeightsEnum

from photorank.config import CnnConfig
from photorank.errors import ConfigError
from photorank.extractors import Feature, build, describe, preparer
from photorank.store import fingerprint
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


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


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
SLOW = {"maxvit_t": pytest.mark.slow}


@pytest.mark.parametrize("model", [pytest.param(each, marks=SLOW.get(each, ())) for each in FAMILIES])
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
    [("vgg11", "fc7", 1), ("vit_b_16", "encoder.ln", 100), ("maxvit_t", "blocks.1", 250)],
)
def test_a_size_that_a_model_does_not_take_is_one_sentence(model: str, layer: str, size: int) -> None:
    said = rf"{model} does not take photos of {size} by {size} pixels \(.*\); set another `size`"
    with pytest.raises(ConfigError, match=said) as error:
        build(describe("x", CnnConfig(model=model, layer=layer, weights="random", size=size)), "cpu", 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["fasterrcnn_resnet50_fpn", "fcn_resnet50", "r3d_18", "raft_small"])
@pytest.mark.parametrize("weights", ["random", "DEFAULT"])
def test_what_classifies_no_photos_is_refused(model: str, weights: str) -> None:
    with pytest.raises(ConfigError, match=f"torchvision's {model} is no classifier"):
        build(describe("x", CnnConfig(model=model, layer="backbone", weights=weights)), "cpu", 1)


def own_builder(model: str, tag: str, file: Path) -> torch.nn.Module:
    """torchvision's builder with the weights of a tag, in whose place come seeded ones, which are saved as the file."""
    known = torchvision.models.get_model_weights(model)[tag]
    with pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(1)
        patch.setattr(WeightsEnum, "get_state_dict", lambda self, **_: None)
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: torch.save(self.state_dict(), file))
        torchvision.models.get_model(model, weights=known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightsEnum, "get_state_dict", lambda self, **_: torch.load(file, weights_only=True))
        return torchvision.models.get_model(model, weights=known).eval()


@pytest.mark.parametrize(
    ("model", "tag", "layer", "size"),
    [
        pytest.param("inception_v3", "IMAGENET1K_V1", "avgpool", 299, marks=pytest.mark.slow),
        ("googlenet", "IMAGENET1K_V1", "avgpool", 224),
        pytest.param("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", "getitem_5", 384, marks=pytest.mark.slow),
    ],
)
def test_a_tag_gives_the_vectors_of_torchvisions_own_builder(
    model: str, tag: str, layer: str, size: int, tmp_path: Path
) -> None:
    file = tmp_path / f"{model}--{tag}.pth"
    oracle: Any = own_builder(model, tag, file)
    setattr(oracle, "heads" if model.startswith("vit") else "fc", torch.nn.Identity())
    config = CnnConfig(model=model, weights=tag, layer=layer, size=size)
    feature = describe("x", config, weights_dir=str(tmp_path))
    located = Feature(**{**feature.__dict__, "weights_dir": str(tmp_path)})
    with torch.inference_mode():
        expected = oracle(batch(feature)).numpy()
    found = vectors(located)
    assert found.shape == expected.shape
    assert cosine(found, expected) >= 0.9999
    # The same file by its path: what it is called says the same.
    by_path = describe("x", config.model_copy(update={"weights": str(file)}))
    assert fingerprint(by_path.spec) == fingerprint(feature.spec)
    assert np.array_equal(vectors(by_path), found)


def test_weights_for_photos_of_another_size_say_which(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save({"encoder.pos_embedding": torch.zeros(1, 1 + 24**2, 768)}, file)
    with pytest.raises(ConfigError, match=r"of vit_b_16 for photos of 384 by 384 pixels: set `size: 384`"):
        build(describe("x", CnnConfig(model="vit_b_16", layer="encoder", weights=str(file))), "cpu", 1)
