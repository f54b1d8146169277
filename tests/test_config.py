"""Configs: every committed file is parsed; what is wrong is named."""

import inspect
from pathlib import Path

import pytest
import yaml

from photorank.config import (
    E2eConfig,
    ExtractConfig,
    HeadConfig,
    SweepConfig,
    config_folders,
    dump_config,
    load_config,
    load_extract_config,
    named_configs,
)
from photorank.errors import ConfigError
from photorank.models.siamese import SiameseCNNRanker

MODELS = {"extract": ExtractConfig, "head": SweepConfig, "e2e": E2eConfig}
FILES = [
    pytest.param(stage, file, id=f"{stage}/{file.name}")
    for folder in config_folders()
    for stage in sorted(path.name for path in folder.iterdir() if path.is_dir())
    for file in sorted((folder / stage).iterdir())
]


@pytest.mark.parametrize(("stage", "file"), FILES)
def test_every_committed_config_is_valid_by_path_and_by_name(stage: str, file: Path) -> None:
    assert file.suffix == ".yaml"
    by_path = load_config(MODELS[stage], stage, str(file))
    assert load_config(MODELS[stage], stage, file.stem) == by_path


@pytest.mark.parametrize(("stage", "file"), FILES)
def test_a_config_holds_only_what_differs_from_the_defaults(stage: str, file: Path) -> None:
    if (stage, file.stem) == ("extract", "iqa"):
        return  # the default by its name
    written = yaml.safe_load(file.read_text())
    defaults = MODELS[stage]().model_dump(mode="json")
    assert {key for key, value in written.items() if defaults[key] == value} == set()


def test_there_are_configs_to_parse() -> None:
    assert {"random", "multifeature"} <= set(named_configs("extract"))
    assert "multifeature" in named_configs("head")
    assert {"vgg16_paper", "resnet50", "resnet50_reference", "smoke"} == set(named_configs("e2e"))


def test_the_defaults_of_e2e_are_those_of_the_model() -> None:
    config = E2eConfig().model_dump()
    parameters = inspect.signature(SiameseCNNRanker).parameters
    assert {name: each.default for name, each in parameters.items()} == {name: config[name] for name in parameters}


@pytest.mark.parametrize("model", [ExtractConfig, HeadConfig, E2eConfig])
def test_a_resolved_config_reads_back_as_itself(
    model: type[ExtractConfig] | type[HeadConfig] | type[E2eConfig], tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(model()))
    assert load_config(model, "extract", str(file)) == model()


def test_the_head_config_of_a_name_takes_overrides() -> None:
    config = load_config(HeadConfig, "head", "multifeature", ["mlp_hidden_dims=[8, 4]", "seed=7", "activation=tanh"])
    assert (config.mlp_hidden_dims, config.seed, config.activation) == ((8, 4), 7, "tanh")
    assert config.features == ("clip", "resnet50", "iqa")


@pytest.mark.parametrize(
    ("stage", "text", "said"),
    [
        ("extract", "batchsize: 3", "unknown key 'batchsize'; did you mean 'batch_size'?"),
        ("extract", "features: {a: {kind: clip, modle: x}}", "unknown key 'modle'; did you mean 'model'?"),
        ("extract", "features: {a: {kind: cnn, modle: x}}", "The keys here are: decode, kind, layer, library, model"),
        (
            "extract",
            "features: {clip: {kind: clip, seed: many}}",
            "features.clip.seed: input should be a valid integer",
        ),
        ("extract", "features: {a: {kind: klip}}", "'klip'"),
        ("extract", "features: {}", "features: there is nothing to compute; name a feature"),
        (
            "extract",
            "features: {a: {kind: cnn, seed: 99999999999999999999999}}",
            "features.a.seed: input should be less",
        ),
        (
            "extract",
            "features: {a: {kind: clip, seed: -9223372036854775809}}",
            "features.a.seed: input should be great",
        ),
        ("head", "dropout: 1.5", "dropout: input should be less than 1 (got 1.5)"),
        ("head", "mlp_hidden_dims: [1000000000]", "mlp_hidden_dims.0: input should be less than or equal to 16384"),
        ("head", "projection_dim: 100000000", "projection_dim: input should be less than or equal to 16384"),
        ("head", "seed: 99999999999999999999", "seed: input should be less than 9223372036854775808"),
        ("e2e", "seed: 99999999999999999999", "seed: input should be less than 9223372036854775808"),
        ("head", "{loss: hinge, margin: .inf}", "margin: input should be a finite number (got inf)"),
        ("head", "weight_decay: .inf", "weight_decay: input should be a finite number"),
        ("head", "learning_rat: 1", "did you mean 'learning_rate'?"),
        (
            "e2e",
            "{size: 64, window: 65}",
            "window: a window is not larger than the photos that it is of, whose size is 64",
        ),
        ("head", "- a\n- b", "holds a list, not keys and values"),
        ("head", "a: [", "is not YAML"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_cause(stage: str, text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(MODELS[stage], stage, str(file))
    assert said in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere'.*multifeature.*random"):
        load_config(ExtractConfig, "extract", "nowhere")


@pytest.mark.parametrize("override", ["seed", "=3", "seed.deeper.still=1", "seed=[1"])
def test_an_override_that_cannot_be_applied_is_named(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(HeadConfig, "head", None, ["seed=1", override])


def test_a_precision_given_is_that_of_every_model() -> None:
    config = load_extract_config("random", precision="bfloat16")
    assert [getattr(each, "precision", None) for each in config.features.values()] == ["bfloat16", "bfloat16", None]
    clip = load_extract_config("random").features["clip"]
    assert getattr(clip, "precision", None) == "auto"
