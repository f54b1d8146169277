"""CLIP and CNN vectors against the libraries' own code, on seeded weights and weights files."""

import dataclasses
import http.client
import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import open_clip
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from photorank.config import ClipConfig, CnnConfig, IqaConfig
from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Deferring, Feature, _torchvision, build, describe, preparer, weights
from photorank.store import fingerprint

# The smallest of open_clip's own architectures that is a plain ViT.
MODEL = "ViT-S-32"


def photos() -> list[np.ndarray]:
    """Three pictures of different shapes: (height, width, 3) uint8."""
    generator = np.random.default_rng(0)
    return [
        np.repeat(np.repeat(generator.integers(0, 256, (h, w, 3), np.uint8), 9, 0), 9, 1)
        for h, w in ((30, 40), (45, 25), (5, 70))
    ]


def vectors(feature: Feature, batch_size: int = 4) -> np.ndarray:
    extractor = build(feature, "cpu", batch_size)
    out = extractor.embed([preparer(feature)(photo) for photo in photos()])
    assert out.shape[0] == 3
    assert out.dtype == np.float32
    return out


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    product = (one * other).sum(1)
    return float((product / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


def open_clips_own(model: torch.nn.Module, preprocess: Any) -> np.ndarray:
    with torch.inference_mode():
        batch = torch.stack([preprocess(Image.fromarray(photo)) for photo in photos()])
        encoded: torch.Tensor = model.eval().encode_image(batch, normalize=True)  # type: ignore[operator]
    return encoded.numpy()


def torchvisions_own(model: torch.nn.Module) -> np.ndarray:
    preset = torchvision.transforms._presets.ImageClassification(crop_size=224, resize_size=256)
    with torch.inference_mode():
        out: torch.Tensor = model.eval()(torch.stack([preset(Image.fromarray(photo)) for photo in photos()]))
    return out.numpy()


@pytest.fixture(scope="module")
def clip_oracle() -> tuple[torch.nn.Module, Any]:
    torch.manual_seed(3)
    model, _, preprocess = open_clip.create_model_and_transforms(MODEL)
    return model, preprocess


def test_random_clip_vectors_are_open_clips_own(clip_oracle: tuple[torch.nn.Module, Any]) -> None:
    found = vectors(describe("clip", ClipConfig(model=MODEL, weights="random", seed=3)))
    assert cosine(found, open_clips_own(*clip_oracle)) >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_clip_weights_file_is_loaded_and_identified(
    suffix: str, clip_oracle: tuple[torch.nn.Module, Any], tmp_path: Path
) -> None:
    file = tmp_path / f"weights{suffix}"
    state = {name: value.contiguous() for name, value in clip_oracle[0].state_dict().items()}
    if suffix == ".pt":
        torch.save(state, file)
    else:
        save_file(state, file)
    feature = describe("clip", ClipConfig(model=MODEL, weights=str(file)))
    assert feature.spec["weights"] == weights.file_identity(file)
    assert cosine(vectors(feature), open_clips_own(*clip_oracle)) >= 0.9999


def test_weights_trained_with_quickgelu_get_it(
    clip_oracle: tuple[torch.nn.Module, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their tag, which open_clip alone only warns about, and by an architecture that says so."""
    file = tmp_path / "openai.pt"
    torch.save(clip_oracle[0].state_dict(), file)
    known = {**open_clip.get_pretrained_cfg("ViT-B-32", "openai"), "url": "", "hf_hub": ""}
    assert known["quick_gelu"]
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda model, tag: known)
    monkeypatch.setattr("open_clip.factory.get_pretrained_cfg", lambda model, tag: known)
    for name in ("open_clip.download_pretrained", "open_clip.factory.download_pretrained"):
        monkeypatch.setattr(name, lambda *_, **__: str(file))
    feature = describe("clip", ClipConfig(model=MODEL, weights="openai"))
    assert feature.spec["quick_gelu"] is True
    assert feature.spec["weights"] == weights.file_identity(file)
    oracle = open_clip.create_model(MODEL, pretrained=str(file), force_quick_gelu=True)
    found = vectors(feature)
    # Random weights keep activations small, where the two functions are nearly alike: 3e-5 apart.
    assert 1 - cosine(found, open_clips_own(oracle, clip_oracle[1])) < 1e-6
    assert 1 - cosine(found, open_clips_own(*clip_oracle)) > 1e-5
    plain = describe("clip", ClipConfig(model=MODEL, weights=str(file)))
    assert fingerprint(plain.spec) != fingerprint(feature.spec)


TAGGED = [("ViT-B-32", "openai"), ("ViT-B-16-SigLIP", "webli"), ("ViT-B-32", "laion2b_s34b_b79k")]


@pytest.mark.parametrize(("model", "tag"), TAGGED)
def test_a_file_gives_what_its_tag_gives_once_it_is_known(
    model: str, tag: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By its name or by `tag`; the three places where one file may lie are one space."""
    brought, renamed = tmp_path / f"{model}--{tag}.pt", tmp_path / "renamed.pt"
    for file in (brought, renamed):
        file.write_bytes(b"not looked into")
    by_tag = describe("clip", ClipConfig(model=model, weights=tag), weights_dir=str(tmp_path))
    by_name = describe("clip", ClipConfig(model=model, weights=str(brought)))
    told = describe("clip", ClipConfig(model=model, weights=str(renamed), tag=tag))
    assert fingerprint(by_tag.spec) == fingerprint(by_name.spec) == fingerprint(told.spec)
    assert not caplog.records
    unknown = [describe("clip", ClipConfig(model=model, weights=str(renamed)), each) for each in ("float32", "float16")]
    same = fingerprint(unknown[0].spec) == fingerprint(by_tag.spec)
    assert same == (tag == "laion2b_s34b_b79k")
    (record,) = caplog.records
    said = record.getMessage()
    assert f"{renamed} is taken to be trained without QuickGELU on photos whose shorter side" in said
    assert "openai" in said or "webli" in said
    assert f"say so with `tag: TAG`, or name the file {model}--TAG.pt" in said


def test_a_file_of_an_architecture_without_other_weights_is_not_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "w.pt").write_bytes(b"not looked into")
    describe("clip", ClipConfig(model="roberta-ViT-B-32", weights=str(tmp_path / "w.pt")))
    describe("clip", ClipConfig(model="ViT-B-32-quickgelu", weights=str(tmp_path / "w.pt")))
    assert not caplog.records


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resnet50_vectors_are_torchvisions_own(precision: str) -> None:
    torch.manual_seed(5)
    model = torchvision.models.resnet50(weights=None)
    model.fc = torch.nn.Identity()
    expected = torchvisions_own(model)
    found = vectors(describe("cnn", CnnConfig(weights="random", seed=5), precision))
    assert cosine(found, expected) >= (0.9999 if precision == "float32" else 0.999)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vectors_are_torchvisions_own_whatever_its_batch_normalisation_does(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(6)
    model = torchvision.models.resnet18(weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training: nothing is 0 or 1
            for values, low, high in (
                (module.running_mean, -0.5, 0.5), (module.running_var, 0.3, 3), (module.weight.data, 0.5, 2),
                (module.bias.data, -1, 1),
            ):  # fmt: skip
                assert values is not None
                values.uniform_(low, high)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    model.fc = torch.nn.Identity()
    config = CnnConfig(model="resnet18", weights=str(tmp_path / "w.safetensors"))
    found = vectors(describe("cnn", config, precision))
    assert cosine(found, torchvisions_own(model)) >= (0.9999 if precision == "float32" else 0.999)


def test_fc7_is_the_second_fully_connected_layer_after_its_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    # VGG16 has 138 million weights; VGG11 has the same classifier and the same names.
    torch.manual_seed(0)
    model = torchvision.models.vgg11(weights=None)
    model.classifier = model.classifier[:5]
    found = vectors(describe("cnn", CnnConfig(model="vgg11", layer="fc7", weights="random")))
    assert found.shape == (3, 4096)
    assert found.min() == 0
    assert cosine(found, torchvisions_own(model)) >= 0.9999


def test_a_middle_layer_is_averaged_over_the_picture(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = torchvision.models.resnet18(weights=None)
    file = tmp_path / "resnet18.safetensors"
    save_file(model.state_dict(), file)
    maps: list[torch.Tensor] = []
    model.layer3.register_forward_hook(lambda module, args, out: maps.append(out))
    torchvisions_own(model)
    found = vectors(describe("cnn", CnnConfig(model="resnet18", layer="layer3", weights=str(file))))
    assert cosine(found, maps[0].mean((2, 3)).numpy()) >= 0.9999


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    feature = describe("cnn", CnnConfig(model="resnet18", weights="random"))
    extractor = build(feature, "cpu", 8)
    prepared = [preparer(feature)(photo) for photo in photos()]
    together = extractor.embed(prepared)
    alone = np.concatenate([extractor.embed([each]) for each in prepared])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(extractor.embed(prepared[::-1]), together[::-1])


def test_a_batch_of_any_size_gives_the_same_vectors() -> None:
    """A processor sees a few photos of a batch at once; the last ones may be fewer."""
    feature = describe("cnn", CnnConfig(model="resnet18", layer="layer1", weights="random"))
    prepared = [preparer(feature)(photo) for photo in photos()]
    prepared = (prepared * 11)[:11]
    small, large = build(feature, "cpu", 8), build(feature, "cpu", 20)
    np.testing.assert_array_equal(
        large.embed(prepared), np.concatenate([small.embed(prepared[:8]), small.embed(prepared[8:])])
    )


def test_everything_that_changes_the_vector_changes_the_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, file)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    base = {"model": "resnet18", "weights": "random"}
    variants = [
        {}, {"seed": 1}, {"layer": "layer3"}, {"model": "resnet34"}, {"size": 192}, {"resize": 224},
        {"precision": "bfloat16"}, {"weights": str(file)}, {"weights": str(other)},
    ]  # fmt: skip
    specs = [describe("cnn", CnnConfig.model_validate(base | variant)).spec for variant in variants]
    assert len({fingerprint(spec) for spec in specs}) == len(variants)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(file.read_bytes())
    assert fingerprint(describe("cnn", CnnConfig(model="resnet18", weights=str(copy))).spec) == fingerprint(specs[-2])
    assert all(json.loads(json.dumps(spec)) == spec for spec in specs)


def test_a_weights_file_changed_in_place_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(torchvision.models.resnet18(weights=None).state_dict(), file)
    feature = describe("cnn", CnnConfig(model="resnet18", weights=str(file)))
    save_file(torchvision.models.resnet18(weights=None).state_dict(), file)
    with pytest.raises(WeightsError, match="not the weights file that the spec names"):
        build(feature, "cpu", 1)


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        (ClipConfig(model="ViT-B-33"), ConfigError, "no model 'ViT-B-33'; near it are: ViT-B-32"),
        (ClipConfig(weights="nope"), ConfigError, "no weights 'nope' for ViT-B-32; the tags are: openai"),
        (ClipConfig(), WeightsError, "'laion2b_s34b_b79k' of ViT-B-32 are not in the cache .* `--config random`"),
        (ClipConfig(tag="openai", weights="random"), ConfigError, "'random' is none; leave `tag` out"),
        (ClipConfig(tag="nope", weights=__file__), ConfigError, "no weights 'nope' for ViT-B-32; the tags are: openai"),
        (CnnConfig(model="resnet5"), ConfigError, "no model 'resnet5'"),
        (CnnConfig(weights="nope"), ConfigError, "no weights 'nope' for resnet50; the tags are: IMAGENET1K_V1"),
        (CnnConfig(weights="/nowhere/w.pt"), WeightsError, "/nowhere/w.pt cannot be read: No such file"),
        (CnnConfig(model="resnet5", weights="random"), ConfigError, "no model 'resnet5'"),
        (
            CnnConfig(model="resnet18", layer="layr4", weights="random"),
            ConfigError,
            "no layer 'layr4'; it has: .*layer4",
        ),
        (IqaConfig(statistics=False), ConfigError, "empty"),
        (IqaConfig(metrics=("ssim",)), ConfigError, "no no-reference metric 'ssim'"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(config: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        build(describe("mine", config), "cpu", 1)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there_name_the_file_and_what_runs_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refused)
    said = r"checkpoints.resnet50-11ad3fa6.pth\), .* `iqa` statistics, which need none"
    with pytest.raises(WeightsError, match=said):
        describe("cnn", CnnConfig())


@pytest.mark.parametrize("error", [None, http.client.IncompleteRead(b"half")])
def test_a_download_that_was_cut_off_is_a_sentence(
    error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, needs = tmp_path / "resnet50-11ad3fa6.pth", _torchvision.needs
    half.write_bytes(b"half of it")
    monkeypatch.setattr(_torchvision, "needs", lambda *tag: dataclasses.replace(needs(*tag), origin=half.as_uri()))
    if error is not None:
        monkeypatch.setattr("torch.hub.urlopen", Mock(side_effect=error))
    with pytest.raises(WeightsError, match=r"could not be fetched from .*resnet50-11ad3fa6\.pth: bring the file"):
        describe("cnn", CnnConfig())


@pytest.mark.parametrize(
    "content", [b"", b"not weights", b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02R."]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("config", [CnnConfig(model="resnet18"), ClipConfig(model=MODEL)], ids=["cnn", "clip"])
def test_a_file_that_holds_no_weights_is_refused_and_never_unpickled(
    content: bytes, suffix: str, config: Any, tmp_path: Path
) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="is not a file of weights"):
        build(describe("mine", config.model_copy(update={"weights": str(file)})), "cpu", 1)


@pytest.mark.parametrize("config", [CnnConfig(model="resnet18"), ClipConfig(model=MODEL)], ids=["cnn", "clip"])
def test_a_whole_model_that_was_pickled_is_a_sentence_of_ours(config: Any, tmp_path: Path) -> None:
    file = tmp_path / "whole.pt"
    torch.save(torchvision.models.resnet18(weights=None), file)
    with pytest.raises(WeightsError, match=r"is never unpickled; save the model's state_dict\(\) there") as error:
        build(describe("mine", config.model_copy(update={"weights": str(file)})), "cpu", 1)
    assert str(error.value).isprintable()
    assert "weights_only" not in str(error.value)


def test_what_pytorch_does_not_read_as_weights_is_not_read_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = tmp_path / "w.pt", []
    file.write_bytes(b"anything")

    def load(*_: object, weights_only: bool | None = None, **__: object) -> None:
        asked.append(weights_only)
        raise TypeError("an object that is no tensor")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(WeightsError, match="is not a file of weights: an object that is no tensor"):
        build(describe("clip", ClipConfig(model=MODEL, weights=str(file))), "cpu", 1)
    assert asked == [True]


def test_a_checkpoint_of_a_training_on_several_devices_is_read_as_open_clip_reads_it(
    clip_oracle: tuple[torch.nn.Module, Any], tmp_path: Path
) -> None:
    state = {f"module.{name}": value for name, value in clip_oracle[0].state_dict().items()}
    torch.save({"epoch": 3, "name": "mine", "state_dict": state}, tmp_path / "epoch_3.pt")
    feature = describe("clip", ClipConfig(model=MODEL, weights=str(tmp_path / "epoch_3.pt")))
    assert cosine(vectors(feature), open_clips_own(*clip_oracle)) >= 0.9999


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
    for config in (CnnConfig(model="resnet34", weights=str(file)), ClipConfig(model=MODEL, weights=str(file))):
        with pytest.raises(WeightsError, match="does not hold weights of"):
            build(describe("mine", config), "cpu", 1)


def test_pyiqa_metrics_are_pyiqas_own() -> None:
    pyiqa = pytest.importorskip("pyiqa", reason="pyiqa is an extra: pip install 'photorank[iqa]'")
    feature = describe("quality", IqaConfig(statistics=False, metrics=("piqe", "entropy")))
    assert feature.spec["metrics"]["lower_better"] == [True, False]
    extractor = build(feature, "cpu", 4)
    photo = np.kron(photos()[0], np.ones((2, 2, 1), np.uint8))
    found = extractor.embed([preparer(feature)(photo)])
    picture = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    expected = [float(pyiqa.create_metric(name, device="cpu")(picture)) for name in ("piqe", "entropy")]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "config",
    [CnnConfig(model="resnet18", weights="random"), ClipConfig(model=MODEL, weights="random")],
    ids=["cnn", "clip"],
)
def test_a_model_that_memory_does_not_hold_is_a_sentence(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    feature = describe("mine", config)
    to = torch.nn.Module.to

    def full(module: torch.nn.Module, *args: Any, **options: Any) -> torch.nn.Module:
        if args == ("cpu", torch.float32):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return to(module, *args, **options)

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ConfigError, match=f"the memory of cpu does not hold {config.model}; end what else uses it"):
        build(feature, "cpu", 4)


def test_a_device_that_is_full_is_not_told_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "zeros", Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(ConfigError, match="the memory of cuda does not hold anything more; end what else uses it"):
        build(describe("mine", CnnConfig(model="resnet18", weights="random")), "cuda", 4)


def measure(metric: Any, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What a feature of a metric, with pyiqa's own one replaced, gives for a picture of 40 by 30 pixels."""
    pytest.importorskip("pyiqa", reason="pyiqa is an extra: pip install 'photorank[iqa]'")
    monkeypatch.setattr("pyiqa.create_metric", lambda name, device: metric)
    feature = describe("quality", IqaConfig(statistics=False, metrics=("piqe",)))
    photo = np.zeros((30, 40, 3), np.uint8)
    return build(feature, "cpu", 1).embed([preparer(feature)(photo)])


def test_a_metric_that_fails_on_a_photo_is_named_with_its_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Mock(side_effect=RuntimeError("kernel size\ncannot be greater"), device="cpu")
    assert np.isnan(measure(failing, monkeypatch)).all()
    assert np.isnan(measure(Mock(return_value=float("nan"), device="cpu"), monkeypatch)).all()
    said = "quality: piqe fails on a photo of 40 by 30 pixels"
    cause = "RuntimeError: kernel size cannot be greater"
    assert [record.getMessage() for record in caplog.records] == [f"{said} ({cause})", f"{said} (it gives no number)"]


def test_a_metric_without_memory_is_no_failure_of_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory"), device="cpu")
    with pytest.raises(ConfigError, match="the memory of cpu does not hold piqe of 40 by 30 pixels; end what else"):
        measure(full, monkeypatch)


def test_a_metric_whose_weights_are_not_there_says_where_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyiqa", reason="pyiqa is an extra: pip install 'photorank[iqa]'")

    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("pyiqa.archs.niqe_arch.load_file_from_url", refused)
    with pytest.raises(WeightsError, match=r"weights for 'niqe' are not in its cache"):
        build(describe("quality", IqaConfig(metrics=("niqe",))), "cpu", 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(
    "config", [ClipConfig(model=MODEL, weights="random"), CnnConfig(weights="random")], ids=["clip", "cnn"]
)
def test_cuda_gives_the_vectors_of_the_processor(config: Any, precision: str) -> None:
    feature = describe("mine", config, precision)
    extractor = build(feature, "cuda", 4)
    found = extractor.embed([preparer(feature)(photo) for photo in photos()])
    expected = vectors(describe("mine", config, "float32"))
    assert cosine(found, expected) >= (0.9999 if precision == "float32" else 0.999)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_batches_that_are_begun_together_are_those_that_are_waited_for_each() -> None:
    feature = describe("mine", CnnConfig(weights="random"), "float32")
    extractor = build(feature, "cuda", 4)
    assert isinstance(extractor, Deferring)
    prepared = [preparer(feature)(photo) for photo in photos()]
    batches = [prepared[:4], prepared[::-1][:4], prepared[1:3]]
    before = time.perf_counter()
    begun = [extractor.begin(batch) for batch in batches]
    ended_before = before
    for batch, wait in zip(batches, begun, strict=True):
        rows, started, ended = wait()
        np.testing.assert_array_equal(rows, extractor.embed(batch))
        assert ended_before - 1e-3 <= started <= ended <= time.perf_counter() + 1e-3  # one after the other
        ended_before = ended


@pytest.mark.weights
def test_pretrained_weights_are_loaded_as_open_clip_loads_them() -> None:
    config = ClipConfig()
    try:
        feature = describe("clip", config)
    except WeightsError as error:
        pytest.skip(str(error))
    model, _, preprocess = open_clip.create_model_and_transforms(config.model, pretrained=config.weights)
    assert cosine(vectors(feature), open_clips_own(model, preprocess)) >= 0.9999


@pytest.mark.weights
def test_pretrained_weights_are_loaded_as_torchvision_loads_them() -> None:
    config = CnnConfig()
    try:
        feature = describe("cnn", config)
    except WeightsError as error:
        pytest.skip(str(error))
    model = torchvision.models.get_model(config.model, weights=config.weights)
    model.fc = torch.nn.Identity()
    assert cosine(vectors(feature), torchvisions_own(model)) >= 0.9999
