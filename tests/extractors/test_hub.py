"""open_clip models of the Hugging Face hub, from a cache laid out as its client does, against open_clip itself."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from photorank.config import ClipConfig, ExtractConfig
from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, build, describe, preparer
from photorank.stages.weights import feature_weights
from photorank.store import fingerprint
from tests.conftest import Run, make_picture, put_in_hub

REPOSITORY = "someone/tiny-clip"
MODEL = f"hf-hub:{REPOSITORY}"
FILE, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESSING = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": "longest"}


def weights_of(architecture: dict[str, Any], file: Path) -> Path:
    torch.manual_seed(7)
    state = open_clip.CLIP(**architecture).state_dict()
    for name, value in state.items():  # far from the small values that it begins with, where all activations are alike
        state[name] = value.contiguous() * (3 if value.ndim > 1 else 1)
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file


def config_text(architecture: dict[str, Any] = ARCHITECTURE, preprocessing: dict[str, Any] = PREPROCESSING) -> str:
    return json.dumps({"model_cfg": architecture, "preprocess_cfg": preprocessing})


def vectors(feature: Feature) -> np.ndarray:
    extractor = build(feature, "cpu", 4)
    out = extractor.embed([preparer(feature)(np.asarray(each)) for each in pictures()])
    assert out.shape[0] == 3
    return out


def pictures() -> list[Image.Image]:
    return [make_picture(1), make_picture(2, 90, 200), make_picture(3, 50, 40)]


def open_clips_own() -> np.ndarray:
    model, preprocess = open_clip.create_model_from_pretrained(MODEL)
    with torch.inference_mode():
        batch = torch.stack([preprocess(each) for each in pictures()])
        encoded: torch.Tensor = model.eval().encode_image(batch, normalize=True)
    return encoded.numpy()


@pytest.mark.parametrize(
    ("file", "quick_gelu", "preprocessing"),
    [
        (FILE, False, PREPROCESSING),
        ("open_clip_pytorch_model.bin", False, {**PREPROCESSING, "fill_color": 90}),
        (FILE, True, {**PREPROCESSING, "resize_mode": "squash", "interpolation": "bicubic"}),
        (FILE, False, {**PREPROCESSING, "resize_mode": "shortest", "mean": None}),
        (FILE, False, {}),
    ],
)
def test_vectors_are_open_clips_own_from_the_cache(
    file: str, quick_gelu: bool, preprocessing: dict[str, Any], hub: Path, tmp_path: Path
) -> None:
    architecture = {**ARCHITECTURE, "quick_gelu": quick_gelu}
    weights = weights_of(architecture, tmp_path / file)
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text(architecture, preprocessing), file: weights})
    feature = describe("clip", ClipConfig(model=MODEL))
    assert feature.spec["weights"] == {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    found, expected = vectors(feature), open_clips_own()
    assert float((found * expected).sum(1).min()) >= 0.9999
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert json.loads(json.dumps(feature.spec)) == feature.spec


def test_what_the_repositorys_files_say_is_the_identity(hub: Path, tmp_path: Path) -> None:
    """Its weights, its preprocessing and its architecture; not the folder in which they lie."""
    weights = weights_of(ARCHITECTURE, tmp_path / FILE)
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text(), FILE: weights})
    cached = describe("clip", ClipConfig(model=MODEL))
    brought = tmp_path / "brought" / "tiny-clip"
    brought.mkdir(parents=True)
    (brought / FILE).hardlink_to(weights)
    (brought / CONFIG).write_text(config_text())

    def described() -> Feature:
        feature = describe("clip", ClipConfig(model=MODEL), weights_dir=str(brought.parent))
        return Feature(**{**feature.__dict__, "weights_dir": str(brought.parent)})

    same = described()
    assert fingerprint(same.spec) == fingerprint(cached.spec)
    np.testing.assert_array_equal(vectors(same), vectors(cached))
    (brought / CONFIG).write_text(config_text(preprocessing={**PREPROCESSING, "resize_mode": "squash"}))
    squashed = described()
    more_heads = {**ARCHITECTURE, "vision_cfg": {**ARCHITECTURE["vision_cfg"], "head_width": 16}}
    (brought / CONFIG).write_text(config_text(more_heads))
    headed = described()
    assert len({fingerprint(each.spec) for each in (cached, squashed, headed)}) == 3
    assert not np.allclose(vectors(headed), vectors(cached), atol=1e-3)
    with pytest.raises(WeightsError, match=r"the open_clip_config.json of hf-hub:someone/tiny-clip is not the one"):
        build(same, "cpu", 1)


def test_its_architecture_takes_a_weights_file_and_random_weights(hub: Path, tmp_path: Path) -> None:
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text(), FILE: weights_of(ARCHITECTURE, tmp_path / FILE)})
    by_file = describe("clip", ClipConfig(model=MODEL, weights=str(tmp_path / FILE)))
    np.testing.assert_allclose(vectors(by_file), open_clips_own(), atol=1e-5)
    assert vectors(describe("clip", ClipConfig(model=MODEL, weights="random"))).shape == (3, 48)


def test_a_text_tower_of_another_repository_is_not_fetched(hub: Path, tmp_path: Path) -> None:
    """Texts are never looked at: neither random weights nor a file need that repository's config."""
    plain = vectors(describe("clip", ClipConfig(model="ViT-B-32-quickgelu", weights="random", seed=3)))
    roberta = vectors(describe("clip", ClipConfig(model="roberta-ViT-B-32", weights="random", seed=3)))
    np.testing.assert_array_equal(roberta, plain)  # the image tower is drawn first
    other = {**ARCHITECTURE, "text_cfg": {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}}
    torch.manual_seed(7)
    oracle = open_clip.CustomTextCLIP(**ARCHITECTURE)
    state = {name: value for name, value in oracle.state_dict().items() if not name.startswith("text.")}
    save_file({**state, "text.transformer.embeddings.word_embeddings.weight": torch.ones(9, 3)}, tmp_path / FILE)
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text(other), FILE: tmp_path / FILE})
    preprocess: Any = image_transform_v2(PreprocessCfg(size=64, **PREPROCESSING), is_train=False)
    with torch.inference_mode():
        batch = torch.stack([preprocess(each) for each in pictures()])
        expected = oracle.eval().encode_image(batch, normalize=True).numpy()
    np.testing.assert_allclose(vectors(describe("clip", ClipConfig(model=MODEL))), expected, atol=1e-5)


def test_a_repository_that_is_nowhere_is_one_sentence_at_once(hub: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    for folder in (None, str(tmp_path)):
        with pytest.raises(WeightsError) as error:
            describe("clip", ClipConfig(model=MODEL), weights_dir=folder)
        said = str(error.value)
        for part in (
            "of hf-hub:someone/tiny-clip", f"tiny-clip/{FILE} or tiny-clip/open_clip_pytorch_model.bin",
            f"{CONFIG} beside it", "models--someone--tiny-clip", "--weights-dir DIR" if folder is None else folder,
            "which need none",
        ):  # fmt: skip
            assert part in said
        assert "\n" not in said
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text()})
    with pytest.raises(WeightsError, match="could not be fetched"):
        describe("clip", ClipConfig(model=MODEL))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("text", ["", "[]", '{"model_cfg": {}}', '{"model_cfg": {"embed_dim": 3, "vision_cfg": 1}}'])
def test_a_config_that_is_none_is_refused(text: str, hub: Path, tmp_path: Path) -> None:
    put_in_hub(hub, REPOSITORY, {CONFIG: text, FILE: weights_of(ARCHITECTURE, tmp_path / FILE)})
    with pytest.raises(ConfigError, match=r"open_clip_config.json is no config of an open_clip model") as error:
        describe("clip", ClipConfig(model=MODEL))
    assert "\n" not in str(error.value)


def test_weights_of_another_architecture_are_refused(hub: Path, tmp_path: Path) -> None:
    wider = {**ARCHITECTURE, "embed_dim": 64}
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text(), FILE: weights_of(wider, tmp_path / FILE)})
    with pytest.raises(WeightsError, match="does not hold weights of hf-hub:someone/tiny-clip"):
        build(describe("clip", ClipConfig(model=MODEL)), "cpu", 1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (ClipConfig(model="hf-hub:tiny-clip"), "is written hf-hub:organisation/name, not 'hf-hub:tiny-clip'"),
        (ClipConfig(model="hf-hub:../x"), "is written hf-hub:organisation/name, not 'hf-hub:../x'"),
        (ClipConfig(model="hf-hub:a--b/x"), "is written hf-hub:organisation/name"),
        (ClipConfig(model="hf-hub:"), "is written hf-hub:organisation/name"),
        (ClipConfig(model=MODEL, weights="openai"), "has weights of its own and no tag 'openai'; leave `weights` out"),
    ],
)
def test_what_is_written_wrong_is_one_sentence(config: ClipConfig, said: str, hub: Path, tmp_path: Path) -> None:
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text(), FILE: weights_of(ARCHITECTURE, tmp_path / FILE)})
    with pytest.raises(ConfigError, match=said):
        describe("clip", config)


@pytest.mark.slow
def test_the_command_extracts_and_checks_it(
    hub: Path, photo_folder: Path, tmp_path: Path, photorank_process: Run
) -> None:
    put_in_hub(hub, REPOSITORY, {CONFIG: config_text(), FILE: weights_of(ARCHITECTURE, tmp_path / FILE)})
    (row,) = feature_weights(ExtractConfig(features={"clip": ClipConfig(model=MODEL)}), hashed=True)
    assert row.sha256 == hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest()
    config = tmp_path / "mine.yaml"
    config.write_text(f"features: {{clip: {{kind: clip, model: '{MODEL}'}}}}\n")
    command = ("extract", photo_folder, "--store", tmp_path / "S", "--config", config, "--device", "cpu")
    done = photorank_process(*command, env={"HF_HUB_CACHE": str(hub)})
    assert done.returncode == 0, done.stderr
    assert "6 rows, 6 of them new" in done.stdout
    started = time.monotonic()
    lacking = photorank_process(*command, env={"HF_HUB_CACHE": str(tmp_path / "nowhere")})
    assert lacking.returncode == 1
    assert "of hf-hub:someone/tiny-clip are not in the cache" in lacking.stderr
    assert lacking.stderr.count("\n") == 1
    assert time.monotonic() - started < 30
