"""timm's models: vectors against timm's own transform and forward pass on seeded weights, however these are had."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from photorank.config import CnnConfig, ExtractConfig, dump_config, parse_config
from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, build, describe, preparer, weights
from photorank.photos import decode_photo, photo_key
from photorank.stages.extract import extract
from photorank.store import FeatureStore, fingerprint
from tests.conftest import make_picture
from tests.extractors.test_models import cosine

# Name of the model and the side of its square: DINOv2, DINOv3, SigLIP (which pools by attention) and ConvNeXt.
MODELS = {
    "vit_small_patch14_dinov2": 518, "vit_tiny_patch16_dinov3_qkvb": 256, "vit_base_patch16_siglip_224": 224,
    "convnext_atto": 224,
}  # fmt: skip
TINY = "test_resnet"  # of timm's own models for tests


def config(model: str = TINY, **options: Any) -> CnnConfig:
    return CnnConfig.model_validate({"library": "timm", "model": model, "weights": "random", **options})


def photos() -> list[np.ndarray]:
    """One lying, one upright and narrow: (height, width, 3) uint8."""
    return [np.asarray(make_picture(1, 400, 301)), np.asarray(make_picture(2, 123, 500))]


def vectors(feature: Feature) -> np.ndarray:
    extractor = build(feature, "cpu", 2)
    out = extractor.embed([preparer(feature)(photo) for photo in photos()])
    assert (len(out), out.ndim, out.dtype) == (2, 2, np.float32)
    return out


@torch.inference_mode()
def timms_own(model: torch.nn.Module) -> np.ndarray:
    """Pooled features of the photos, by the transform that timm makes for the model."""
    model.eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    batch = torch.stack([transform(Image.fromarray(photo)) for photo in photos()])
    out: torch.Tensor = model.forward_head(model.forward_features(batch), pre_logits=True)  # type: ignore[operator]
    return out.numpy()


def seeded(model: str, seed: int = 0, **options: Any) -> torch.nn.Module:
    """A model that tells photos apart: some start with all but their first layer scaled to nearly nothing."""
    torch.manual_seed(seed)
    made: torch.nn.Module = timm.create_model(model, **options)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith("gamma") or "gamma_" in name:
                value.fill_(0.5)
    return made


def save(model: torch.nn.Module, file: Path) -> Path:
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=[pytest.mark.slow] if "siglip" in model else []) for model in MODELS]
)
def test_vectors_are_timms_own(model: str, tmp_path: Path) -> None:
    suffix = ".pt" if "patch16" in model else ".safetensors"
    file = save(seeded(model), tmp_path / f"weights{suffix}")
    expected = timms_own(timm.create_model(model, checkpoint_path=file))
    assert cosine(expected, expected[::-1]) < 0.99  # the photos are told apart
    for precision, least in (("float32", 0.9999), ("bfloat16", 0.999)):
        feature = describe("mine", config(model, weights=str(file)), precision)
        assert feature.spec["preprocessing"]["size"] == [MODELS[model]] * 2
        assert feature.spec["weights"] == weights.file_identity(file)
        assert cosine(vectors(feature), expected) >= least


@pytest.mark.parametrize(
    "model", ["convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050", TINY]
)
def test_features_are_those_of_a_model_without_classes(model: str) -> None:
    """Of nets that pool maps, tokens and channels-last maps, and of one with a layer between pooling and classifier."""
    found = vectors(describe("mine", config(model, seed=4)))
    torch.manual_seed(4)
    bare = timm.create_model(model, num_classes=0)
    assert cosine(found, timms_own(bare)) >= 0.9999
    assert found.shape[1] == bare.head_hidden_size


def configs_of_timm() -> list[str]:
    """The smallest model for each way of preprocessing that timm's weights ask for."""
    found: dict[tuple[Any, ...], tuple[int, str]] = {}
    for name in timm.list_pretrained():
        known = timm.get_pretrained_cfg(name)
        kind = known.crop_mode, known.interpolation, known.crop_pct, known.input_size[1] == known.input_size[2]
        found[kind] = min(found.get(kind, (10**9, "")), (known.input_size[1] * known.input_size[2], name))
    return [name for _, name in found.values()]


def test_pixels_are_those_of_timms_transform_for_every_way_it_has() -> None:
    """Each crop mode, interpolation and share that is cut, square or not; bit for bit."""
    ways = configs_of_timm()
    assert len(ways) > 20
    assert {timm.get_pretrained_cfg(name).crop_mode for name in ways} == {"center", "squash", "border"}
    for name in ways:
        known = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        transform = timm.data.create_transform(**known, is_training=False, normalize=False)
        feature = describe("mine", config(name))
        for photo in photos():
            own = transform(Image.fromarray(photo)).permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(preparer(feature)(photo)[0], own, name)
        assert feature.spec["preprocessing"]["mean"] == list(known["mean"])
        assert feature.spec["preprocessing"]["std"] == list(known["std"])


@pytest.mark.parametrize("model", [TINY, "test_vit", "test_convnext"])
@pytest.mark.parametrize("classes", [0, 1000, 7])
def test_a_files_classifier_makes_no_difference(model: str, classes: int, tmp_path: Path) -> None:
    """Whether the file has none, timm's own, or one trained for something else."""
    made = seeded(model, num_classes=classes)
    found = vectors(describe("mine", config(model, weights=str(save(made, tmp_path / "w.safetensors")))))
    made.reset_classifier(0)  # type: ignore[operator]
    assert cosine(found, timms_own(made)) >= 0.9999


def test_a_file_that_lacks_a_layer_or_has_another_ones_is_refused(tmp_path: Path) -> None:
    state = seeded(TINY).state_dict()
    for key in ("layer2.0.conv1.weight", "conv1.0.weight"):
        assert key in state
        file = tmp_path / "short.pt"
        torch.save({name: value for name, value in state.items() if name != key}, file)
        with pytest.raises(WeightsError, match=rf"short.pt does not hold weights of {TINY}: .*{key}"):
            build(describe("mine", config(weights=str(file))), "cpu", 1)
    other = save(seeded("test_vit"), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=f"does not hold weights of {TINY}") as caught:
        build(describe("mine", config(weights=str(other))), "cpu", 1)
    assert "\n" not in str(caught.value)


def cached(monkeypatch: pytest.MonkeyPatch, cache: Path, model: str, file: str) -> Path:
    """A hub's cache that holds seeded weights as the pretrained ones of a model."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = cache / f"models--timm--{model}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return save(seeded(model.split(".")[0], seed=9), snapshot / file)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_pretrained_weights_are_those_in_the_hubs_cache(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("nothing was to be asked of the network")

    path = cached(monkeypatch, tmp_path, "test_vit.r160_in1k", file)
    monkeypatch.setattr("socket.getaddrinfo", refused)
    by_default, by_tag = (describe("mine", config(name, weights="pretrained")) for name in ("test_vit", TAGGED))
    assert by_default == by_tag
    assert by_tag.source == TAGGED
    assert by_tag.spec["weights"] == weights.file_identity(path)
    found = vectors(by_tag)
    assert cosine(found, timms_own(seeded("test_vit", seed=9))) >= 0.9999
    if file == "model.safetensors":  # timm itself asks the hub for that one before it takes the other
        assert cosine(found, timms_own(timm.create_model("test_vit", pretrained=True))) >= 0.9999
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="is not the weights file that the spec names"):
        build(by_tag, "cpu", 1)


TAGGED = "test_vit.r160_in1k"


def test_weights_that_cannot_be_fetched_are_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*_: object, **__: object) -> None:
        raise OSError("no network")

    def patient(*_: object, **__: object) -> None:
        raise AssertionError("the hub's client would try for long")

    monkeypatch.setattr("socket.getaddrinfo", unresolved)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", patient)
    with pytest.raises(
        WeightsError,
        match=r"of test_vit are not in the cache .*timm/test_vit.r160_in1k: bring the file as "
        r"test_vit.r160_in1k--pretrained.safetensors, .* \(--weights-dir DIR\), or use `--config random`",
    ) as caught:
        describe("mine", config("test_vit", weights="pretrained"))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("torch.hub.download_url_to_file", unresolved)
    with pytest.raises(WeightsError, match=r"of \S+ are not in the cache .* from https://"):
        describe("mine", config(only_by_url(), weights="pretrained"))


def only_by_url() -> str:
    known = {name: timm.get_pretrained_cfg(name) for name in timm.list_pretrained()}
    return next(name for name, each in known.items() if each.url and not each.hf_hub_id)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "vit_smal_patch14_dinov2"}, "no model 'vit_smal_.*near it are: vit_small_patch14_dinov2"),
        ({"model": "resnet18.nope"}, "no model 'resnet18.nope'; with a tag there are: .*resnet18.a1_in1k"),
        ({"model": "ViT-B-32"}, "no model 'ViT-B-32'"),
        ({"weights": "a1_in1k"}, "no weights 'a1_in1k': they are `pretrained`, a file or `random`, and a tag is part"),
        ({"model": "resnet200", "weights": "pretrained"}, "no pretrained weights of resnet200: name a file"),
        ({"layer": "layer4"}, "mine: `layer` is for torchvision's models; .* leave it out"),
        ({"size": 224}, "mine: `size` is for torchvision's"),
        ({"preprocessing": "paper"}, "mine: `preprocessing` is for torchvision's"),
    ],
)  # fmt: skip
def test_what_timm_does_not_have_is_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        describe("mine", config(**{"model": TINY, **options}))
    assert "\n" not in str(caught.value)


def test_a_resolved_config_asks_for_the_same_feature() -> None:
    """It holds every default but those of torchvision's options, which would be refused."""
    asked = ExtractConfig(features={"look": config(seed=2)})
    values = yaml.safe_load(dump_config(asked))
    assert set(values["features"]["look"]) == {"kind", "library", "model", "weights", "seed", "precision", "decode"}
    again = parse_config(ExtractConfig, values, "resolved.yaml")
    assert describe("look", again.features["look"]) == describe("look", asked.features["look"])


def test_the_fingerprint_is_of_the_preprocessing_and_not_of_the_tag(tmp_path: Path) -> None:
    file = str(save(timm.create_model("resnet18"), tmp_path / "w.safetensors"))

    def of(model: str, **options: Any) -> str:
        spec = describe("mine", config(model, **options)).spec
        assert json.loads(json.dumps(spec)) == spec
        return fingerprint(spec)

    assert of("resnet18", weights=file) == of("resnet18.a1_in1k", weights=file)
    assert of("resnet18", weights=file) != of("resnet18.tv_in1k", weights=file)  # bilinear, and less is cut
    assert len({of("resnet18"), of("resnet18", seed=1), of("resnet18", weights=file), of("resnet34")}) == 4
    torchvisions = describe("mine", CnnConfig(model="resnet18", weights="random"))
    assert fingerprint(torchvisions.spec) != of("resnet18")


def test_photos_through_extract(photo_folder: Path, tmp_path: Path) -> None:
    features = {"look": config("test_vit", seed=1, precision="float32")}
    extract([photo_folder], tmp_path / "S", ExtractConfig(features=features, device="cpu", batch_size=4))
    space = FeatureStore.open(tmp_path / "S").space("look")
    assert (len(space), space.role) == (6, "visual")
    feature = describe("look", features["look"])
    extractor = build(feature, "cpu", 4)
    for path in photo_folder.rglob("*.*"):
        data = path.read_bytes()
        own = extractor.embed([preparer(feature)(decode_photo(data).rgb)])
        np.testing.assert_array_equal(space.load([photo_key(data)])[1], own.astype(np.float16))


def test_processes_that_load_photos_import_neither_timm_nor_torch() -> None:
    spec = describe("mine", config()).spec
    code = (
        "import json, sys, numpy\n"
        "from photorank.stages.loader import Feature, preparer\n"
        "feature = Feature('mine', json.loads(sys.argv[1]), 'visual', 'float16')\n"
        "print(preparer(feature)(numpy.zeros((300, 200, 3), 'u1'))[0].shape, *{'torch', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(spec)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(160, 160, 3)"
