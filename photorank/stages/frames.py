"""Series made from a photo: crops of it as scenes, and of each scene the original and frames that are worse.

Everybody prefers the original, so the labels are known. All frames are saved the same lossless way, and nothing but
pixels tells them apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
ORIGINAL = "original"
TILT = "tilt 4°"


@dataclass(frozen=True)
class Scene:
    """A crop of a photo: (left, top, width, height) in its pixels, with room around it to tilt."""

    left: int
    top: int
    width: int
    height: int


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur; `sigma` in pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def expose(pixels: Pixels, stops: float) -> Pixels:
    """Light multiplied by 2^stops and clipped, in linear light (IEC 61966-2-1 sRGB transfer curve)."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    lit = np.clip(linear * 2.0**stops, 0, 1)
    encoded = np.where(lit <= 0.0031308, lit * 12.92, 1.055 * lit ** (1 / 2.4) - 0.055)
    table: Pixels = np.round(encoded * 255).astype(np.uint8)
    return table[pixels]


def recompress(pixels: Pixels, quality: int) -> Pixels:
    """Through a JPEG of this quality (Pillow's scale, chroma at half resolution) and back."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=2)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def add_noise(pixels: Pixels, sigma: float, seed: int) -> Pixels:
    """Independent Gaussian noise; `sigma` in 8-bit steps."""
    noise = np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    noisy: Pixels = np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8)
    return noisy


DEGRADATIONS: dict[str, Callable[[Pixels, int], Pixels]] = {
    "blur 1.5 px": lambda pixels, seed: blur(pixels, 1.5),
    "blur 3 px": lambda pixels, seed: blur(pixels, 3),
    "1.5 stops under": lambda pixels, seed: expose(pixels, -1.5),
    "1.5 stops over": lambda pixels, seed: expose(pixels, 1.5),
    "JPEG 30": lambda pixels, seed: recompress(pixels, 30),
    "JPEG 10": lambda pixels, seed: recompress(pixels, 10),
    "noise 12": lambda pixels, seed: add_noise(pixels, 12, seed),
}
KINDS = (*DEGRADATIONS, TILT)


def scenes(width: int, height: int) -> list[Scene]:
    """Five crops, 4:3 and at most 512 pixels wide, of a photo of this size: the corners and the centre.

    None where the photo is too small to leave crops of 96 × 72 pixels.
    """
    crop_width = min(512, int(min(width * 0.55, height * 0.55 * 4 / 3)))
    crop_height = crop_width * 3 // 4
    if crop_width < 96:
        return []
    # Tilted by 4 degrees, a crop reaches this far over its edges.
    room = int(np.ceil(0.5 * crop_width * np.sin(np.radians(4)))) + 2
    right, bottom = width - crop_width - room, height - crop_height - room
    middle = ((room + right) // 2, (room + bottom) // 2)
    corners = [(x, y) for y in (room, bottom) for x in (room, right)]
    return [Scene(x, y, crop_width, crop_height) for x, y in [*corners, middle]]


def frames(photo: Pixels, scene: Scene, seed: int) -> Iterator[tuple[str, Pixels]]:
    """The original (height, width, 3) and each frame that is worse, by name."""
    box = (scene.left, scene.top, scene.left + scene.width, scene.top + scene.height)
    original = photo[box[1] : box[3], box[0] : box[2]]
    yield ORIGINAL, original
    for name, degrade in DEGRADATIONS.items():
        yield name, degrade(original, seed)
    centre = (scene.left + scene.width / 2, scene.top + scene.height / 2)
    # Turning left and right in turn, so that no direction is the wrong one.
    angle = 4 if seed % 2 else -4
    turned = Image.fromarray(photo).rotate(angle, Image.Resampling.BICUBIC, center=centre)
    yield TILT, np.asarray(turned.crop(box))


def save_frames(photo: Pixels, folder: Path, seed: int) -> list[dict[str, str]]:
    """Write `folder/<scene>/<frame>.png` for every scene; a row a frame: series (the scene's folder), frame, path."""
    rows = []
    for number, scene in enumerate(scenes(photo.shape[1], photo.shape[0]), 1):
        series = folder / f"scene-{number}"
        series.mkdir(parents=True, exist_ok=True)
        made = list(frames(photo, scene, seed + number))
        # Light on a black crop changes nothing, say: a frame that equals the original is no worse, and left out.
        differ = [(name, pixels) for name, pixels in made[1:] if not np.array_equal(pixels, made[0][1])]
        for name, pixels in made[:1] + differ:
            path = series / f"{name.replace(' ', '-').replace('°', '')}.png"
            Image.fromarray(np.ascontiguousarray(pixels)).save(path, compress_level=1)
            rows.append({"series": str(series), "frame": name, "path": str(path)})
    return rows
