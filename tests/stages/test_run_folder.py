"""What a run folder holds beside what its use needs; and that one seed gives one folder, byte for byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from photorank.config import HeadConfig
from photorank.stages.fit_head import fit_head
from photorank.store import FeatureStore, FileRow

SERIES = 60
DECODERS = (
    "photorank.photos.decoding",
    "photorank.photos.raw",
    "open_clip",
    "pyiqa",
    "torchvision",
    "simplejpeg",
    "rawpy",
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 series of two photos, a visual and a statistic space, comparisons with and without held-out series; a run."""
    folder = tmp_path_factory.mktemp("work")
    generator = np.random.default_rng(0)
    quality = generator.normal(size=2 * SERIES)
    keys = np.stack([np.frombuffer(f"{number:032d}".encode(), np.uint8) for number in range(2 * SERIES)])
    store = FeatureStore.create(folder / "S")
    paths = [os.fsencode(folder / f"{number}.jpg") for number in range(2 * SERIES)]
    store.add_files([FileRow(path, 1000, 1, key.tobytes(), None, None) for path, key in zip(paths, keys, strict=True)])
    for name, dim, role in (("look", 16, "visual"), ("numbers", 3, "statistic")):
        space = store.create_space(name, {"kind": name}, dim=dim, dtype="float32", role=role)
        space.append(keys, (quality[:, None] + generator.normal(0, 1, (2 * SERIES, dim))).astype(np.float32))
    p_left = 1 / (1 + np.exp(quality[1::2] - quality[::2]))
    table = pd.DataFrame({
        "series": [f"s{number}" for number in range(SERIES)], "left": [f"{2 * number}.jpg" for number in range(SERIES)],
        "right": [f"{2 * number + 1}.jpg" for number in range(SERIES)], "p_left": p_left,
        "split": ["train"] * 40 + ["val"] * 20,
    })  # fmt: skip
    table.to_csv(folder / "c.csv", index=False)
    table[:40].to_csv(folder / "only-train.csv", index=False)
    fit_head(folder / "S", folder / "c.csv", HeadConfig(epochs=8, seed=4), folder / "run")
    return folder


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_in_another_process(work: Path, tmp_path: Path) -> None:
    """Nor does that process load a decoder, or write into the user's home but for the cache folder."""
    again, home = tmp_path / "again", tmp_path / "home"
    arguments = [
        "fit-head", "--store", str(work / "S"), "--comparisons", str(work / "c.csv"), "--out", str(again),
        "--set", "epochs=8", "--set", "seed=4", "--json",
    ]  # fmt: skip
    code = (
        "import sys; from photorank.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print(*sys.modules, sep='\\n')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MPLCONFIGDIR"}
    environment |= {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2", "TZ": "Asia/Tokyo"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "XDG_CONFIG_HOME": str(home / ".config")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
    one, two = contents(work / "run"), contents(again)
    assert set(one) == set(two) >= {
        "README.md", "config.yaml", "events/events.out.tfevents.0000.photorank", "log.jsonl", "metrics.json",
        "plots/by-agreement.png", "plots/learning-curves.png", "plots/reliability.png", "predictions.parquet",
        "run.json", "weights.safetensors",
    }  # fmt: skip
    assert [name for name in one if one[name] != two[name]] == []
    assert not set(DECODERS) & set(done.stdout.split("\n"))
    assert {str(path.relative_to(home)) for path in home.glob("*/*")} <= {".cache/photorank", "Library/Caches"}


def test_another_seed_gives_another_run(work: Path, tmp_path: Path) -> None:
    fit_head(work / "S", work / "c.csv", HeadConfig(epochs=8, seed=5), tmp_path / "run")
    one, two = contents(work / "run"), contents(tmp_path / "run")
    differ = {name for name in one if one[name] != two[name]}
    assert {"weights.safetensors", "README.md", "plots/learning-curves.png", "metrics.json"} < differ


def test_tensorboard_shows_the_log_by_epoch_and_the_figures(work: Path) -> None:
    told = EventAccumulator(str(work / "run" / "events")).Reload()
    log = [json.loads(line) for line in (work / "run" / "log.jsonl").read_text().splitlines()]
    for name in ("train_loss", "train_accuracy", "stop_loss", "stop_accuracy"):
        shown = told.Scalars(f"epoch/{name}")
        assert [each.step for each in shown] == [row["epoch"] for row in log]
        np.testing.assert_allclose([each.value for each in shown], [row[name] for row in log], rtol=1e-6)
    metrics = json.loads((work / "run" / "metrics.json").read_text())
    (accuracy,) = told.Scalars("accuracy/val")
    assert accuracy.step == metrics["best_epoch"]
    assert accuracy.value == pytest.approx(metrics["figures"]["val"]["head"]["value"])


def test_the_card_is_of_this_run_and_names_no_place_of_this_machine(work: Path) -> None:
    card = (work / "run" / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((work / "run" / "metrics.json").read_text())
    assert f"| head | {100 * metrics['figures']['val']['head']['value']:.1f} % (" in card
    for space in FeatureStore.open(work / "S").spaces():
        assert f"| `{space.name}` | `{space.fingerprint}` |" in card
    assert "| val | 20 | 20 |" in card
    assert "epochs: 8" in card
    assert "`c.csv`" in card
    for name, content in contents(work / "run").items():
        assert str(work).encode() not in content, name


def test_without_held_out_series_there_are_curves_and_nothing_else(work: Path, tmp_path: Path) -> None:
    config = HeadConfig(epochs=3, stop_fraction=0)
    fit_head(work / "S", work / "only-train.csv", config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "plots").iterdir()] == ["learning-curves.png"]
    assert "nothing is known of photos" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


def test_a_split_in_which_people_are_undecided_has_no_accuracy(work: Path, tmp_path: Path) -> None:
    table = pd.read_csv(work / "c.csv")
    table.loc[table["split"] == "val", "p_left"] = 0.5
    table[:41].to_csv(tmp_path / "c.csv", index=False)
    fit_head(work / "S", tmp_path / "c.csv", HeadConfig(epochs=3), tmp_path / "run", work)
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert [each.metric_type for each in card.data.eval_results] == ["log_loss"]
    assert "| head | – |" in card.text
