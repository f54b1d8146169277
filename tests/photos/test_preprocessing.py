"""From a photo to the pixels that a network sees: bit for bit what Pillow, torchvision and timm make of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from timm.data import transforms as timm_transforms
from torchvision.transforms import v2

from photorank.config import CnnConfig
from photorank.errors import PhotoError
from photorank.extractors import describe, preparer
from photorank.photos.preprocessing import Preprocessing
from photorank.store import fingerprint

BILINEAR = Image.Resampling.BILINEAR
MEAN = (117, 115, 110)  # 0.460, 0.450, 0.430 of 255
MODES = ["standard", "scale_crop", "paper"]
# Upright and lying, odd, smaller and larger than the network's square, the square itself, and very narrow.
SHAPES = [
    (300, 400), (401, 299), (37, 53), (224, 224), (256, 256), (225, 223), (1000, 17), (3, 700), (1, 1), (1, 90),
    (2000, 9),
]  # fmt: skip


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise: (height, width, 3) uint8. Every pixel of what is made of it depends on every rounding."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def prepare(rgb: np.ndarray, mode: str, **options: Any) -> np.ndarray:
    feature = describe("cnn", CnnConfig.model_validate({"weights": "random", "preprocessing": mode, **options}))
    (found,) = preparer(feature)(rgb)
    return found


def by_pillow(image: Image.Image, mode: str, resize: int = 256, size: int = 224) -> Image.Image:
    """Only `Image.resize`, `crop` and `paste`."""
    width, height = image.size
    if mode == "paper":
        scale = max(width, height) / size
        image = image.resize((max(1, round(width / scale)), max(1, round(height / scale))), BILINEAR)
        square = Image.new("RGB", (size, size), MEAN)
        square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        return square
    short = resize if mode == "standard" else size
    long = int(short * max(width, height) / min(width, height))
    image = image.resize((short, long) if width <= height else (long, short), BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def by_torchvision(image: Image.Image, mode: str) -> Image.Image:
    transforms: dict[str, Callable[[Image.Image], Image.Image]] = {
        "standard": v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)]),
        "scale_crop": v2.Compose([v2.Resize(224, antialias=True), v2.CenterCrop(224)]),
        "paper": _padded_by_torchvision,
    }
    return transforms[mode](image)


def _padded_by_torchvision(image: Image.Image) -> Image.Image:
    # `Resize(None, max_size=224)` cuts the shorter side's fraction off where this rounds it, so the sizes are given.
    scale = max(image.size) / 224
    height, width = max(1, round(image.height / scale)), max(1, round(image.width / scale))
    left, top = (224 - width) // 2, (224 - height) // 2
    fitted = v2.functional.resize(image, [height, width], antialias=True)
    padded = v2.functional.pad(fitted, [left, top, 224 - width - left, 224 - height - top], fill=list(MEAN))
    assert isinstance(padded, Image.Image)
    return padded


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_pillows_and_torchvisions_own(mode: str, shape: tuple[int, int]) -> None:
    rgb = photo(*shape)
    found = prepare(rgb, mode)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((224, 224, 3), np.uint8, True)
    np.testing.assert_array_equal(found, np.asarray(by_pillow(Image.fromarray(rgb), mode)))
    np.testing.assert_array_equal(found, np.asarray(by_torchvision(Image.fromarray(rgb), mode)))


@given(st.sampled_from(MODES), st.integers(1, 400), st.integers(1, 400), st.integers(1, 80), st.integers(1, 80))
@settings(max_examples=150, deadline=None)
def test_pixels_are_pillows_own_for_any_sizes(mode: str, height: int, width: int, resize: int, size: int) -> None:
    rgb, size = photo(height, width), min(size, resize)  # Pillow's crop beyond the edge is another thing
    expected = by_pillow(Image.fromarray(rgb), mode, resize, size)
    np.testing.assert_array_equal(prepare(rgb, mode, resize=resize, size=size), np.asarray(expected))


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 80))
@settings(max_examples=100, deadline=None)
def test_padding_keeps_the_whole_photo_its_shape_and_the_centre(height: int, width: int, size: int) -> None:
    white = np.full((height, width, 3), 255, np.uint8)
    seen = (prepare(white, "paper", size=size, padding_mean_color=(0, 0, 0)) == 255).all(2)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert seen[np.ix_(rows, columns)].all()
    assert max(len(rows), len(columns)) == size
    assert abs(len(rows) * width - len(columns) * height) <= max(height, width)  # one pixel's worth
    for within in (rows, columns):
        assert within[-1] - within[0] + 1 == len(within)
        assert 0 <= (size - 1 - within[-1]) - within[0] <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (81, 47)])
def test_every_mode_is_timms_or_torchvisions_own_for_squares_and_others(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    rgb, fill = photo(*shape), (9, 8, 7)
    cut = timm_transforms.CenterCropOrPad(size, fill=fill)
    ways = {"squash": v2.Resize(size, v2.InterpolationMode.BICUBIC, antialias=True)}
    if max(shape) < 100 * min(
        shape
    ):  # timm rounds the short side of narrow photos down to nothing, which Pillow refuses
        ways["longest"] = timm_transforms.ResizeKeepRatio(size, longest=1.0, interpolation="bicubic")
    if size[0] == size[1]:
        ways["shortest"] = v2.Resize(size[0], v2.InterpolationMode.BICUBIC, antialias=True)
    else:
        ways["shortest"] = timm_transforms.ResizeKeepRatio(size, interpolation="bicubic")
    for mode, resized in ways.items():
        found = Preprocessing(mode, size, size, "bicubic", fill)(rgb)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, np.asarray(cut(resized(Image.fromarray(rgb)))), mode)


@pytest.mark.parametrize("mode", ["standard", "scale_crop"])
def test_a_photo_too_narrow_to_be_resized_is_refused_before_memory_is_taken(mode: str) -> None:
    with pytest.raises(PhotoError, match="too narrow to be resized: it would have 2"):
        prepare(photo(1, 30_000), mode)
    assert prepare(photo(1, 30_000), "paper").shape == (224, 224, 3)


def test_the_standard_spec_is_what_it_was_before_there_were_others() -> None:
    spec = describe("cnn", CnnConfig(weights="random")).spec
    assert spec["preprocessing"] == {
        "resize": 256, "size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip


def test_two_ways_to_ask_for_the_same_pixels_are_one_space() -> None:
    def of(**options: Any) -> str:
        return fingerprint(describe("cnn", CnnConfig.model_validate({"weights": "random", **options})).spec)

    assert of() == of(preprocessing="standard", padding_mean_color=(0, 0, 0))
    assert of(resize=224) == of(preprocessing="scale_crop") == of(preprocessing="scale_crop", resize=512)
    paper = of(preprocessing="paper")
    assert paper == of(preprocessing="paper", resize=512, padding_mean_color=(0.46, 0.4501, 0.43))
    others = {of(), of(preprocessing="scale_crop"), of(preprocessing="scale_crop", size=192)}
    changed = {of(preprocessing="paper", **each) for each in ({"size": 192}, {"padding_mean_color": (0.5, 0.5, 0.5)})}
    assert len({paper} | others | changed) == 6


@pytest.mark.parametrize("colour", [(0.46, 0.45), (0.46, 0.45, 1.2), (117, 115, 110), (-0.1, 0, 0)])
def test_a_colour_is_three_numbers_from_0_to_1(colour: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="padding_mean_color"):
        CnnConfig.model_validate({"preprocessing": "paper", "padding_mean_color": colour})
