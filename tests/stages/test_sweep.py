"""sweep, and folds and seeds of fit-head, through the command line in this process and the stages."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from photorank.__main__ import main
from photorank.config import HeadConfig, SweepConfig, load_config, load_sweep_config
from photorank.errors import PhotorankError
from photorank.runs import load_run
from photorank.stages.crossing import fold_parts
from photorank.stages.fit_head import fit_head
from photorank.stages.sweep import sweep
from photorank.training.fusion import train_heads
from tests.planted import planted, planted_files

SMALL = {"projection_dim": 4, "mlp_hidden_dims": [4], "epochs": 8, "learning_rate": 0.02, "batch_size": 80}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_files(tmp_path_factory.mktemp("work"))


def called(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    """The status and what was printed, stdout or the error."""
    monkeypatch.setattr(sys, "argv", ["photorank", *map(str, arguments)])
    with pytest.raises(SystemExit) as ending:
        main()
    printed = capsys.readouterr()
    code = int(ending.value.code or 0)
    return code, printed.err if code else printed.out


def settings(**more: object) -> SweepConfig:
    return SweepConfig.model_validate({**SMALL, **more})


def test_a_sweep_through_the_command_line(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "grid": {"dropout": [0, 0.2]}, "folds": 3}))
    command = ("sweep", "--store", work / "S", "--comparisons", work / "c.csv", "--config", file)
    grid = ("--grid", "features=[clip],[clip,iqa],[iqa]", "--seeds", 2)
    status, text = called(capsys, monkeypatch, *command, *grid, "--out", tmp_path / "out", "--json")
    assert status == 0
    report = json.loads(text)
    assert report["trainings"] == 2 * 3 * 3 * 2
    for each in report["results"]:
        assert HeadConfig.model_validate(each["config"]).features == tuple(each["changes"]["features"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "sweep.parquet", "sweep.csv", "sweep.md", "sweep.png", "config.yaml", "best.yaml",
    }  # fmt: skip
    table = pd.read_parquet(tmp_path / "out" / "sweep.parquet")
    assert list(table["rank"]) == [1, 2, 3, 4, 5, 6]
    assert (np.diff(table["accuracy"]) <= 0).all()
    assert ((table["accuracy_low"] < table["accuracy"]) & (table["accuracy"] < table["accuracy_high"])).all()
    assert (table["comparisons"] == 478).all()
    assert table["seed_deviation"].notna().all()
    assert (table["seed_deviation"] > 0).any()
    # CLIP shows what was planted more clearly than the statistics do.
    assert set(table["features"][-2:]) == {"iqa"}
    assert set(table["features"][:4]) == {"clip", "clip + iqa"}
    assert (table["accuracy"] > 0.7).all()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "sweep.csv"), table, check_dtype=False)
    page = (tmp_path / "out" / "sweep.md").read_text()
    assert page.count("\n| ") == 2 + 6
    assert "train and val, 3 folds by series" in page
    best = load_config(HeadConfig, "head", str(tmp_path / "out" / "best.yaml"))
    assert " + ".join(best.features) == table["features"][0]
    assert best.epochs == 8
    fit_head(work / "S", work / "c.csv", best, tmp_path / "run")
    assert called(capsys, monkeypatch, *command, "--out", tmp_path / "again")[1].count("dropout 0") == 2


def test_without_folds_a_sweep_reports_what_fit_head_reports(work: Path, tmp_path: Path) -> None:
    report = sweep(work / "S", work / "c.csv", settings(grid={"epochs": [3, 8]}), tmp_path / "out")
    assert report.reported_on == "val"
    for each in report.results:
        alone = fit_head(work / "S", work / "c.csv", each.config, tmp_path / f"run-{each.config.epochs}")
        assert each.figures["accuracy"] == alone.figures["val"]["head"]
        assert each.figures["log loss"].value == pytest.approx(alone.log_loss["val"].value, abs=1e-3)


def test_values_are_those_that_were_trained_with_and_those_of_one_key_are_joined(work: Path, tmp_path: Path) -> None:
    grid = ["learning_rate=1e-3", "epochs=2", "learning_rate=2e-3,0.02", "mlp_hidden_dims=[],[4]"]
    config = load_sweep_config(None, [f"{key}={value}" for key, value in SMALL.items()], grid)
    report = sweep(work / "S", work / "c.csv", config, tmp_path / "out")
    assert report.trainings == 6
    table = pd.read_parquet(tmp_path / "out" / "sweep.parquet")
    assert sorted(table["learning_rate"]) == [1e-3, 1e-3, 2e-3, 2e-3, 0.02, 0.02]
    assert sorted(table["mlp_hidden_dims"]) == ["4"] * 3 + ["none"] * 3
    sweep(work / "S", work / "c.csv", settings(epochs=1, grid={"features": [["clip"], []]}), tmp_path / "spaces")
    assert set(pd.read_csv(tmp_path / "spaces" / "sweep.csv")["features"]) == {"clip", "all"}
    for each in report.results:
        assert each.changes == {key: getattr(each.config, key) for key in config.grid}


def test_a_combination_that_diverges_is_the_last_and_a_head_that_does_is_not_written(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "optimiser": "sgd", "learning_rate": 1e30}))
    command = ("--store", work / "S", "--comparisons", work / "c.csv", "--config", file)
    status, text = called(capsys, monkeypatch, "fit-head", *command, "--out", tmp_path / "run")
    assert (status, text.count("\n")) == (1, 1)
    assert "the training diverged (its loss is no number); ask for a smaller learning_rate" in text
    assert not (tmp_path / "run").exists()
    config = settings(optimiser="sgd", grid={"learning_rate": [1e30, 0.02, 1e32]}, folds=3, seeds=2)
    report = sweep(work / "S", work / "c.csv", config, tmp_path / "out")
    assert [each.diverged for each in report.results] == [False, True, True]
    table = pd.read_parquet(tmp_path / "out" / "sweep.parquet")
    figures = ["accuracy", "accuracy_low", "log_loss", "calibration_error", "seed_deviation"]
    assert table[figures].notna().all(axis=1).tolist() == [True, False, False]
    assert not table[figures][1:].notna().any(axis=None)
    page = (tmp_path / "out" / "sweep.md").read_text()
    assert "2 combinations diverged (their loss is no number)" in page
    assert "nan" not in page
    with pytest.raises(PhotorankError, match="every combination diverged"):
        sweep(work / "S", work / "c.csv", settings(optimiser="sgd", grid={"learning_rate": [1e30]}), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_folds_hold_out_each_series_once_and_never_the_test_split() -> None:
    _, data = planted()
    data.split[data.series % 7 == 1] = "test"
    parts = fold_parts(data, 4)
    held = np.concatenate([part.held_out for part in parts])
    assert sorted(held) == list(np.flatnonzero(data.split != "test"))
    for part in parts:
        assert not set(data.series[part.train]) & set(data.series[part.held_out])
        assert len(part.train) + len(part.held_out) == len(held)
        assert 0.15 < len(part.held_out) / len(held) < 0.35


def test_folds_and_seeds_of_fit_head(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [item for key, value in SMALL.items() for item in ("--set", f"{key}={value}")]
    command = ("fit-head", "--store", work / "S", "--comparisons", work / "c.csv", *options, "--folds", 3, "--seeds", 2)
    status, text = called(capsys, monkeypatch, *command, "--out", tmp_path / "run", "--json")
    assert status == 0
    repeated = json.loads(text)["repeated"]
    assert list(repeated) == ["val, mean of 2 seeds", "train and val, 3 folds by series, mean of 2 seeds"]
    for figures in repeated.values():
        assert {"accuracy", "log loss", "top-1 of series", "calibration error"} <= set(figures)
        assert figures["accuracy"]["low"] < figures["accuracy"]["value"] < figures["accuracy"]["high"]
    crossed = repeated["train and val, 3 folds by series, mean of 2 seeds"]["accuracy"]
    assert (crossed["n"], crossed["groups"]) == (478, 90)
    alone = fit_head(work / "S", work / "c.csv", HeadConfig.model_validate(SMALL), tmp_path / "alone")
    one, other = (pd.read_parquet(tmp_path / name / "predictions.parquet")["margin"] for name in ("run", "alone"))
    np.testing.assert_allclose(one, other, atol=5e-3)
    second = fit_head(work / "S", work / "c.csv", HeadConfig.model_validate({**SMALL, "seed": 1}), tmp_path / "second")
    assert repeated["val, mean of 2 seeds"]["accuracy"]["value"] == pytest.approx(
        (alone.figures["val"]["head"].value + second.figures["val"]["head"].value) / 2
    )


def test_the_temperature_is_kept_in_the_run(work: Path, tmp_path: Path) -> None:
    fit_head(work / "S", work / "c.csv", HeadConfig.model_validate({**SMALL, "loss": "hinge"}), tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.model.temperature not in (0, 1)
    features, data = planted()
    told = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    scores = run.model(features).detach().numpy()
    np.testing.assert_allclose(told["margin"], scores[data.left] - scores[data.right], atol=1e-5)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "there is no grid: say with --grid"),
        ({"grid": {"learning_rat": [1, 2]}}, "grid: unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ({"grid": {"dropout": []}}, "grid: dropout has no values"),
        ({"grid": {"dropout": [0.1, 7]}}, "grid: dropout: input should be less than 1 (got 7)"),
        ({"grid": {"mlp_hidden_dims": [[8], [1_000_000_000]]}}, "input should be less than or equal to 16384"),
        ({"grid": {"weight_decay": [0, float("inf")]}}, "grid: weight_decay: input should be a finite number"),
        ({"grid": {"dropout": [0.1, 0.2, 0.1]}}, "grid: dropout has 0.1 twice; say it once"),
        ({"grid": {"features": [["clip"], ["clip"]]}}, "grid: features has ['clip'] twice"),
        ({"grid": {"epochs": [4, "4"]}}, "grid: epochs has '4' twice"),
        ({"grid": {"seed": [1, 2]}}, "say with --seeds how many"),
        (
            {"grid": {"val_fraction": [0.1, 0.3]}},
            "val_fraction is of the comparisons, not of a head",
        ),
        ({"grid": {"dropout": [0]}, "folds": 1}, "folds: 1 leaves nothing to train on"),
        ({"grid": {"dropout": [0]}, "folds": 91}, "91 folds cannot be made of 90 series"),
        ({"grid": {"features": [["clip"], ["vgg16"]]}}, "has no space 'vgg16'"),
        ({"grid": {"loss": ["listmle"]}, "head": "difference"}, "loss: listmle orders a series by scores"),
        ({"grid": {"min_agreement": [0, 1]}}, "none is left by min_agreement 1, min_votes 0"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_sentence(more: dict[str, object], said: str, work: Path, tmp_path: Path) -> None:
    with pytest.raises(PhotorankError) as error:
        sweep(work / "S", work / "c.csv", settings(**more), tmp_path / "out")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [{"weights": "votes"}, {"min_votes": 2}])
def test_votes_that_are_not_there_are_asked_for(more: dict[str, object], work: Path, tmp_path: Path) -> None:
    table = pd.read_csv(work / "c.csv").drop(columns="votes")
    table[["left", "right"]] = table[["left", "right"]].map(lambda name: str(work / name))
    table.to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(PhotorankError, match=r"have no column 'votes', which (weights: votes|min_votes) needs"):
        fit_head(work / "S", tmp_path / "c.csv", HeadConfig.model_validate({**SMALL, **more}), tmp_path / "run")


def test_an_out_that_exists_and_a_file_without_a_split_to_report(work: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    config = settings(grid={"dropout": [0, 0.5]})
    with pytest.raises(PhotorankError, match="is there already and is kept"):
        sweep(work / "S", work / "c.csv", config, tmp_path / "out")
    table = pd.read_csv(work / "c.csv").assign(split="train")
    table[["left", "right"]] = table[["left", "right"]].map(lambda name: str(work / name))
    table.to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(PhotorankError, match=r"no comparisons in the split 'val'; say with --folds"):
        sweep(work / "S", tmp_path / "c.csv", config, tmp_path / "new")
    shutil.rmtree(tmp_path / "out")


def test_a_grid_is_for_sweep_and_what_is_no_grid_is_named(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("fit-head", "--store", work / "S", "--comparisons", work / "c.csv", "--out", tmp_path / "run")
    status, text = called(capsys, monkeypatch, *command, "--config", "ablation")
    assert (status, text.count("\n")) == (1, 1)
    assert "has a grid (of features): photorank sweep trains it" in text
    for wrong in ("dropout", "=1,2", "dropout=[1"):
        with pytest.raises(PhotorankError, match="--grid"):
            load_sweep_config(None, grid=[wrong])
    assert load_sweep_config("ablation", grid=["dropout=0,0.1"], seeds=1).grid["dropout"] == (0, 0.1)
    assert load_sweep_config("ablation", grid=["features=[clip]"]).grid["features"] == (["clip"],)
    assert len(load_sweep_config("ablation").grid["features"]) == 7


def test_comparisons_on_which_few_agree_are_not_trained_on(work: Path, tmp_path: Path) -> None:
    """Those below are turned round: only a head that does not look at them learns."""
    table = pd.read_csv(work / "c.csv")
    unsure = np.maximum(table["p_left"], 1 - table["p_left"]) < 0.8
    asked = table["split"] == "train"
    table.loc[asked & unsure, "p_left"] = 1 - table.loc[asked & unsure, "p_left"].round()
    table.loc[asked, "votes"] = np.where(unsure[asked], 1, 9)
    table.loc[asked & unsure, "p_left"] = table.loc[asked & unsure, "p_left"].clip(0.25, 0.75)
    table[["left", "right"]] = table[["left", "right"]].map(lambda name: str(work / name))
    table.to_csv(tmp_path / "c.csv", index=False)
    found = {}
    for name, more in (("all", {}), ("agreed", {"min_agreement": 0.8}), ("asked", {"min_votes": 5})):
        report = fit_head(
            work / "S", tmp_path / "c.csv", HeadConfig.model_validate({**SMALL, "epochs": 20, **more}), tmp_path / name
        )
        found[name] = report.figures["val"]["head"].value
    assert found["agreed"] == pytest.approx(found["asked"])
    assert found["agreed"] > found["all"] + 0.02


@pytest.mark.parametrize("folds", [0, 3])
def test_where_nothing_is_held_out_it_is_said_and_trained_once(
    folds: int, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(work / "c.csv").assign(split="train")
    table[["left", "right"]] = table[["left", "right"]].map(lambda name: str(work / name))
    table.to_csv(tmp_path / "c.csv", index=False)
    trained: list[int] = []
    monkeypatch.setattr(
        "photorank.stages.fit_head.train_heads",
        lambda *arguments: trained.append(len(arguments[3])) or train_heads(*arguments),
    )
    options = [item for key, value in SMALL.items() for item in ("--set", f"{key}={value}")]
    command = ["fit-head", "--store", work / "S", "--comparisons", tmp_path / "c.csv", *options, "--seeds", 2]
    monkeypatch.setattr(sys, "argv", ["photorank", *map(str, [*command, "--folds", folds, "--out", tmp_path / "run"])])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert ("nothing was held out" in said) == (not folds)
    assert ("say with --folds" in said) == (not folds)
    assert "from one seed instead of 2: there is no split 'val'" in said
    assert trained == [1 + 2 * folds]


def test_a_space_that_is_named_twice_is_told(work: Path, tmp_path: Path) -> None:
    config = HeadConfig.model_validate({**SMALL, "features": ["clip", "iqa", "clip"]})
    with pytest.raises(PhotorankError, match="features has clip twice; say it once"):
        fit_head(work / "S", work / "c.csv", config, tmp_path / "run")


WITHOUT_MEMORY = """
import json, resource, sys
from pathlib import Path
from photorank.config import HeadConfig
from photorank.errors import ConfigError
from photorank.stages.fit_head import fit_head

work, out = map(Path, sys.argv[1:])
def run(name, widths):
    fit_head(work / "S", work / "c.csv", HeadConfig(epochs=1, mlp_hidden_dims=widths), out / name)
run("warm", [4])  # all libraries are there now
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (500 << 20),) * 2)
try:
    run("run", [16384, 16384, 16384])
except ConfigError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are held on Linux only")
def test_a_head_that_the_memory_does_not_hold_is_one_sentence(work: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_MEMORY, str(work), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the memory does not hold the training of a head of projection_dim 64" in done.stdout
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / "run").exists()
