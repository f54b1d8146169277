"""A photo's bytes as upright sRGB pixels. Imports Pillow: only where something is decoded."""

from __future__ import annotations

import io
import logging
import re
import threading
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg
from PIL import Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from photorank.errors import PhotoError
from photorank.photos import heif

if TYPE_CHECKING:
    from photorank.photos import Fit

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

# The plugins are called by what the bytes begin with, past Image.open: that would try every plugin there is on a bad
# photo (one of them runs Ghostscript), take a multi-picture JPEG for another format, and warn about large photos.
_PLUGINS: list[tuple[re.Pattern[bytes], type[ImageFile]]] = [
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), TiffImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"BM"), BmpImageFile),
]
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = (5, 6, 7, 8)
"""Orientations that swap height and width."""
FAST_MARGIN = 2
"""A fast decode has at least so many times the rows and columns that the photo is resized to."""
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # mode → colour space that a profile for it has
_ORIENTATION_TAG = 0x0112

# Pillow logs some oddities, and Python prints what no handler takes. Handlers that an application sets still get them.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(
    data: bytes, orientation: int, max_pixels: int, fit: Fit | None = None
) -> tuple[Pixels, tuple[int, int], str]:
    """Pixels (height, width, 3), C-contiguous, the upright photo's own height and width, and the format's name; the
    given orientation is the one that is applied. With `fit` the pixels may be fewer, see `photos.decode_photo`.

    Raises PhotoError on whatever cannot be decoded.
    """
    plugin = next((plugin for magic, plugin in _PLUGINS if magic.match(data)), None) or heif.plugin(data)
    if plugin is None:
        raise PhotoError("is not an image that photorank can read")
    _hush()
    try:
        with plugin(io.BytesIO(data)) as image:
            pixels = _turbo(data, image, orientation, max_pixels, fit)
            if pixels is None:
                _load(image, max_pixels)
                rgb = _to_rgb(image.copy() if isinstance(image, TiffImageFile) else image)
                if orientation in _UPRIGHT and image.format != "HEIF":  # libheif has turned it
                    rgb = rgb.transpose(_UPRIGHT[orientation])
                pixels = np.array(rgb)
                return pixels, pixels.shape[:2], str(image.format)
            width, height = image.size
            return pixels, (width, height) if orientation in TURNED else (height, width), "JPEG"
    except PhotoError:
        raise
    except MemoryError:
        raise PhotoError("needs more memory than there is") from None
    except Image.DecompressionBombError as error:
        raise PhotoError(f"has too many pixels ({_sentence(error)})") from error
    # Broad on purpose: on damaged bytes Pillow raises nearly everything there is, differently in each version, and one
    # bad photo must not end a run of thousands. Ctrl-C is no Exception and passes.
    except Exception as error:
        raise PhotoError(f"is truncated or damaged ({_sentence(error)})") from error


def _turbo(data: bytes, image: ImageFile, orientation: int, max_pixels: int, fit: Fit | None) -> Pixels | None:
    """The pixels of an ordinary JPEG, the very ones that Pillow would give, in half its time or less; None where
    Pillow is to decode it: other formats, other colours than YCbCr, and whatever is not wholly well-formed."""
    if not isinstance(image, JpegImageFile) or image.mode != "RGB" or image.layers != 3:
        return None
    check_pixels(image, max_pixels)
    least = {}
    if fit is not None:
        width, height = image.size
        height, width = fit(width, height)[::-1] if orientation in TURNED else fit(height, width)
        # Between whole and half size libjpeg-turbo takes longer than for the whole.
        least = {"min_height": FAST_MARGIN * height, "min_width": FAST_MARGIN * width, "min_factor": 2}
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True, **least)
    except ValueError:
        return None
    profile = image.info.get("icc_profile")
    if not profile and orientation not in _UPRIGHT:
        return pixels
    rgb = Image.fromarray(pixels)
    rgb.info["icc_profile"] = profile
    rgb = _to_rgb(rgb)
    return np.array(rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb)


def check_pixels(image: ImageFile, max_pixels: int) -> None:
    """PhotoError where it has more; nothing is decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise PhotoError(f"has {width} x {height} pixels, more than the limit of {max_pixels}")


def _load(image: ImageFile, max_pixels: int) -> None:
    check_pixels(image, max_pixels)
    if isinstance(image, TiffImageFile):
        # Pillow turns TIFFs upright by itself, by EXIF or XMP. Told that nothing is to be done, it leaves that to us;
        # its `size` may be the turned one all the same, which a copy corrects (where it reads a tag that we do not).
        image.getexif()[_ORIENTATION_TAG] = 1
    image.load()


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _hush() -> None:
    """Keep Pillow's warnings about a photo's oddities (they are UserWarnings) from the user, and from being errors.

    `warnings.catch_warnings` swaps global state and is unsafe in worker threads. So filters for Pillow's modules go to
    the front, and again only where somebody has put others before them. Deprecations still show.
    """
    if not warnings.filters or warnings.filters[: len(_HUSHED)] != _HUSHED:
        for _, _, category, module, _ in reversed(_HUSHED):
            warnings.filterwarnings("ignore", category=category, module=module.pattern)


_HUSHED: list[Any] = [
    ("ignore", None, category, re.compile(r"PIL\."), 0) for category in (UserWarning, Image.DecompressionBombWarning)
]


def _to_rgb(image: Image.Image) -> Image.Image:
    """Mode RGB, in sRGB, alpha over white."""
    profile = image.info.get("icc_profile")
    image, alpha = _without_alpha(_eight_bits(image))
    if image.mode not in _SPACES:
        image = image.convert("L" if image.mode == "1" else "RGB")
    if isinstance(profile, bytes) and profile:
        transform = to_srgb(profile, image.mode, threading.get_ident())
        if transform is not None:
            image = transform.apply(image)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours, and the alpha channel or None."""
    if not image.has_transparency_data:
        return image, None
    grey = image.mode in ("1", "L", "LA", "La")
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return rgba.getchannel("R") if grey else rgba.convert("RGB"), rgba.getchannel("A")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deeper greys scaled to mode L (LA where one grey is declared transparent); any other mode as it is.

    Pillow's own conversion clips at 255 instead.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values: Any = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:  # no convention says what white is, so the photo's own range does
            values = (values - low) / max(high - low, np.finfo(np.float32).tiny)
        grey = np.rint(values * 255)
    else:
        # A 32-bit container mostly holds 16 bits; beyond them white is the greatest number that it can hold.
        white = 65535 if image.mode != "I" or values.max() <= 65535 else 2**31 - 1
        grey = np.rint(np.clip(values, 0, white) * (255 / white))
    scaled = Image.fromarray(grey.astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return scaled


@lru_cache(maxsize=64)
def to_srgb(profile: bytes, mode: str, thread: int) -> ImageCms.ImageCmsTransform | None:
    """The transform of a mode's pixels to sRGB; None where there is nothing to do, or a profile that cannot do it.

    Per thread, as Little CMS promises nothing about one transform in several. Relative colorimetric with black point
    compensation, the usual choice for photos: colours that sRGB holds stay what they are. The other intent, perceptual,
    differs only for profiles with tables, where it is whatever their maker thought pleasing, and would make two photos
    of one scene differ by the maker of their profiles.
    """
    srgb = ImageCms.createProfile("sRGB")
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            srgb,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform
    except Exception:  # an unreadable profile is no reason to refuse a photo: viewers show the pixels as they are
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether no colour moves by more than one step: true of the many sRGB profiles, whatever their names."""
    levels = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    colours = np.meshgrid(levels, levels, levels) if mode == "RGB" else [levels] * 3
    probe = Image.fromarray(np.stack(colours, -1).reshape(1, -1, 3))
    seen = transform.apply(probe.convert(mode))
    return int(np.abs(np.asarray(seen).astype(int) - np.asarray(probe)).max()) <= 1
