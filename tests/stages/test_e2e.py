"""e2e: from photos to a run that `rank`, `evaluate` and `extract` use; stopped, killed and gone on with."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml
from accelerate import Accelerator
from filelock import FileLock
from PIL import ImageFilter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import photorank as package
from photorank.config import E2eConfig, ExtractConfig, dump_config
from photorank.errors import ComparisonsError, ConfigError, PhotoError, RunError
from photorank.extractors.memory import is_want_of_memory
from photorank.models.siamese import Backbone
from photorank.runs import load_run
from photorank.stages.e2e import e2e
from photorank.stages.endings import explained
from photorank.stages.evaluate import evaluate
from photorank.stages.extract import extract
from photorank.stages.places import Places
from photorank.store import FeatureStore
from photorank.training.siamese import Trainer
from tests.conftest import Run, make_picture

FRAMES = {"sharp": 0.0, "soft": 2.0, "softest": 4.0}
SMALL: dict[str, Any] = {
    "cnn_backbone": "test_resnet", "weights": "random", "size": 32, "mlp_hidden_dims": (8,), "dropout": 0.1,
    "batch_photos": 6, "epochs": 3, "learning_rate": 1e-3, "workers": 1, "checkpoint_steps": 2, "log_steps": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 series of three frames, sharp and blurred, and comparisons of them."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for number in range(12):
        series = folder / f"s{number:02d}"
        series.mkdir()
        picture = make_picture(number, 64, 48)
        for name, radius in FRAMES.items():
            picture.filter(ImageFilter.GaussianBlur(radius)).save(series / f"{name}.png")
        rows.append((series.name, f"{series.name}/sharp.png", f"{series.name}/soft.png", 0.9, "blur-2"))
        rows.append((series.name, f"{series.name}/softest.png", f"{series.name}/sharp.png", 0.1, "blur-4"))
    table = pd.DataFrame(rows, columns=["series", "left", "right", "p_left", "variant"])
    table.to_csv(folder / "comparisons.csv", index=False)
    return folder


def train(
    photos: Path, out: Path, resume: bool = False, progress: Any = None, cache: Path | None = None, **options: Any
) -> Any:
    config = E2eConfig.model_validate({**SMALL, **options})
    return e2e(photos / "comparisons.csv", config, out, resume=resume, cache=cache, progress=progress)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained in one go, with everything that a checkpoint has to hold."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(photos, out, ema_decay=0.5)
    return out


def same(one: Path, other: Path) -> bool:
    names = ("metrics.json", "log.jsonl", "weights.safetensors", "predictions.parquet", "run.json")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_run_holds_all_that_its_use_needs(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "README.md", "config.yaml", "events", "log.jsonl", "metrics.json", "plots", "predictions.parquet", "run.json",
        "weights.safetensors",
    }  # fmt: skip
    told = json.loads((run / "metrics.json").read_text())
    assert told["comparisons"] == {"train": 20, "val": 4, "test": 0}
    assert set(told["figures"]["val"]) == {"siamese", "always left", "always right", "file size alone"}
    assert {"figures", "by degradation", "beside trivial answers"} <= set(told["evaluation"]["tables"])
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"train_loss", "train_accuracy", "stop_loss", "stop_accuracy"} < set(rows[0])
    assert not list(run.parent.glob(".run*")), "what led to the run is still there"


def loss_curve(folder: Path) -> list[int]:
    """The steps of the curve, as TensorBoard reads it."""
    return [each.step for each in EventAccumulator(str(folder / "events")).Reload().Scalars("train/loss")]


def test_curves_are_written_by_step(run: Path) -> None:
    curves = EventAccumulator(str(run / "events")).Reload()
    tags = {
        "train/loss", "train/accuracy", "learning rate/backbone", "learning rate/head", "gradient norm/backbone",
        "gradient norm/head", "speed/photos a second", "speed/share of time waiting for photos",
    }  # fmt: skip
    assert tags <= set(curves.Tags()["scalars"])
    # Every second one, and the last of an epoch: a short training has a curve too.
    assert [each.step for each in curves.Scalars("train/loss")] == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    assert curves.Scalars("learning rate/head")[0].value == pytest.approx(
        10 * curves.Scalars("learning rate/backbone")[0].value
    )


def test_evaluate_has_the_margins_that_training_had(run: Path, photos: Path, tmp_path: Path) -> None:
    extract([photos], tmp_path / "other", ExtractConfig(workers=1))
    with pytest.raises(RunError, match=r"extract the photos with --features e2e:"):
        evaluate(run, photos / "comparisons.csv", tmp_path / "other", "all", photos)
    extract([photos], tmp_path / "S", ExtractConfig(workers=1), [f"e2e:{run}"])
    (space,) = FeatureStore.open(tmp_path / "S").spaces()
    assert (space.name, space.dim, str(space.dtype)) == ("e2e", 96, "float32")
    found = evaluate(run, photos / "comparisons.csv", tmp_path / "S", "all")
    told = pd.read_parquet(run / "predictions.parquet")
    np.testing.assert_allclose(found.predictions["predicted"], 1 / (1 + np.exp(-told["margin"])), atol=1e-5)
    assert "TRAINED ON" in found.warnings[0]


def test_a_run_that_was_moved_ranks_photos_and_has_the_same_features(run: Path, photos: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    for each in (run, moved):
        table = package.Ranker.load(each).rank(
            [photos / "s00", photos / "s01"], tmp_path / "S", ExtractConfig(workers=1)
        )
        assert sorted(table["rank"]) == [1, 1, 2, 2, 3, 3]
    assert sorted(space.name for space in FeatureStore.open(tmp_path / "S").spaces()) == ["e2e", "likeness"]
    loaded = load_run(moved)
    assert (loaded.kind, loaded.model.head, [each.name for each in loaded.features]) == (
        "siamese",
        "difference",
        ["e2e"],
    )


def test_sigterm_saves_and_the_same_call_goes_on_to_the_same_figures(run: Path, photos: Path, tmp_path: Path) -> None:
    told = 0

    def stop(*_: int) -> None:
        nonlocal told
        told += 1
        if told == 7:  # in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunError, match=r"stopped after step 7; the training is kept in .*\.again\.part"):
        train(photos, tmp_path / "again", progress=stop, ema_decay=0.5)
    assert not (tmp_path / "again").exists()
    with pytest.raises(RunError, match="--resume goes on with it"):
        train(photos, tmp_path / "again", ema_decay=0.5)
    with pytest.raises(RunError, match=r"has another config \(seed=0, not 1\): make the call as it was"):
        train(photos, tmp_path / "again", resume=True, ema_decay=0.5, seed=1)
    said = r"\(mlp_hidden_dims=\[8\], not \[\]; epochs=3, not 4; optimiser=\"adamw\", not \"sgd\"; \.\.\.\)"
    with pytest.raises(RunError, match=said):
        train(photos, tmp_path / "again", resume=True, mlp_hidden_dims=(), epochs=4, optimiser="sgd")
    train(photos, tmp_path / "again", resume=True, ema_decay=0.5, log_steps=3, checkpoint_steps=5)
    assert same(run, tmp_path / "again")


CHECKPOINT = "the last checkpoint of .* is kept, and the same call with --resume goes on from there"


@pytest.mark.parametrize(
    ("step", "presses", "said"),
    [(0, 1, "nothing of .* is kept"), (1, 1, CHECKPOINT), (1, 2, "nothing of .* is kept"), (7, 2, CHECKPOINT)],
)
def test_ctrl_c_saves_and_says_what_is_kept_and_a_second_one_ends_at_once(
    step: int, presses: int, said: str, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    photorank: Run,
) -> None:  # fmt: skip
    whole_step, key_of, out = Trainer.step, Places.key_of, tmp_path / "again"
    config = E2eConfig.model_validate({**SMALL, "ema_decay": 0.5, "checkpoint_steps": 200})
    (tmp_path / "config.yaml").write_text(dump_config(config))

    def press(at: int) -> None:
        if at == step:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)

    def looked_up(self: Places, path: bytes) -> bytes:
        press(0)
        return key_of(self, path)

    def stepped(self: Trainer, *arguments: Any) -> Any:
        press(self.progress.step + 1)
        return whole_step(self, *arguments)

    call = (
        "e2e", "--comparisons", photos / "comparisons.csv", "--config", tmp_path / "config.yaml", "--out", out,
        "--resume",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(Places, "key_of", looked_up)
        patch.setattr(Trainer, "step", stepped)
        stopped = photorank(*call)
    assert stopped.returncode == 130
    assert re.search(f"stopped; {said}", stopped.stderr), stopped.stderr
    state = tmp_path / ".again.part" / "state.json"
    kept = json.loads(state.read_text())["progress"]["step"] if state.exists() else 0
    assert kept == (step if presses == 1 else 5 * (step // 5)), "an epoch has 5 steps"
    if (step, presses) == (1, 1):
        assert photorank(*call).returncode == 0
        assert same(run, out)


def test_sigterm_while_the_last_epoch_is_judged_stops_it_too(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Trainer.judge

    def stopped(self: Trainer, *arguments: Any) -> dict[str, float]:
        if self.progress.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return judge(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(RunError, match="stopped after step"):
        patch.setattr(Trainer, "judge", stopped)
        train(photos, tmp_path / "again", ema_decay=0.5)
    train(photos, tmp_path / "again", resume=True, ema_decay=0.5)
    assert same(run, tmp_path / "again")


def test_curves_of_a_training_that_was_killed_before_its_first_checkpoint_are_gone(
    photos: Path, tmp_path: Path
) -> None:
    def killed(*_: int) -> None:
        if list((tmp_path / ".run.part" / "events").glob("*")):
            raise KeyError("stands in for a kill: nothing is caught or kept")

    with pytest.raises(KeyError):
        train(photos, tmp_path / "run", progress=killed, log_steps=1, checkpoint_steps=200)
    assert list((tmp_path / ".run.part" / "events").glob("*"))
    train(photos, tmp_path / "run", epochs=1, log_steps=1)
    assert len(list((tmp_path / "run" / "events").glob("*"))) == 2  # by step, by epoch


@pytest.mark.parametrize("after", [2, 11])
def test_a_run_that_is_trained_elsewhere_is_left_alone(after: int, photos: Path, tmp_path: Path) -> None:
    told = 0

    def start_again(*_: int) -> None:
        nonlocal told
        told += 1
        if told == after:  # before and after the first checkpoint
            for resume in (False, True):
                with pytest.raises(RunError, match=r"another process trains .*run: wait .*or name another --out"):
                    train(photos, tmp_path / "run", resume=resume)

    train(photos, tmp_path / "run", progress=start_again, checkpoint_steps=10)
    assert told > after
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_accuracy_where_no_comparison_has_an_answer_is_none(photos: Path, tmp_path: Path) -> None:
    pd.read_csv(photos / "comparisons.csv").assign(p_left=0.5).to_csv(tmp_path / "c.csv", index=False)
    config = E2eConfig.model_validate({**SMALL, "epochs": 2})
    e2e(tmp_path / "c.csv", config, tmp_path / "run", photos)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(row["train_accuracy"], row["stop_accuracy"]) for row in rows] == [(None, None)] * 2
    curve = EventAccumulator(str(tmp_path / "run" / "events")).Reload().Scalars("train/accuracy")
    assert all(math.isnan(each.value) for each in curve)


def test_launchers_settings_do_not_change_what_is_learned(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    train(photos, tmp_path / "again", ema_decay=0.5)
    assert same(run, tmp_path / "again")


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_holds_the_best_epochs_weights_not_the_last_steps(
    ema_decay: float, precision: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[dict[str, torch.Tensor]] = []

    def judge(self: Trainer, *_: object) -> dict[str, float]:
        epochs.append({name: each.clone() for name, each in self.weights().items()})
        return {"loss": (0.6, 0.5, 0.7)[len(epochs) - 1], "accuracy": math.nan}

    monkeypatch.setattr(Trainer, "judge", judge)
    train(photos, tmp_path / "run", ema_decay=ema_decay, precision=precision)
    kept = safetensors.torch.load_file(tmp_path / "run" / "weights.safetensors")
    _, best, last = epochs
    assert kept.keys() == best.keys()
    for name, each in kept.items():
        assert torch.equal(each, best[name]), name
    assert any(not torch.equal(each, last[name]) for name, each in kept.items())
    extract([photos], tmp_path / "S", ExtractConfig(workers=1), [f"e2e:{tmp_path / 'run'}"])
    found = evaluate(tmp_path / "run", photos / "comparisons.csv", tmp_path / "S", "all", photos)
    told = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    tolerance = 1e-5 if precision == "float32" else 4e-3
    np.testing.assert_allclose(found.predictions["predicted"], 1 / (1 + np.exp(-told["margin"])), atol=tolerance)
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert row["stop_accuracy"] is None


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_what_is_judged_and_kept_has_batch_norm_statistics_of_its_own_weights(
    ema_decay: float, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, same_as_steps = Trainer.judge, []

    def judged(self: Trainer, *arguments: Any) -> dict[str, float]:
        live, kept = self.model.state_dict(), self.weights()
        same_as_steps.append(all(torch.equal(live[name], kept[name]) for name in live if name.endswith("running_mean")))
        return judge(self, *arguments)

    monkeypatch.setattr(Trainer, "judge", judged)
    train(photos, tmp_path / "run", ema_decay=ema_decay, epochs=1)
    assert same_as_steps == [ema_decay == 0]


KILLED = """
import json, os, signal, sys
from pathlib import Path
from photorank.config import E2eConfig
from photorank.stages.e2e import e2e
from photorank.training.siamese import Trainer

whole_step = Trainer.step

def step(self, *arguments):
    norms = whole_step(self, *arguments)
    if self.progress.step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return norms

if __name__ == "__main__":
    Trainer.step = step
    options = json.loads(sys.argv[3])
    e2e(Path(sys.argv[1]), E2eConfig.model_validate(options), Path(sys.argv[2]))
"""

KILLED_AND_TOLD = KILLED.replace("step == 9:", "step == 9 and os.environ['RANK'] == '1':")


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_training_goes_on_to_the_same_figures(run: Path, photos: Path, tmp_path: Path) -> None:
    out, often = tmp_path / "again", {"ema_decay": 0.5, "checkpoint_steps": 3, "log_steps": 1}
    options = json.dumps({**SMALL, **often})
    command = [sys.executable, "-c", KILLED, str(photos / "comparisons.csv"), str(out), options]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = json.loads((tmp_path / ".again.part" / "state.json").read_text())
    assert state["progress"]["step"] == 6, "of 9 steps at most 3 are lost"
    assert loss_curve(tmp_path / ".again.part")[-1] == 8
    train(photos, out, resume=True, **often)
    assert same(run, out)
    assert loss_curve(out) == list(range(1, 16))


def test_a_damaged_checkpoint_is_a_sentence(photos: Path, tmp_path: Path) -> None:
    def stop(*_: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunError, match="stopped after step 1"):
        train(photos, tmp_path / "run", progress=stop)
    (tensors,) = (tmp_path / ".run.part").glob("step-*")
    tensors.write_bytes(tensors.read_bytes()[:100])
    with pytest.raises(RunError, match=r"\.run\.part is damaged .*remove it"):
        train(photos, tmp_path / "run", resume=True)
    (tmp_path / ".run.part" / "state.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        train(photos, tmp_path / "run", resume=True)


def test_a_photo_that_is_gone_at_the_end_but_cached_does_not_cost_the_run(photos: Path, tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)

    def remove(*_: int) -> None:
        (mine / "s03" / "soft.png").unlink(missing_ok=True)

    reports = [
        train(mine, tmp_path / name, progress=progress, cache=tmp_path / "c.h5", epochs=1)
        for name, progress in (("before", None), ("after", remove))
    ]
    assert not (mine / "s03" / "soft.png").exists()
    before, after = (each.figures["train"]["file size alone"] for each in reports)
    assert before == after


def test_a_score_head_scores_single_photos(photos: Path, tmp_path: Path) -> None:
    train(photos, tmp_path / "run", head="score", precision="bfloat16", epochs=1, stop_fraction=0, freeze="conv")
    loaded = load_run(tmp_path / "run")
    features = {"e2e": torch.randn(4, 96)}
    left, right = torch.tensor([0, 1]), torch.tensor([2, 3])
    scores = loaded.model(features)
    torch.testing.assert_close(loaded.model.margins(features, left, right), scores[left] - scores[right])
    assert loaded.features[0].spec["precision"] == "bfloat16"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda table: table.assign(left="a" * 64), ComparisonsError, "e2e reads the photos, so it wants their paths"),
        (lambda table: table.assign(split="val"), ComparisonsError, "no comparisons in the split 'train'"),
        (lambda table: table.replace("s00/sharp.png", "s00/gone.png"), PhotoError, "gone.png is not there"),
        (lambda table: table.replace("s00/sharp.png", "bad.png"), PhotoError, "bad.png is"),
    ],
)
def test_comparisons_that_cannot_be_learned_from(
    change: Callable[[pd.DataFrame], pd.DataFrame], error: type[Exception], said: str, photos: Path, tmp_path: Path
) -> None:
    cut = (photos / "s00" / "sharp.png").read_bytes()
    (photos / "bad.png").write_bytes(cut[: len(cut) // 2])
    change(pd.read_csv(photos / "comparisons.csv")).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(error, match=said):
        e2e(tmp_path / "c.csv", E2eConfig.model_validate(SMALL), tmp_path / "run", photos)
    assert not (tmp_path / "run").exists()


def backbone_that_holds(photos: int, error: Exception) -> Callable[[Backbone, torch.Tensor], torch.Tensor]:
    """Stands in for `Backbone.forward`, of a device whose memory holds so many photos."""
    forward = Backbone.forward

    def limited(self: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > photos:
            raise error
        return forward(self, pixels)

    return limited


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 2097152 bytes."),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("could not create a primitive"),  # oneDNN, of its code
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY[:2])
def test_want_of_memory_names_the_batch_that_would_fit(
    error: Exception, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "forward", backbone_that_holds(4, error))
    with pytest.raises(ConfigError, match=r"memory of cpu does not hold 9 photos at once, but 4: ") as told:
        train(photos, tmp_path / "run", batch_photos=9, epochs=1)
    settings = re.findall(r"--set (\w+)=(\d+)", str(told.value))
    assert [name for name, _ in settings] == ["accumulate", "batch_photos"]
    for name, value in settings:  # with each of them it does fit
        train(photos, tmp_path / name, **{"batch_photos": 9, "epochs": 1, name: int(value)})


def test_want_of_memory_is_told_from_other_errors() -> None:
    assert all(is_want_of_memory(error) for error in OUT_OF_MEMORY)
    # What oneDNN does not know.
    assert not is_want_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))


def test_memory_that_does_not_hold_a_series_is_a_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "forward", backbone_that_holds(2, torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(ConfigError, match=r"hold 6 photos at once, nor those of the largest series \(3\).*size=16"):
        train(photos, tmp_path / "run")


def test_memory_that_does_not_hold_the_one_series_of_a_step_names_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "forward", backbone_that_holds(2, torch.OutOfMemoryError("CUDA out of memory")))
    said = (
        r"not hold the 3 photos of the series s\d\d, which belong together: --set size=16, .*fewer photos in a series"
    )
    with pytest.raises(ConfigError, match=said):
        train(photos, tmp_path / "run", batch_photos=3)


def test_want_of_memory_before_and_after_the_steps_is_a_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.")
    with monkeypatch.context() as patch:
        patch.setattr("photorank.training.siamese.Optimising", Mock(side_effect=error))
        with pytest.raises(ConfigError, match="memory of cpu does not hold the network and what its optimiser keeps"):
            train(photos, tmp_path / "run")
    for name in ("embed", "margins"):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, name, Mock(side_effect=error))
            with pytest.raises(ConfigError, match="memory of cpu does not hold"):
                train(photos, tmp_path / "run", epochs=1, stop_fraction=0)
        shutil.rmtree(tmp_path / ".run.part")


def test_only_want_of_an_answer_says_that_another_process_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    lost = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:3921"
    for error in (RuntimeError(lost), torch.distributed.DistBackendError("the watchdog")):
        with (
            pytest.raises(RunError, match=r"another process of this training ended .*--resume"),
            explained(E2eConfig(), Accelerator(cpu=True)),
        ):
            raise error
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        explained(E2eConfig(), Accelerator(cpu=True)),
    ):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_size_that_the_network_does_not_take_names_the_one_that_it_does(photos: Path, tmp_path: Path) -> None:
    said = r"does not take photos of 32 pixels \(Input height .*\); it is made for --set size=384"
    with pytest.raises(ConfigError, match=said):
        train(photos, tmp_path / "run", cnn_backbone="vit_tiny_patch16_384")
    with pytest.raises(ConfigError, match="does not take photos of 200 pixels"):
        train(photos, tmp_path / "run", cnn_backbone="vit_tiny_patch16_224", size=224, window=200)


SHORT_OF_MEMORY = """
import json, resource, sys
from pathlib import Path
from photorank.config import E2eConfig
from photorank.errors import ConfigError
from photorank.stages.e2e import e2e

def run(out, **options):
    config = E2eConfig.model_validate({**json.loads(sys.argv[3]), **options})
    e2e(Path(sys.argv[1]), config, out)

if __name__ == "__main__":
    out = Path(sys.argv[2])
    run(out.with_name(out.name + "-warm"), size=32, batch_photos=6)  # all libraries are there now
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1000 << 20),) * 2)
    try:
        run(out)
    except ConfigError as error:
        print(error)
"""


def short_of_memory(photos: Path, out: Path, **options: Any) -> str:
    """What a training says in a process that gets 1,000 MB more than its libraries take."""
    told = json.dumps({**SMALL, "size": 384, "batch_photos": 36, "epochs": 1, **options})
    # Each arena of malloc's takes 64 MB of what is limited here, used or not.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    for attempt in range(4):
        arguments = [str(photos / "comparisons.csv"), str(out.with_name(f"{out.name}-{attempt}")), told]
        command = [sys.executable, "-c", SHORT_OF_MEMORY, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode >= 0:  # else a library did not look whether it got its memory, and nobody can say anything
            break
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are held on Linux only")
def test_with_the_batch_that_is_named_a_training_fits_where_it_did_not(photos: Path, tmp_path: Path) -> None:
    said = short_of_memory(photos, tmp_path / "whole")
    named = re.search(
        r"the memory of cpu does not hold \d+ photos at once, but \d+: --set accumulate=(\d+) .* batch_photos=(\d+)",
        said,
    )
    assert named, said
    assert short_of_memory(photos, tmp_path / "parts", accumulate=int(named[1])) == ""
    assert short_of_memory(photos, tmp_path / "smaller", batch_photos=int(named[2])) == ""
    for name in ("parts", "smaller"):
        assert list(tmp_path.glob(f"{name}-[0-9]/weights.safetensors"))
    assert not list(tmp_path.glob("whole-[0-9]/weights.safetensors"))


COMPILER = os.environ.get("CXX", {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no {COMPILER}: torch.compile wants a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own code
def test_a_compiled_network_learns_the_same_and_its_run_is_like_any_other(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch.compiler.reset()
    options: dict[str, Any] = {"ema_decay": 0.5, "dropout": 0, "optimiser": "sgd"}  # compiled code drops other numbers
    train(photos, tmp_path / "plain", **options)

    def stop(done: int, *_: int) -> None:
        if done > 40:  # of 60: in the third epoch
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunError, match="stopped after step"):
        train(photos, tmp_path / "run", progress=stop, compile=True, **options)
    assert list((tmp_path / "compiled").rglob("*.cpp")), "nothing was compiled"
    (checkpoint,) = (tmp_path / ".run.part").glob("step-*")
    assert not any("_orig_mod" in name for name in safetensors.torch.load_file(checkpoint))
    train(photos, tmp_path / "run", resume=True, compile=True, **options)
    both = tmp_path / "plain", tmp_path / "run"
    plain, compiled = (safetensors.torch.load_file(each / "weights.safetensors") for each in both)
    assert {name: each.shape for name, each in plain.items()} == {name: each.shape for name, each in compiled.items()}
    curves = [[json.loads(line) for line in (each / "log.jsonl").read_text().splitlines()] for each in both]
    for wanted, found in zip(*curves, strict=True):
        assert found == pytest.approx(wanted, abs=1e-3)
    assert load_run(tmp_path / "run").kind == "siamese"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_want_of_a_compiler_is_a_sentence(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config, cpp_builder

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    cpp_builder.cpp_compiler_search.cache_clear()
    torch.compiler.reset()
    with pytest.raises(ConfigError, match=r"cannot be compiled here .*train without --compile, or install"):
        train(photos, tmp_path / "run", compile=True)
    cpp_builder.cpp_compiler_search.cache_clear()


def test_a_training_that_diverges_is_a_sentence(photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"learning_rate": 1e30, "optimiser": "sgd", "epochs": 1, "stop_fraction": 0}
    said = r"the training diverged by step 2: .* no numbers; "
    with pytest.raises(ConfigError, match=said + r"remove .*\.run\.part and start again with a smaller"):
        train(photos, tmp_path / "run", checkpoint_steps=1, **options)
    (tensors,) = (tmp_path / ".run.part").glob("step-1.safetensors")
    assert all(bool(each.isfinite().all()) for each in safetensors.torch.load_file(tensors).values())
    shutil.rmtree(tmp_path / ".run.part")
    with pytest.raises(ConfigError, match=said.replace("2", r"\d") + "start again with a smaller --set learning_rate"):
        train(photos, tmp_path / "run", **{**options, "checkpoint_steps": 200})
    train(photos, tmp_path / "run", **{**options, "learning_rate": 1e-3})  # which is what was said


def test_a_judged_loss_that_is_no_number_is_a_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "judge", Mock(return_value={"loss": math.nan, "accuracy": 0.5}))
    with pytest.raises(ConfigError, match=r"the training diverged .*; remove .*\.run\.part and start again"):
        train(photos, tmp_path / "run", epochs=1)


def test_features_of_what_is_no_siamese_run_are_refused(run: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run that can be read"):
        extract([photos], tmp_path / "S", ExtractConfig(), [f"e2e:{tmp_path}"])
    head = tmp_path / "head"
    head.mkdir()
    (head / "run.json").write_text(json.dumps({"kind": "head", "spaces": [{}]}))
    with pytest.raises(RunError, match="only those of `photorank e2e` have a backbone"):
        extract([photos], tmp_path / "S", ExtractConfig(), [f"e2e:{head}"])
    with pytest.raises(ConfigError, match="extract one run's at a time"):
        extract([photos], tmp_path / "S", ExtractConfig(), [f"e2e:{run}", f"e2e:{head}"])


def launched(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script or module in so many processes that know of each other, on the processor."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), *map(str, arguments)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(photos: Path, tmp_path: Path) -> None:
    # SGD: AdamW makes a whole step of a gradient that is rounding error.
    # Ten series, three a step, in two parts of two processes: one has less to do, and nothing in the last step.
    options = {
        **SMALL, "dropout": 0, "freeze_batch_norm": True, "optimiser": "sgd", "learning_rate": 0.01,
        "val_fraction": 0.1, "batch_photos": 9, "accumulate": 2,
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**options, "mlp_hidden_dims": [8]}))
    told = {}
    for processes in (1, 2):
        out = tmp_path / f"run-{processes}"
        done = launched(
            processes, "-m", "photorank", "e2e", "--comparisons", photos / "comparisons.csv", "--config",
            tmp_path / "config.yaml", "--out", out, "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["processes"] == processes
        assert json.loads(done.stdout)["comparisons"]["train"] == 22
        told[processes] = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert told[1][0]["stop_loss"] - told[1][2]["stop_loss"] > 1e-3, "nothing was learned"
    for one, two in zip(told[1], told[2], strict=True):
        assert one == pytest.approx(two, abs=1e-4)


JUDGED = """
import json, os, sys
from pathlib import Path
from photorank.config import E2eConfig
from photorank.stages.e2e import e2e
from photorank.training.siamese import Trainer

judge = Trainer.judge

def judged(self, *arguments):
    told = {name: each.tolist() for name, each in self.model.state_dict().items() if "running_" in name}
    with Path(sys.argv[2] + os.environ["RANK"]).open("a") as file:
        file.write(json.dumps(told) + chr(10))
    return judge(self, *arguments)

if __name__ == "__main__":
    Trainer.judge = judged
    e2e(Path(sys.argv[1]), E2eConfig.model_validate(json.loads(sys.argv[3])), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_processes_judge_by_the_same_batch_norm_statistics(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "judged.py"
    script.write_text(JUDGED)
    done = launched(2, script, photos / "comparisons.csv", tmp_path / "run", json.dumps(SMALL))
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"run{rank}").read_text() for rank in (0, 1))
    assert first.count("running_mean") >= SMALL["epochs"]
    assert first == second


@pytest.mark.slow
def test_of_two_processes_none_trains_what_is_trained_elsewhere(photos: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".run.part.lock"):
        done = launched(
            2, "-m", "photorank", "e2e", "--comparisons", photos / "comparisons.csv", "--config", "smoke", "--out",
            tmp_path / "run",
        )  # fmt: skip
    assert done.returncode != 0
    assert "another process trains" in done.stderr
    assert "see what the first of these processes said" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_process_that_is_killed_ends_the_others_with_a_sentence(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED_AND_TOLD)
    options = json.dumps(SMALL)
    done = launched(2, script, photos / "comparisons.csv", tmp_path / "run", options)
    assert done.returncode != 0
    assert "RunError: another process of this training ended" in done.stderr
    assert "--resume" in done.stderr
    train(photos, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "weights.safetensors").is_file()
