"""From a decoded photo to the pixels that a network sees: resized, cropped or padded, still uint8.

Imports Pillow and numpy only, since it runs in the processes that load photos. The arithmetic is that of the libraries
whose models it feeds (torchvision, open_clip, timm): the same Pillow calls with the same sizes, so the pixels are equal
to theirs bit for bit. Turning them into floats is left to the device, see `photorank.extractors.device`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photorank.errors import PhotoError

if TYPE_CHECKING:
    from photorank.photos import Photo

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Mode = Literal["shortest", "longest", "squash"]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_TOO_LARGE = 64_000_000  # pixels after resizing: a photo of 1 x 5,000 would need a gigabyte to be 256 high


@dataclass(frozen=True)
class Preprocessing:
    """How a photo is brought to a network's size. Sizes are (height, width)."""

    mode: Mode
    """shortest: all of `resize` covered, rounded as by torchvision and open_clip; longest: all of the photo inside
    `resize`, as by timm and open_clip; squash: to `resize` whatever the shape."""
    resize: tuple[int, int]
    size: tuple[int, int]
    """What comes out: cut from the centre, or padded on all sides with `fill` (RGB) where the photo is smaller."""
    interpolation: str = "bilinear"
    fill: tuple[int, int, int] = (0, 0, 0)

    def __call__(self, rgb: Pixels, whole: tuple[int, int] | None = None, box: Box | None = None) -> Pixels:
        """(height, width, 3) uint8 sRGB of any size → (*size, 3) uint8, C-contiguous.

        `whole` and `box` are for a photo decoded to fewer pixels: the height and width that it has, and its edges in
        `rgb`, so that it is resized and cut as it would be whole. PhotoError, as the rest of a sentence that begins
        with the path, for a photo too narrow to be resized.
        """
        height, width = self.resized(*(whole or rgb.shape[:2]))
        if height * width > _TOO_LARGE:
            raise PhotoError(f"is too narrow to be resized: it would have {height} x {width} pixels")
        image, kernel = Image.fromarray(rgb), INTERPOLATIONS[self.interpolation]
        if (width, height) != image.size:
            image = image.resize((width, height), kernel, box)
        return _cropped(np.asarray(image), self.size, self.fill)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which a photo of this size is resized."""
        if self.mode == "squash":
            return self.resize
        if self.mode == "shortest" and self.resize[0] == self.resize[1]:
            # torchvision.transforms.functional._compute_resized_output_size
            to, short, long = self.resize[0], min(height, width), max(height, width)
            other = int(to * long / short)
            return (to, other) if height <= width else (other, to)
        # timm.data.transforms.ResizeKeepRatio
        ratios = height / self.resize[0], width / self.resize[1]
        ratio = min(ratios) if self.mode == "shortest" else max(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))


def edges(photo: Photo) -> Box:
    """Left, upper, right and lower edge of a photo within its `rgb`, in its pixels: all of it, unless it is of fewer.

    A JPEG is decoded to so many eighths, rounded up: the last row and column as stored may stand over the edge.
    """
    rows, columns = photo.rgb.shape[:2]
    sizes = {n: (-(-photo.height * n // 8), -(-photo.width * n // 8)) for n in range(8, 0, -1)}
    eighths = next((n for n, size in sizes.items() if size == (rows, columns)), 8)
    over_x, over_y = columns - photo.width * eighths / 8, rows - photo.height * eighths / 8
    left, upper = over_x * (photo.orientation in (2, 3, 6, 7)), over_y * (photo.orientation in (3, 4, 7, 8))
    return left, upper, columns - over_x + left, rows - over_y + upper


def corner(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Top and left of a cut of `size` from the centre, rounded as by torchvision's `center_crop`; negative by what is
    padded there where the photo is smaller."""
    missing = size[0] - height, size[1] - width
    top, left = (-(each // 2) if each > 0 else round(-each / 2) for each in missing)
    return top, left


def _cropped(pixels: Pixels, size: tuple[int, int], fill: tuple[int, int, int]) -> Pixels:
    """Cut to size from the centre, padded where too small."""
    (top, left), (tall, wide) = corner(pixels.shape[0], pixels.shape[1], size), size
    inside = pixels[max(0, top) : max(0, top) + tall, max(0, left) : max(0, left) + wide]
    if inside.shape[:2] == size:
        return np.ascontiguousarray(inside)
    padded = np.empty((tall, wide, 3), np.uint8)
    padded[:] = fill
    below, beside = max(0, -top), max(0, -left)
    padded[below : below + inside.shape[0], beside : beside + inside.shape[1]] = inside
    return padded
