"""Thumbnails: what they show, and how they are kept."""

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from photorank.config import CnnConfig, ExtractConfig, FeatureConfig, IqaConfig
from photorank.extractors import describe
from photorank.photos import decode_photo, read_photo
from photorank.photos.finding import find_photos
from photorank.photos.thumbnails import LONG_SIDE, QUALITY, Thumbnails, make_thumbnail, thumbnail_size
from photorank.stages.extract import ExtractReport, compute
from photorank.store import FeatureStore
from tests.conftest import make_picture


def pixels_of(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        return np.asarray(image).astype(int)


@given(st.integers(1, 700), st.integers(1, 700))
@settings(max_examples=60, deadline=None)
def test_a_thumbnail_has_the_photos_shape_and_is_never_larger(height: int, width: int) -> None:
    jpeg = make_thumbnail(np.full((height, width, 3), (200, 90, 30), np.uint8))
    pixels = pixels_of(jpeg)
    assert pixels.shape[:2] == thumbnail_size(height, width)
    assert max(pixels.shape[:2]) == min(LONG_SIDE, max(height, width))
    assert abs(pixels.shape[0] / pixels.shape[1] - height / width) <= height / width / min(pixels.shape[:2])
    assert np.abs(pixels - (200, 90, 30)).max() <= 4


@pytest.mark.parametrize("size", [(3000, 2000), (1999, 3001), (640, 480)])
def test_it_shows_what_averaging_every_pixel_shows(size: tuple[int, int]) -> None:
    rgb = np.asarray(make_picture(3, *size))
    rows, columns = thumbnail_size(*rgb.shape[:2])
    averaged = np.asarray(Image.fromarray(rgb).resize((columns, rows), Image.Resampling.BOX))
    oracle = pixels_of(simplejpeg.encode_jpeg(averaged, QUALITY, colorsubsampling="420"))
    shown = pixels_of(make_thumbnail(rgb))
    difference = np.abs(shown - oracle).mean()
    assert difference < 1.5
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):  # nothing is moved, not by a pixel
        assert np.abs(shown - np.roll(oracle, shift, axis)).mean() > 1.5 * difference


def extract(folder: Path, store: Path, thumbnails: bool = True, **features: FeatureConfig) -> ExtractReport:
    files, unfit = find_photos([folder])
    described = [describe(name, each) for name, each in (features or {"iqa": IqaConfig()}).items()]
    config = ExtractConfig(device="cpu", workers=2)
    return compute(FeatureStore.create(store), files, unfit, described, config, thumbnails=thumbnails)


def test_photos_that_are_decoded_leave_a_thumbnail_when_they_are_wanted(photo_folder: Path, tmp_path: Path) -> None:
    report = extract(photo_folder, tmp_path / "without", thumbnails=False)
    assert not (tmp_path / "without" / "thumbnails").exists()
    assert report.phases is not None
    assert "thumbnail" not in report.phases.seconds
    report = extract(photo_folder, tmp_path / "S")
    kept = Thumbnails(tmp_path / "S")
    for path, key in report.keys.items():
        jpeg = kept.read(key)
        assert jpeg == make_thumbnail(decode_photo(read_photo(path)).rgb)
    assert report.phases is not None
    assert "thumbnail" in report.phases.seconds
    assert FeatureStore.open(tmp_path / "S").verify() == []


def test_each_photo_gets_one_however_often_it_is_decoded(tmp_path: Path) -> None:
    """By a fast and an exact decoding in one call, and by a later call for another feature."""
    (tmp_path / "p").mkdir()
    make_picture(1, 1700, 1200).save(tmp_path / "p" / "large.jpg", quality=90)
    small = {"model": "resnet18", "weights": "random"}
    features = {"fast": CnnConfig(decode="fast", **small), "exact": CnnConfig(**small)}  # type: ignore[arg-type]
    (key,) = extract(tmp_path / "p", tmp_path / "S", **features).keys.values()
    path = Thumbnails(tmp_path / "S").path(key)
    before = path.stat()
    oracle = np.asarray(make_picture(1, 1700, 1200).resize((320, 226), Image.Resampling.BOX)).astype(int)
    assert np.abs(pixels_of(path.read_bytes()) - oracle).mean() < 4
    extract(tmp_path / "p", tmp_path / "S", iqa=IqaConfig())
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_orientation_and_colours_are_those_of_the_photo(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = make_picture(5, 900, 600)
    picture.save(tmp_path / "p" / "turned.jpg", quality=95, exif=turned)
    # A profile whose red and green are swapped: who ignores it shows green for red.
    red = Image.new("RGB", (640, 480), (0, 255, 0))
    red.save(tmp_path / "p" / "profiled.png", icc_profile=swapped_profile())
    keys = {Path(path).name: key for path, key in extract(tmp_path / "p", tmp_path / "S").keys.items()}
    kept = Thumbnails(tmp_path / "S")
    upright = picture.transpose(Image.Transpose.ROTATE_270).resize((213, 320), Image.Resampling.BOX)
    shown = pixels_of(kept.read(keys["turned.jpg"]) or b"")
    assert np.abs(shown - np.asarray(upright).astype(int)).mean() < 4
    assert pixels_of(kept.read(keys["profiled.png"]) or b"").mean((0, 1)).argmax() == 0


def swapped_profile() -> bytes:
    """sRGB with the red and the green primary's tags exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def test_one_that_is_cut_short_counts_as_missing(tmp_path: Path) -> None:
    kept, key = Thumbnails(tmp_path), bytes(range(32))
    assert kept.read(key) is None
    kept.add(key, np.zeros((20, 30, 3), np.uint8))
    whole = kept.read(key)
    assert whole
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        kept.path(key).write_bytes(whole[:length])
        assert kept.read(key) is None
    kept.add(key, np.zeros((20, 30, 3), np.uint8))
    assert kept.read(key) == whole
    assert [path.name for path in kept.path(key).parent.iterdir()] == [f"{key.hex()}.jpg"]


def test_forgetting_a_photo_deletes_its_thumbnail(photo_folder: Path, tmp_path: Path) -> None:
    report = extract(photo_folder, tmp_path / "S")
    kept, (gone, *others) = Thumbnails(tmp_path / "S"), report.keys.values()
    left = kept.path(gone).with_name(f".{gone.hex()}.jpg.0123abcd.tmp")
    left.write_bytes(b"what a killed process left")
    FeatureStore.open(tmp_path / "S").forget([gone])
    assert not kept.has(gone)
    assert not left.exists()
    assert all(kept.has(key) for key in others)


def test_a_photo_whose_thumbnail_cannot_be_kept_is_extracted_all_the_same(photo_folder: Path, tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "S")
    (tmp_path / "S" / "thumbnails").write_text("a file where the folder should be")
    report = extract(photo_folder, tmp_path / "S")
    assert report.failures == []
    assert list(report.rows.values()) == [6]
