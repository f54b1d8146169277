"""Laws of the weightless statistics, through the public function alone."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from photorank.extractors.statistics import MEANING, STATISTICS, statistics

Photo = NDArray[np.uint8]


def values(rgb: Photo) -> dict[str, float]:
    return dict(zip(STATISTICS, statistics(rgb).tolist(), strict=True))


def photo(height: int = 256, width: int = 320, seed: int = 0) -> Photo:
    """Something like a photo: shades at all scales, hard edges of flat shapes, a little grain."""
    rng = np.random.default_rng(seed)
    shades = np.zeros((height, width, 3))
    for size in (4, 12, 40, 120):
        coarse = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        shades += (np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64) - 128) / size**0.5
    row, column = np.mgrid[:height, :width]
    for _ in range(12):
        y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(8, 40)
        shades[(row - y) ** 2 + (column - x) ** 2 < radius**2] += rng.uniform(-50, 50, 3)
    shades += rng.normal(0, 1.5, (height, width, 1))
    return np.clip(np.rint(shades + 120), 0, 255).astype(np.uint8)


def blurred(rgb: Photo, sigma: float) -> Photo:
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma)))


def compressed(rgb: Photo, quality: int) -> Photo:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def gained(rgb: Photo, gain: float) -> Photo:
    return np.clip(np.rint(rgb * gain), 0, 255).astype(np.uint8)


def grained(rgb: Photo, sigma: float) -> Photo:
    """Grey noise, so that luma has the planted sigma."""
    noise = np.random.default_rng(1).normal(0, sigma, (*rgb.shape[:2], 1))
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


def test_names_are_unique_and_explained() -> None:
    assert len(set(STATISTICS)) == len(STATISTICS) and "sharpness" in STATISTICS
    assert all(name.isidentifier() and name.islower() for name in STATISTICS)
    assert tuple(MEANING) == STATISTICS and all(MEANING.values())


@pytest.mark.parametrize("fill", ["photo", "black", "white", "noise"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (8, 8), (17, 15), (16, 3000), (3000, 2), (300, 200), (900, 1300)]
)
def test_any_shape_gives_a_finite_vector(shape: tuple[int, int], fill: str) -> None:
    rgb = {
        "photo": lambda: photo(*shape),
        "black": lambda: np.zeros((*shape, 3), np.uint8),
        "white": lambda: np.full((*shape, 3), 255, np.uint8),
        "noise": lambda: np.random.default_rng(0).integers(0, 2, (*shape, 3), dtype=np.uint8) * np.uint8(255),
    }[fill]()
    vector = statistics(rgb)
    assert vector.shape == (len(STATISTICS),) and vector.dtype == np.float32
    assert np.isfinite(vector).all() and np.abs(vector).max() < 20


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_any_small_photo_gives_a_finite_vector(height: int, width: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = rgb.copy()
    assert np.isfinite(statistics(rgb)).all()
    assert np.array_equal(rgb, before)


@pytest.mark.parametrize("size", [(256, 320), (1000, 1200)], ids=["whole", "tiles"])
def test_blur_lowers_sharpness(size: tuple[int, int]) -> None:
    rgb = photo(*size)
    series = [values(rgb if sigma == 0 else blurred(rgb, sigma)) for sigma in (0, 1, 2, 4, 8)]
    for name in ("sharpness", "screen_gradient", "crisp_half", "detail_half"):
        figures = [v[name] for v in series][: 5 if name == "sharpness" else 4]
        assert figures == sorted(figures, reverse=True) and len(set(figures)) == len(figures), name


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_photo_has_the_same_statistics(axis: int) -> None:
    """Sides that are multiples of 16 keep cells and blocks on their grids.

    Exempt is `axis_aligned`, which pairs each pixel's step to the right with its step downwards. Exact are those that
    sum over pixels alone; cells move by the pixel that a difference lacks.
    """
    rgb = photo(192, 256)
    one, other = values(rgb), values(np.flip(rgb, axis))
    for name in STATISTICS:
        if name != "axis_aligned":
            assert other[name] == pytest.approx(one[name], abs=0.05), name
    for name in ("luma_p50", "entropy", "comb", "sharpness", "fine_gradient", "third_order", "noise", "blockiness"):
        assert other[name] == pytest.approx(one[name], abs=1e-5), name


@given(st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None, max_examples=20)
def test_clipping_shares_are_the_planted_ones(bright: int, dark: int) -> None:
    rgb = np.full((128, 128, 3), 100, np.uint8)
    rgb[:bright, :, 1] = 255
    rgb[64 : 64 + dark, :, 2] = 0
    found = values(rgb)
    assert found["clipped_bright"] ** 2 == pytest.approx(bright / 128, abs=1e-6)
    assert found["clipped_dark"] ** 2 == pytest.approx(dark / 128, abs=1e-6)


def test_colourfulness_is_that_of_hasler_and_suesstrunk() -> None:
    rgb = photo(160, 240)
    r, g, b = np.moveaxis(rgb.astype(np.float64), -1, 0)
    rg, yb = r - g, (r + g) / 2 - b
    expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert np.expm1(values(rgb)["colourfulness"]) == pytest.approx(expected, rel=1e-5)
    grey = values(np.repeat(rgb[:, :, :1], 3, axis=2))
    assert grey["colourfulness"] == grey["saturation"] == 0


def test_compression_shows() -> None:
    rgb = photo()
    series = [values(v) for v in (rgb, compressed(rgb, 90), compressed(rgb, 50), compressed(rgb, 20))]
    for name in ("blockiness", "blockiness_any"):
        figures = [v[name] for v in series]
        assert figures == sorted(figures), name
    for name in ("zeros_top_grid", "zeros_high_grid", "chroma_zeros_mid_grid"):
        # With every coefficient at zero on both grids there is no more to be told, so these do not rise for ever.
        assert abs(series[0][name]) < 0.1 and all(v[name] > 0.5 for v in series[1:]), name
    moved = values(np.ascontiguousarray(compressed(rgb, 20)[3:-13, 5:-11]))
    assert moved["blockiness"] < 0.1 and moved["blockiness_any"] > series[0]["blockiness_any"] + 0.2


def test_noise_is_measured() -> None:
    flat = np.full((128, 192, 3), 128, np.uint8)
    for sigma in (2, 5, 10, 20):
        assert np.exp(values(grained(flat, sigma))["noise"]) == pytest.approx(sigma, rel=0.05)
    series = [values(grained(photo(), sigma)) for sigma in (0, 4, 8, 16)]
    for name in ("noise", "noise_flat", "noise_whiteness"):
        figures = [v[name] for v in series]
        assert figures == sorted(figures), name


def test_exposure_is_monotone_in_gain() -> None:
    series = [values(gained(photo(), gain)) for gain in (0.25, 0.5, 1.0, 1.5, 2.5)]
    for name in ("luma_p05", "luma_p50", "luma_p95", "peak", "top_level", "clipped_bright"):
        figures = [v[name] for v in series]
        assert figures == sorted(figures) and figures[0] < figures[-1], name


def test_stretched_tones_leave_gaps() -> None:
    rgb = photo()
    before, after = values(rgb), values(gained(rgb, 1.4))
    assert after["gaps"] > before["gaps"] + 0.2 and after["comb"] > before["comb"] + 0.5


def test_a_tilt_shows_in_level_lines() -> None:
    rgb = np.full((320, 320, 3), 60, np.uint8)
    rgb[::20, :] = rgb[:, ::20] = 200
    tilted = np.asarray(Image.fromarray(rgb).rotate(7, Image.Resampling.BICUBIC).crop((48, 48, 272, 272)))
    assert values(tilted)["axis_aligned"] < values(rgb[48:272, 48:272])["axis_aligned"] - 0.3


def test_the_same_bytes_from_threads_and_views() -> None:
    photos = [photo(300, 421, seed) for seed in range(4)] + [photo(800, 900)]
    alone = [statistics(rgb) for rgb in photos]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for one, other in zip(alone, pool.map(statistics, photos), strict=True):
                assert np.array_equal(one, other)
    for rgb, expected in zip(photos, alone, strict=True):
        padded = np.zeros((rgb.shape[0] + 3, rgb.shape[1] + 5, 4), np.uint8)
        padded[2:-1, 3:-2, 1:] = rgb
        backwards = np.ascontiguousarray(rgb[::-1, :, ::-1])[::-1, :, ::-1]
        columns_first = np.asfortranarray(rgb)
        for view in (padded[2:-1, 3:-2, 1:], backwards, columns_first):
            assert not view.flags.c_contiguous
            assert np.array_equal(statistics(view), expected)
