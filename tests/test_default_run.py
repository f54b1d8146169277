"""The run that comes with photorank, as `rank` uses it: it tells bad from worse, and its card what was measured."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from photorank import Ranker
from photorank.config import IqaConfig
from photorank.errors import ConfigError, RunError
from photorank.extractors import describe
from photorank.photos import decode_photo, read_photo
from photorank.runs import load_run
from photorank.stages.frames import Pixels, blur, expose, recompress
from photorank.stages.rank import DEFAULT_RUN
from photorank.store import fingerprint
from tests.conftest import SHARED, make_picture

PHOTOS = SHARED / "photos"
README = Path(__file__).parents[1] / "README.md"
LADDERS: dict[str, list[Callable[[Pixels], Pixels]]] = {
    "blur": [partial(blur, sigma=sigma) for sigma in (1, 2, 4, 8)],
    "jpeg": [partial(recompress, quality=quality) for quality in (60, 30, 10)],
    "dark": [partial(expose, stops=stops) for stops in (-1, -2, -4)],
    "bright": [partial(expose, stops=stops) for stops in (1, 2, 4)],
}
"""Each step is worse than the one before by enough to be seen."""


def ladders(folder: Path, pictures: dict[str, Pixels]) -> dict[tuple[str, str], list[float]]:
    """Picture and kind of fault → the scores of the picture itself and of ever worse frames of it."""
    for name, pixels in pictures.items():
        (folder / name).mkdir(parents=True)
        frames = {"original": pixels}
        for kind, steps in LADDERS.items():
            frames |= {f"{kind}-{at}": worse(pixels) for at, worse in enumerate(steps, 1)}
        for frame, made in frames.items():
            Image.fromarray(np.ascontiguousarray(made)).save(folder / name / f"{frame}.png", compress_level=0)
    table = Ranker.load(None).rank([folder], folder.with_name("S"), series_by="folder")
    score = {Path(path): each for path, each in zip(table["path"], table["score"], strict=True)}
    return {
        (name, kind): [
            score[folder / name / f"{frame}.png"]
            for frame in ("original", *(f"{kind}-{at}" for at in range(1, len(steps) + 1)))
        ]
        for name in pictures for kind, steps in LADDERS.items()
    }  # fmt: skip


def not_falling(found: dict[tuple[str, str], list[float]]) -> dict[tuple[str, str], list[float]]:
    return {name: scores for name, scores in found.items() if not (np.diff(scores) < 0).all()}


def test_scores_of_made_pictures_fall_as_a_fault_grows(tmp_path: Path) -> None:
    pictures = {str(seed): np.asarray(make_picture(seed, 480, 360)) for seed in range(8)}
    assert not not_falling(ladders(tmp_path / "p", pictures))


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photos beside the checkout are not there")
def test_scores_of_photos_fall_as_a_fault_grows(tmp_path: Path) -> None:
    """Of photos that it never saw, the middles: as sharp as the whole, and quick."""
    pictures = {}
    for path in [*sorted((PHOTOS / "castle").iterdir())[::5], *sorted((PHOTOS / "beach").iterdir())[::2]]:
        pixels = decode_photo(read_photo(str(path))).rgb
        top, left = (side // 2 - 300 for side in pixels.shape[:2])
        pictures[path.stem] = pixels[top : top + 600, left : left + 600]
    assert len(pictures) == 6
    assert not not_falling(ladders(tmp_path / "p", pictures))


def figures_of_card() -> tuple[list[int], dict[str, list[float]]]:
    """Photos of each column, and of each row its shares."""
    lines = (DEFAULT_RUN / "README.md").read_text(encoding="utf-8").splitlines()
    head, _, *rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    shares = {name: [float(cell.split(" %")[0]) / 100 for cell in cells] for name, *cells in rows}
    return [int(number) for number in re.findall(r"\((\d+) photos\)", " ".join(head))], shares


def test_the_card_agrees_with_the_metrics_and_with_itself() -> None:
    card = (DEFAULT_RUN / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((DEFAULT_RUN / "metrics.json").read_text(encoding="utf-8"))
    trained, tested = metrics["figures"]["train"]["head"], metrics["figures"]["test"]["head"]
    counts, shares = figures_of_card()
    assert f" of {trained['groups']} photos made worse" in card
    assert f" {metrics['comparisons']['train']:,} comparisons: " in card
    assert sum(counts) == tested["groups"]
    # Each photo has one comparison a fault, but for a few that a fault does not change.
    assert 0.99 * 13 * sum(counts) < tested["n"] <= 13 * sum(counts)
    faults = {name: cells for name, cells in shares.items() if re.search(r"-\d+$", name)}
    assert len(faults) == 13
    kinds = {"blur": "blur-", "JPEG": "jpeg-", "exposure": "exposure-", "blur, JPEG, exposure": ""}
    for kind, begins in kinds.items():
        parts = [cells for name, cells in faults.items() if name.startswith(begins)]
        assert shares[kind] == pytest.approx(np.mean(parts, axis=0), abs=2e-3)
    assert np.average(shares["blur, JPEG, exposure"], weights=counts) == pytest.approx(tested["value"], abs=1e-3)


def test_the_readme_says_what_the_card_says() -> None:
    text = " ".join(README.read_text(encoding="utf-8").split())
    counts, shares = figures_of_card()
    said = f"in {100 * shares['blur, JPEG, exposure'][0]:.1f} % of {13 * counts[0]:,} comparisons"
    assert f"{said} (blur, JPEG, exposure; JPEG of quality 80 alone: {100 * shares['jpeg-80'][0]:.1f} %)" in text


def test_its_features_are_those_that_this_photorank_computes() -> None:
    (feature,) = load_run(DEFAULT_RUN).features
    assert feature == describe("iqa", IqaConfig(kind="iqa"))


def changed(folder: Path, **statistics: object) -> Path:
    """The run, as if it had been trained on other statistics."""
    shutil.copytree(DEFAULT_RUN, folder)
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    spec = about["spaces"][0]["spec"]
    spec["statistics"].update(statistics)
    about["spaces"][0]["fingerprint"] = fingerprint(spec)
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def test_a_run_on_other_statistics_is_refused(tmp_path: Path) -> None:
    make_picture(0).save(tmp_path / "a.png")
    names = load_run(DEFAULT_RUN).features[0].spec["statistics"]["names"]
    for number, other in enumerate(({"version": 0}, {"names": ["contrast", *names[1:]]})):
        run = changed(tmp_path / f"run-{number}", **other)
        with pytest.raises(ConfigError, match=r"iqa: these statistics are .* computes version \d+; extract and train"):
            Ranker.load(run).rank([tmp_path / "a.png"], tmp_path / "S")
    about = run / "run.json"
    about.write_text(about.read_text(encoding="utf-8").replace('"contrast"', '"luma_p05"', 1), encoding="utf-8")
    with pytest.raises(RunError, match="the spec of iqa was changed after training"):
        Ranker.load(run)


def test_colours_hardly_count(tmp_path: Path) -> None:
    """Copies of a picture in fewer, more or no colours are about as good: colours are no fault, and no merit."""
    for seed in range(8):
        picture, folder = make_picture(seed, 480, 360), tmp_path / "p" / str(seed)
        folder.mkdir(parents=True)
        for factor in (0, 0.5, 1, 1.5):
            ImageEnhance.Color(picture).enhance(factor).save(folder / f"{factor}.png", compress_level=0)
    table = Ranker.load(None).rank([tmp_path / "p"], tmp_path / "S", series_by="folder")
    told = pd.DataFrame({"series": table["series"], "factor": [Path(each).stem for each in table["path"]]})
    score = told.assign(score=table["score"]).pivot(index="series", columns="factor", values="score")
    assert score.sub(score["1"], axis=0).abs().to_numpy().max() < 0.5  # P between 38 and 62 %
