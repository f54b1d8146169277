"""Weights brought by hand, in the hub's cache, or nowhere: found, told, identified by what they are and not where."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from photorank.config import ClipConfig, CnnConfig, ExtractConfig, HeadConfig, IqaConfig, OwnConfig
from photorank.errors import ConfigError, WeightsError
from photorank.extractors import Feature, build, describe, preparer
from photorank.runs import load_run
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.stages.rank import rank
from photorank.stages.weights import feature_weights
from photorank.store import FeatureStore, fingerprint
from tests.conftest import Run, make_picture, put_in_hub

MODEL, TAG = "ViT-B-32", "laion2b_s34b_b79k"
REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
RESNET = "resnet18-f37072fd.pth"


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("clip") / "w.safetensors"
    state = open_clip.create_model(MODEL).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    return file


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    file = tmp_path_factory.mktemp("resnet") / "w.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
    return file


def put(file: Path, folder: Path, name: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).hardlink_to(file)  # half a gigabyte, some of them
    return folder / name


def vector(feature: Feature) -> np.ndarray:
    picture = np.asarray(make_picture(1))
    return build(feature, "cpu", 1).embed([preparer(feature)(picture)])[0]


@pytest.mark.parametrize("place", ["named", "repository", "cache"])
def test_clip_weights_are_found_and_are_the_same_space_wherever_they_lie(
    place: str, hub: Path, clip_file: Path, tmp_path: Path
) -> None:
    put(clip_file, tmp_path / "far", "mine.safetensors")
    by_file = describe("clip", ClipConfig(model=MODEL, weights=str(tmp_path / "far" / "mine.safetensors")))
    brought = tmp_path / "brought"
    brought.mkdir()
    if place == "named":
        put(clip_file, brought, f"{MODEL}--{TAG}.safetensors")
    elif place == "repository":
        put(clip_file, brought, f"{REPOSITORY.partition('/')[2]}/open_clip_model.safetensors")
    else:
        put_in_hub(hub, REPOSITORY, {"open_clip_model.safetensors": clip_file})
    feature = describe("clip", ClipConfig(), weights_dir=str(brought))
    assert fingerprint(feature.spec) == fingerprint(by_file.spec)
    assert feature.source == TAG
    located = Feature(**{**feature.__dict__, "weights_dir": str(brought)})
    oracle, _, preprocess = open_clip.create_model_and_transforms(MODEL, pretrained=str(clip_file))
    with torch.inference_mode():
        expected = oracle.eval().encode_image(preprocess(make_picture(1))[None], normalize=True)[0].numpy()
    assert float(vector(located) @ expected) >= 0.9999


def test_what_was_brought_is_taken_before_the_cache(
    hub: Path, clip_file: Path, resnet_file: Path, tmp_path: Path
) -> None:
    put_in_hub(hub, REPOSITORY, {"open_clip_model.safetensors": clip_file})
    put(resnet_file, tmp_path / "brought", f"{MODEL}--{TAG}.pt")
    config = ExtractConfig(features={"clip": ClipConfig()}, weights_dir=tmp_path / "brought")
    (row,) = feature_weights(config)
    assert row.found == str(tmp_path / "brought" / f"{MODEL}--{TAG}.pt")
    (row,) = feature_weights(config.model_copy(update={"weights_dir": None}))
    assert row.found is not None
    assert row.found.startswith(str(hub))


def test_a_file_that_the_config_names_is_taken_before_one_of_its_name_that_was_brought(
    clip_file: Path, resnet_file: Path, tmp_path: Path
) -> None:
    """By the table as by what loads it."""
    put(resnet_file, tmp_path / "named", "x.safetensors")
    put(clip_file, tmp_path / "brought", "x.safetensors")
    wanted = CnnConfig(model="resnet18", weights=str(tmp_path / "named" / "x.safetensors"))
    for there, found in ((True, "named"), (False, "brought")):
        if not there:
            (tmp_path / "named" / "x.safetensors").unlink()
        config = ExtractConfig(features={"cnn": wanted}, weights_dir=tmp_path / "brought")
        (row,) = feature_weights(config, hashed=True)
        assert row.found == str(tmp_path / found / "x.safetensors")
        spec = describe("cnn", wanted, weights_dir=str(tmp_path / "brought")).spec
        assert spec["weights"]["sha256"] == row.sha256


@pytest.mark.parametrize("name", [RESNET, "resnet18--IMAGENET1K_V1.pth"])
def test_cnn_weights_are_found_by_torchvisions_name_and_by_ours(
    name: str, hub: Path, resnet_file: Path, tmp_path: Path
) -> None:
    put(resnet_file, tmp_path / "brought", name)
    feature = describe(
        "cnn", CnnConfig(model="resnet18", weights="IMAGENET1K_V1"), weights_dir=str(tmp_path / "brought")
    )
    by_file = describe("cnn", CnnConfig(model="resnet18", weights=str(resnet_file)))
    assert feature.spec == by_file.spec
    located = Feature(**{**feature.__dict__, "weights_dir": str(tmp_path / "brought")})
    np.testing.assert_array_equal(vector(located), vector(by_file))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (ClipConfig(), [f"'{TAG}' of {MODEL}", f"{MODEL}--{TAG}.safetensors", "models--laion--CLIP", REPOSITORY]),
        (ClipConfig(model="RN50", weights="yfcc15m"), ["'yfcc15m' of RN50", "RN50--yfcc15m.safetensors"]),
        (
            CnnConfig(model="resnet18", weights="IMAGENET1K_V1"),
            ["'IMAGENET1K_V1' of resnet18", f"/checkpoints/{RESNET}"],
        ),
    ],
)
def test_weights_that_are_nowhere_are_one_sentence_at_once(
    config: Any, said: list[str], hub: Path, tmp_path: Path
) -> None:
    """It names the model, where they were looked for, how to bring them, and what runs without."""
    started = time.monotonic()
    for folder in (None, str(tmp_path)):
        with pytest.raises(WeightsError) as error:
            describe("mine", config, weights_dir=folder)
        text = str(error.value)
        for part in [*said, "`--config random` or the `iqa` statistics, which need none"]:
            assert part in text
        assert ("--weights-dir DIR" in text) if folder is None else (f"neither in {tmp_path} (as " in text)
        assert "\n" not in text
    assert time.monotonic() - started < 10


def test_a_run_ranks_with_weights_that_lie_elsewhere(
    hub: Path, resnet_file: Path, photo_folder: Path, tmp_path: Path
) -> None:
    """Extracted from one folder, ranked from another; a file that is not that of the run is refused."""
    here, there, wrong, empty = (tmp_path / name for name in ("here", "there", "wrong", "empty"))
    put(resnet_file, here, RESNET)
    put(resnet_file, there, "resnet18--IMAGENET1K_V1.pth")
    for folder in (wrong, empty):
        folder.mkdir()
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), wrong / RESNET)
    config = ExtractConfig(features={"cnn": CnnConfig(model="resnet18", weights="IMAGENET1K_V1")}, device="cpu")

    def with_folder(folder: Path) -> ExtractConfig:
        return config.model_copy(update={"weights_dir": folder})

    extract([photo_folder], tmp_path / "S", with_folder(here))
    (space,) = FeatureStore.open(tmp_path / "S").spaces()
    assert space.provenance["weights"] == "IMAGENET1K_V1"
    rows = "".join(f"{n},series-{n}/IMG_0.jpg,series-{n}/IMG_1.jpg,1\n" for n in (1, 2))
    (tmp_path / "c.csv").write_text("series,left,right,p_left\n" + rows)
    fit_head(tmp_path / "S", tmp_path / "c.csv", HeadConfig(epochs=1, val_fraction=0), tmp_path / "run", photo_folder)
    run = load_run(tmp_path / "run")
    assert len(rank([photo_folder], run, None, config=with_folder(there)).table) == 6
    with pytest.raises(WeightsError, match="is not the weights file that the spec names"):
        rank([photo_folder], run, None, config=with_folder(wrong))
    with pytest.raises(WeightsError, match=f"neither in {empty}"):
        rank([photo_folder], run, None, config=with_folder(empty))


def test_list_and_check_name_every_file_and_fetch_none(
    resnet_file: Path, clip_file: Path, tmp_path: Path, photorank: Run
) -> None:
    config, brought = tmp_path / "mine.yaml", tmp_path / "brought"
    features: dict[str, Any] = {
        "clip": {"kind": "clip"},
        "look": {"kind": "cnn", "model": "resnet18", "weights": "IMAGENET1K_V1"},
        "own": {"kind": "cnn", "model": "resnet18", "weights": str(tmp_path / "nowhere" / "mine.pth")},
        "random": {"kind": "cnn", "weights": "random"},
        "iqa": {"kind": "iqa"},
    }
    config.write_text(json.dumps({"features": features}))  # JSON is YAML
    put(clip_file, brought, f"{MODEL}--{TAG}.safetensors")
    listed = photorank("weights", "list", config, "--weights-dir", brought)
    assert listed.returncode == 0, listed.stderr
    assert f"clip: {MODEL}, {TAG}, {clip_file.stat().st_size / 1e6:,.0f} MB" in listed.stdout
    assert f"in --weights-dir as: {MODEL}--{TAG}.safetensors, " in listed.stdout
    assert "look: resnet18, IMAGENET1K_V1, 47 MB" in listed.stdout
    assert f"in --weights-dir as: {RESNET}, resnet18--IMAGENET1K_V1.safetensors" in listed.stdout
    assert f"from: https://download.pytorch.org/models/{RESNET}" in listed.stdout
    told = json.loads(photorank("weights", "list", config, "--json").stdout)
    assert [row["feature"] for row in told["weights"]] == ["clip", "look", "own"]
    assert all(row["found"] is None and row["sha256"] is None for row in told["weights"])
    lacking = photorank("weights", "check", config, "--weights-dir", brought)
    assert lacking.returncode == 1
    digest = hashlib.sha256(clip_file.read_bytes()).hexdigest()
    assert f"clip: {brought / f'{MODEL}--{TAG}.safetensors'}, " in lacking.stdout
    assert f"sha256 {digest}" in lacking.stdout
    assert f"look: missing: resnet18, IMAGENET1K_V1; looked for in {brought}, " in lacking.stdout
    assert lacking.stderr.startswith("photorank: the weights of look, own are missing; bring them (--weights-dir DIR)")
    assert lacking.stderr.count("\n") == 1
    put(resnet_file, brought, RESNET)
    put(resnet_file, brought, "mine.pth")
    whole = photorank("weights", "check", config, "--weights-dir", brought, "--json")
    assert (whole.returncode, whole.stderr) == (0, "")
    told = json.loads(whole.stdout)
    assert told["missing"] == []
    sha256 = hashlib.sha256(resnet_file.read_bytes()).hexdigest()
    assert [row["sha256"] for row in told["weights"]] == [digest, sha256, sha256]


def test_a_command_with_brought_weights(resnet_file: Path, photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    config, brought = tmp_path / "mine.yaml", tmp_path / "a folder: brought"
    config.write_text("features: {cnn: {kind: cnn, model: resnet18, weights: IMAGENET1K_V1}}\n")
    put(resnet_file, brought, RESNET)
    command = ("extract", photo_folder, "--store", tmp_path / "S", "--config", config, "--device", "cpu")
    done = photorank(*command, "--weights-dir", brought)
    assert done.returncode == 0, done.stderr
    assert "6 rows, 6 of them new" in done.stdout
    refused = photorank(*command, "--weights-dir", tmp_path / "nowhere")
    assert refused.returncode == 1
    assert f"there is no folder {tmp_path / 'nowhere'}; --weights-dir names one" in refused.stderr


def test_what_needs_no_weights_is_not_listed_and_a_wrong_config_is_one_sentence(tmp_path: Path) -> None:
    assert feature_weights(ExtractConfig()) == []
    own = {"own": OwnConfig(extractor="m:C"), "random": ClipConfig(weights="random")}
    assert feature_weights(ExtractConfig(features=own)) == []
    for wrong in (ClipConfig(model="ViT-B-33"), ClipConfig(weights="nope"), CnnConfig(weights="nope")):
        with pytest.raises(ConfigError, match="has no"):
            feature_weights(ExtractConfig(features={"wrong": wrong}))


def test_metrics_are_told_as_pyiqas_own(tmp_path: Path) -> None:
    (row,) = feature_weights(ExtractConfig(features={"iqa": IqaConfig(metrics=("niqe",))}), hashed=True)
    assert (row.model, row.weights, row.found, row.names, row.missing) == ("pyiqa", "niqe", None, (), False)


def test_looking_asks_no_network(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> Callable[..., None]:
        raise AssertionError("nothing is to be fetched")

    for name in ("socket.getaddrinfo", "socket.socket.connect", "torch.hub.download_url_to_file"):
        monkeypatch.setattr(name, never)
    monkeypatch.setattr(open_clip, "download_pretrained", never)
    rows = feature_weights(ExtractConfig(features={"clip": ClipConfig(), "cnn": CnnConfig()}), hashed=True)
    assert [row.missing for row in rows] == [True, True]
