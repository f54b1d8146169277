"""The report as `photorank rank --out` writes it."""

from pathlib import Path

import pytest
from PIL import ImageFilter
from typer.testing import CliRunner

from photorank.cli import app
from photorank.config import ExtractConfig, HeadConfig
from photorank.photos.thumbnails import Thumbnails
from photorank.stages import report as stage
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from tests.conftest import make_picture
from tests.reports.page.helpers import data_of


def rank(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["rank", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_thumbnails_are_those_that_extraction_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, rows = tmp_path / "photos", ["series,left,right,p_left"]
    for number in range(6):
        (photos / f"s{number}").mkdir(parents=True)
        for name, radius in (("sharp", 0), ("soft", 3)):
            picture = make_picture(number).filter(ImageFilter.GaussianBlur(radius))
            picture.save(photos / f"s{number}" / f"{name}.png")
        rows.append(f"s{number},s{number}/sharp.png,s{number}/soft.png,0.95")
    (tmp_path / "comparisons.csv").write_text("\n".join(rows))
    extract([photos], tmp_path / "S", ExtractConfig(workers=1))
    config = HeadConfig(val_fraction=0, epochs=30)
    fit_head(tmp_path / "S", tmp_path / "comparisons.csv", config, tmp_path / "run", photos)
    (tmp_path / "bad.jpg").write_bytes(b"no")
    asked: list[str] = []
    really = stage.each
    monkeypatch.setattr(stage, "each", lambda work, paths, *rest: asked.extend(paths) or really(work, paths, *rest))
    options = ["--model", tmp_path / "run", "--workers", 1, "--series-by", "folder"]
    named = [photos / "s0", photos / "s1", tmp_path / "bad.jpg"]
    said = rank(*named, *options, "--store", tmp_path / "T", "--out", tmp_path / "out")
    assert f"wrote {tmp_path / 'out' / 'report.html'}" in said.replace("\n", "")
    data = data_of(tmp_path / "out" / "report.html")
    assert str(tmp_path / "run") in data["about"]
    assert [Path(each["path"]).name for each in data["failures"]] == ["bad.jpg"]
    frames = [frame for series in data["series"] for frame in series["frames"]]
    assert [(frame["name"], frame["rank"], frame["keep"]) for frame in frames] == [
        ("sharp.png", 1, True), ("soft.png", 2, False),
    ] * 2  # fmt: skip
    assert all(Thumbnails(tmp_path / "T").read(bytes.fromhex(frame["key"])) for frame in frames)
    assert asked == []
    # A store that was filled without them gets them now; without a store they are made for this report and forgotten.
    rank(photos / "s0", *options, "--store", tmp_path / "S", "--out", tmp_path / "out")
    assert [Path(path).name for path in asked] == ["sharp.png", "soft.png"]
    asked.clear()
    rank(photos / "s0", *options, "--store", tmp_path / "S", "--out", tmp_path / "out")
    assert asked == []
    rank(photos / "s0", *options, "--no-store", "--out", tmp_path / "out")
    assert len(asked) == 2
    assert not [
        frame for frame in data_of(tmp_path / "out" / "report.html")["series"][0]["frames"] if "missing" in frame
    ]
