"""Real photos of the checkout's neighbour, where it is there: every vector against the libraries' own code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from photorank.config import load_extract_config
from photorank.stages.extract import extract
from tests.conftest import SHARED

PHOTOS = SHARED / "photos"
PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
needs_photos = pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="the folder of real photos beside the checkout is not there"
)


def check(*photos: Path, script: str = "check_extract.py") -> dict[str, dict[str, float]]:
    command = [sys.executable, PIPELINES / script, *photos, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    assert set(found) == {"clip", "resnet50"}
    return found


@needs_photos
@pytest.mark.slow
def test_vectors_of_a_few_real_photos_are_the_libraries_own() -> None:
    objects = sorted((PHOTOS / "objects").iterdir())[::128]
    for each in check(*objects, PHOTOS / "castle" / "100_7100.JPG").values():
        assert each["photos"] == len(objects) + 1
        assert each["decoded"] >= 0.9999
        assert each["from_file"] >= 0.9999


@needs_photos
@pytest.mark.slow
def test_fast_decoding_moves_vectors_by_little() -> None:
    photos = sorted((PHOTOS / "castle").iterdir())[:2]
    for each in check(*photos, PHOTOS / "objects" / "n01440764_tench.JPEG", script="bench_decode.py").values():
        assert (each["photos"], each["fewer"]) == (3, 2)
        assert 0 < each["distance_max"] < 1e-4
        assert 0 < each["levels_mean"] < 1.5


@needs_photos
@pytest.mark.slow
def test_fast_decoding_moves_vectors_of_every_real_photo_by_little() -> None:
    for each in check(PHOTOS, script="bench_decode.py").values():
        assert each["photos"] == 337
        assert 0 < each["distance_max"] < 1e-4


@needs_photos
@pytest.mark.slow
def test_vectors_of_every_real_photo_are_the_libraries_own() -> None:
    for each in check(PHOTOS).values():
        assert each["photos"] == 337
        assert each["decoded"] >= 0.9999
        assert each["from_file"] >= 0.9999


@needs_photos
@pytest.mark.slow
def test_three_spaces_of_every_real_photo(tmp_path: Path) -> None:
    report = extract([PHOTOS], tmp_path / "S", load_extract_config("random", (), "cpu", None, None))
    assert list(report.rows.values()) == [337, 337, 337]
    assert report.failures == []


@needs_photos
@pytest.mark.slow
def test_a_head_over_the_statistics_knows_that_photos_made_worse_are_worse(tmp_path: Path) -> None:
    command = [sys.executable, PIPELINES / "degradation.py", PHOTOS / "objects", "--folder", tmp_path, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["halves"]) == 5
    assert sum(told["halves"]) / 5 >= 98
    assert {"blur-1", "jpeg-80", "crop-middle-60"} < set(told["figures"])
