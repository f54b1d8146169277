"""The demo: the degradations, and the whole of it on the packaged photos."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photorank.errors import ConfigError, PhotoError
from photorank.photos import decode_photo
from photorank.stages import frames
from photorank.stages.demo import demo
from tests.conftest import Run, make_picture


def picture(seed: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
    return np.asarray(make_picture(seed, width, height))


def test_exposure_multiplies_light() -> None:
    grey = np.full((4, 4, 3), 118, np.uint8)  # 18.1 % of the light of white
    darker, brighter = frames.expose(grey, -1), frames.expose(grey, 1)
    assert darker[0, 0, 0] == 85  # 9.1 %
    assert brighter[0, 0, 0] == 162  # 36.2 %
    np.testing.assert_array_equal(frames.expose(picture(), 0), picture())
    assert frames.expose(picture(), 20)[picture() > 0].min() == 255


def test_blur_lowers_and_noise_raises_the_differences_of_neighbours() -> None:
    def roughness(pixels: np.ndarray) -> float:
        return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())

    flat = np.full((64, 64, 3), 128, np.uint8)
    assert roughness(frames.blur(picture(), 3)) < roughness(frames.blur(picture(), 1.5)) < roughness(picture())
    assert abs(frames.add_noise(flat, 12, 0).std() - 12) < 0.3
    assert not np.array_equal(frames.recompress(picture(), 30), picture())


@pytest.mark.parametrize(("width", "height"), [(451, 300), (300, 451), (1411, 1411), (4000, 2250), (200, 180)])
def test_scenes_and_their_tilts_lie_inside_the_photo(width: int, height: int) -> None:
    found = frames.scenes(width, height)
    assert len({(scene.left, scene.top) for scene in found}) == 5
    white = np.full((height, width, 3), 255, np.uint8)
    for scene in found:
        made = dict(frames.frames(white, scene, seed=scene.left))
        assert {pixels.shape for pixels in made.values()} == {(scene.height, scene.width, 3)}
        assert made[frames.TILT].min() == 255  # no corner from beyond the photo's edge
    assert frames.scenes(150, 400) == []


def test_every_frame_is_saved_the_same_lossless_way(tmp_path: Path) -> None:
    rows = frames.save_frames(picture(), tmp_path, seed=1)
    assert len(rows) == 5 * (1 + len(frames.KINDS))
    made = dict(frames.frames(picture(), frames.scenes(320, 240)[0], seed=2))
    for row in rows[: len(made)]:
        data = Path(row["path"]).read_bytes()
        np.testing.assert_array_equal(decode_photo(data).rgb, made[row["frame"]])
        with Image.open(row["path"]) as image:
            assert (image.format, image.mode, image.info) == ("PNG", "RGB", {})


def test_a_frame_that_equals_the_original_is_left_out(tmp_path: Path) -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    rows = frames.save_frames(black, tmp_path, seed=1)
    assert {row["frame"] for row in rows} == {frames.ORIGINAL, "noise 12"}


def test_the_whole_demo_meets_its_bar(tmp_path: Path, photorank: Run) -> None:
    """Held-out accuracy at least 95 %, its interval above that of every trivial answer."""
    done = photorank("demo", "--out", tmp_path / "demo", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["sources"], report["frames"]) == (9, 450)
    head = report["figures"].pop("head")
    assert head["groups"] == 9
    assert head["value"] >= 0.95
    assert set(report["figures"]) == {"always left", "always right", "file size alone", "sharpness alone"}
    assert all(other["high"] < head["low"] for other in report["figures"].values())
    assert sum(kind["n"] for kind in report["by_kind"].values()) == head["n"]
    with Image.open(report["contact_sheet"]) as sheet:
        assert sheet.format == "PNG"
        assert (np.asarray(sheet.convert("RGB")) == (0x3D, 0xDC, 0x84)).all(-1).sum() > 1000  # the picks' frames
    shown = photorank("rank", tmp_path / "demo" / "frames" / "cat", "--model", report["run"], "--no-store")
    assert shown.stdout.count("keep") == 5


@pytest.mark.slow
def test_the_demo_over_a_folder_of_ones_own(tmp_path: Path, photorank: Run) -> None:
    for number in range(4):
        make_picture(number, 360, 300).save(tmp_path / f"{number}.jpg", quality=95)
    done = photorank("demo", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "4 photos, 180 frames" in done.stdout
    assert f"photorank rank PHOTOS --model {tmp_path / 'out' / 'runs' / 'all'}" in done.stdout.replace("\n", "")
    again = photorank("demo", tmp_path, "--out", tmp_path / "out")
    assert again.returncode == 1
    assert "is there already and is kept" in again.stderr


def test_too_few_photos_and_missing_packages_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_picture(0, 360, 300).save(tmp_path / "a.png")
    with pytest.raises(PhotoError, match="at least three"):
        demo([str(tmp_path)], tmp_path / "out", print)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'photorank\[demo\]'"):
        demo([], tmp_path / "other", print)
