"""The experiments: PhotoTriage's, on data that is made in its layout; the run that comes with photorank, made again."""

import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import ImageFilter

from photorank import Ranker
from photorank.comparisons.phototriage import read_phototriage
from photorank.config import E2eConfig, HeadConfig, load_config
from photorank.stages.rank import DEFAULT_RUN
from tests.conftest import make_picture

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"


def test_made_data_has_the_official_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PIPELINES))
    from phototriage_smoke import SERIES, make_phototriage

    found = read_phototriage(make_phototriage(tmp_path))
    assert {split: counts.series for split, counts in found.counts.items()} == SERIES
    assert all("is not the official list" in text for text in found.warnings)  # nothing else is wrong with it
    named = {*found.table["left"], *found.table["right"]}
    assert named == {f"train_val_imgs/{path.name}" for path in (tmp_path / "train_val_imgs").iterdir()}
    assert found.table["p_left"].between(0.01, 0.99).all()
    assert 0.35 < (found.table["p_left"] > 0.5).mean() < 0.65
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    make_phototriage(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_sides_take_turns_and_the_figure_is_the_median_of_their_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PIPELINES))
    from turns import Figures, in_turns

    order: list[str] = []
    times = {"ours": iter([99.0, 1.0, 2.0, 4.0]), "other": iter([99.0, 3.0, 4.0, 20.0])}

    def side(name: str) -> float:
        order.append(name)
        return next(times[name])

    taken = in_turns({name: partial(side, name) for name in times}, turns=3, warming=1)
    assert order == ["ours", "other"] * 4
    assert taken == {"ours": [1, 2, 4], "other": [3, 4, 20]}
    figures = Figures()
    figures.ratio("times faster", taken["other"], taken["ours"], ">= 2", scale=2)
    assert figures.all == [{"what": "times faster", "median": 6, "min": 4, "max": 10, "bar": ">= 2"}]


@pytest.mark.slow
def test_the_embedded_default_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PIPELINES))
    import embedded_default

    monkeypatch.setattr(embedded_default, "HEAD", HeadConfig(learning_rate=3e-3, epochs=8))
    photos, unseen = tmp_path / "photos", tmp_path / "unseen"
    for folder, seeds in ((photos, range(4)), (unseen, range(4, 6))):
        folder.mkdir()
        for seed in seeds:
            make_picture(seed, 240, 180).save(folder / f"{seed}.png")
    shutil.copy(photos / "0.png", photos / "copy.png")
    for out in ("one", "other"):
        arguments = [photos, "--unseen", unseen, "--out", tmp_path / out, "--workers", "1"]
        monkeypatch.setattr(sys, "argv", ["embedded_default.py", *map(str, arguments)])
        embedded_default.main()
    made = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()}
    assert made.keys() == {path.name for path in DEFAULT_RUN.iterdir()}
    assert "| the other half (2 photos) | of other cameras (2 photos) |" in made["README.md"].decode()
    # It ranks, and knows already that a blur is worse.
    make_picture(9, 240, 180).save(tmp_path / "sharp.png")
    make_picture(9, 240, 180).filter(ImageFilter.GaussianBlur(4)).save(tmp_path / "soft.png")
    frames = [tmp_path / "soft.png", tmp_path / "sharp.png"]
    table = Ranker.load(tmp_path / "one").rank(frames, tmp_path / "S", series_by="folder")
    assert [Path(path).name for path in table["path"]] == ["sharp.png", "soft.png"]


@pytest.mark.slow
def test_the_experiment_runs_whole_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(PIPELINES))
    import phototriage

    for config, settings in phototriage.SIAMESE.values():
        load_config(E2eConfig, "e2e", config, settings)
    monkeypatch.setattr(sys, "argv", ["phototriage.py", "--smoke", "--out", str(tmp_path), "--set", "epochs=2"])
    phototriage.main()
    report = (tmp_path / "report.md").read_text()
    assert report in capsys.readouterr().out
    rows = dict(line.strip("| ").split(" | ", 1) for line in report.splitlines() if line.startswith("| head over"))
    assert len(rows) == 7
    assert "SPSNet" in report
    for name in ("e2e: a small network, difference head", "e2e: a small network, score head", "sharpness alone"):
        assert f"| {name} |" in report
    # The statistics see blur and exposure, of which the labels are made.
    for name, row in rows.items():
        assert "iqa" not in name or float(row.split(" | ")[1].split(" %")[0]) > 85
    assert rows[max(rows, key=lambda name: float(rows[name].split(" %")[0]))] == next(iter(rows.values()))  # best first
    monkeypatch.setattr(phototriage, "sweep", None)
    monkeypatch.setattr(phototriage, "fit_head", None)  # what is there is not made again
    monkeypatch.setattr(phototriage, "e2e", None)
    phototriage.main()
    assert (tmp_path / "report.md").read_text() == report
