"""Features with a planted utility over PhotoTriage's pair graph: the head finds it. Minutes, and needs shared data."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from photorank.config import HeadConfig, load_config
from photorank.metrics import correct
from photorank.stages.exchange import import_features
from photorank.stages.fit_head import fit_head
from photorank.stages.labels import phototriage
from tests.conftest import SHARED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED / "planted.py").exists(), reason="needs planted.py and PhotoTriage's pairlists"),
]


def planted_store(folder: Path, seed: int, noise: float, shuffled: bool = False) -> dict[str, np.ndarray]:
    """`store` and `c.csv` in the folder, and planted.py's arrays. `shuffled`: photos have others' features."""
    npz = folder / "planted.npz"
    command = [sys.executable, SHARED / "planted.py", SHARED / "phototriage", npz, "--seed", seed, "--noise", noise]
    subprocess.run([str(each) for each in command], check=True, capture_output=True)
    arrays = dict(np.load(npz))
    if shuffled:
        order = np.random.default_rng(0).permutation(len(arrays["names"]))
        np.savez(npz, **arrays | {name: arrays[name][order] for name in ("clip", "cnn", "iqa")})
    phototriage(SHARED / "phototriage", folder / "c.csv")
    photos = folder / "train_val_imgs"
    for name, vectors, role in (("clip", "clip", "visual"), ("resnet50", "cnn", "visual"), ("iqa", "iqa", "statistic")):
        import_features(folder / "store", npz, name, role, "planted", "names", vectors, photos, absent=True)
    return arrays


@pytest.mark.parametrize(("seed", "noise"), [(0, 1.0), (1, 1.0), (2, 1.0), (0, 0.3), (0, 2.0)])
def test_cross_validation_ends_near_what_the_features_can_give(seed: int, noise: float, tmp_path: Path) -> None:
    arrays = planted_store(tmp_path, seed, noise)
    v = dict(zip(arrays["names"].tolist(), arrays["v"].tolist(), strict=True))
    table = pd.read_csv(tmp_path / "c.csv", dtype={"series": str})
    known = table[table["split"] != "test"]
    left, right = (known[side].map(lambda path: v[Path(path).name]).to_numpy() for side in ("left", "right"))
    best = np.nanmean(correct(left - right, known["p_left"]))
    config = load_config(HeadConfig, "head", "multifeature")
    report = fit_head(tmp_path / "store", tmp_path / "c.csv", config, tmp_path / "run", folds=5)
    found = report.repeated["train and val, 5 folds by series"]["accuracy"]
    assert found.value > best - 0.015
    assert found.groups == 4755


def test_features_that_carry_nothing_are_at_chance(tmp_path: Path) -> None:
    planted_store(tmp_path, 0, 1.0, shuffled=True)
    config = load_config(HeadConfig, "head", "multifeature", ["epochs=10"])
    report = fit_head(tmp_path / "store", tmp_path / "c.csv", config, tmp_path / "run", folds=5)
    accuracy = report.repeated["train and val, 5 folds by series"]["accuracy"]
    assert accuracy.low < 0.5 < accuracy.high


def test_of_three_hundred_series_a_fusion_head_learns_what_a_linear_one_does(tmp_path: Path) -> None:
    """In pairs, on all other series; the interval of the difference holds 0, but for what another processor rounds."""
    planted_store(tmp_path, 0, 1.0)
    script = Path(__file__).resolve().parents[2] / "pipelines" / "bench_fit_head.py"
    command = [sys.executable, script, tmp_path / "planted.npz", SHARED / "phototriage", "--parts", "few", "--json"]
    done = subprocess.run(
        [*map(str, command), "--folder", str(tmp_path / "work")], check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    for name in ("multifeature", "default"):
        assert told[f"few_{name}_less_linear"]["high"] > -0.002, told
        assert told[f"few_{name}_less_linear"]["value"] > -0.01, told
