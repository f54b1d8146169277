"""Damaged photos through `extract`: each is listed once with its cause, or has Pillow's pixels for the same bytes."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from photorank.config import ExtractConfig
from photorank.extractors.statistics import statistics
from photorank.photos import decode_photo, photo_key
from photorank.stages.extract import extract
from photorank.store import FeatureStore
from tests.conftest import make_picture
from tests.photos.test_formats import dng, heic, pillow_heif, rawpy

POINTS = 50


def saved(kind: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    def save() -> bytes:
        file = io.BytesIO()
        make_picture(1, 96, 72).convert(mode).save(file, kind, **options)
        return file.getvalue()

    return save


def deep_png() -> bytes:
    grey = np.asarray(make_picture(1, 96, 72).convert("L")).astype(np.uint16) * 257
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


def transparent_png() -> bytes:
    image = make_picture(1, 96, 72)
    image.putalpha(make_picture(2, 96, 72).convert("L"))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


SOUND: dict[str, Callable[[], bytes]] = {
    "baseline.jpg": saved("JPEG", quality=90),
    "restart.jpg": saved("JPEG", quality=90, restart_marker_rows=1),
    "progressive.jpg": saved("JPEG", progressive=True),
    "grey.jpg": saved("JPEG", "L"),
    "cmyk.jpg": saved("JPEG", "CMYK"),
    "plain.png": saved("PNG"),
    "palette.png": saved("PNG", "P"),
    "deep.png": deep_png,
    "alpha.png": transparent_png,
    "lossy.webp": saved("WEBP"),
    "lossless.webp": saved("WEBP", lossless=True),
    "plain.tiff": saved("TIFF"),
    "deflate.tiff": saved("TIFF", compression="tiff_adobe_deflate"),
    "plain.bmp": saved("BMP"),
    "plain.gif": saved("GIF", "P"),
}
if features.check("avif"):
    SOUND["plain.avif"] = saved("AVIF", speed=10)
if pillow_heif is not None:
    SOUND["plain.heic"] = lambda: heic(make_picture(1, 96, 72))
if rawpy is not None:
    SOUND["plain.dng"] = dng


def damaged(data: bytes, seed: int) -> list[bytes]:
    """The file cut off at so many points, and with one bit flipped at as many."""
    random = np.random.default_rng(seed)
    cut = [data[:end] for end in np.linspace(1, len(data) - 1, POINTS).astype(int)]
    flipped = []
    for at, bit in zip(random.choice(len(data), POINTS, replace=False), random.integers(0, 8, POINTS), strict=True):
        spoiled = bytearray(data)
        spoiled[at] ^= 1 << bit
        flipped.append(bytes(spoiled))
    return cut + flipped


def pillows(data: bytes) -> np.ndarray:
    """Pillow's own pixels, upright, over white. (A deep grey is scaled: Pillow's own conversion would clip it.)"""
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        return np.repeat(np.rint(np.asarray(image) / 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.asarray(
            Image.composite(image.convert("RGB"), Image.new("RGB", image.size, "white"), image.getchannel("A"))
        )
    return np.asarray(image.convert("RGB"))


def oracle(name: str, data: bytes) -> np.ndarray:
    # Pillow reads no RAW, and HEIC by a plugin: there the test is that nothing on the way changes the pixels.
    return decode_photo(data).rgb if name.endswith((".dng", ".heic")) else pillows(data)


@pytest.mark.parametrize("name", SOUND)
def test_a_damaged_file_is_listed_once_or_has_pillows_pixels(name: str, tmp_path: Path) -> None:
    sound = SOUND[name]()
    files = {f"{number:03d}-{name}": data for number, data in enumerate([sound, *damaged(sound, len(name))])}
    (tmp_path / "photos").mkdir()
    for each, data in files.items():
        (tmp_path / "photos" / each).write_bytes(data)
    report = extract([tmp_path / "photos"], tmp_path / "S", ExtractConfig(photo_seconds=20))
    failed = [Path(failure.path).name for failure in report.failures]
    assert len(failed) == len(set(failed)) and all(failure.error for failure in report.failures)
    assert f"000-{name}" not in failed
    done = sorted(set(files) - set(failed))
    keys = [photo_key(files[each]) for each in done]
    (space,) = FeatureStore.open(tmp_path / "S").spaces()
    _, rows = space.load(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32))
    for each, row in zip(done, rows, strict=True):
        np.testing.assert_array_equal(row, statistics(oracle(name, files[each])), err_msg=each)
    print(f"{name}: {len(failed)} of {len(files)} listed, {len(done)} done")
