"""JPEGs that are left to a device to decode. Imports Pillow, and no PyTorch: it runs where photos are loaded."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

from PIL.JpegImagePlugin import JpegImageFile

from photorank.errors import PhotoError
from photorank.photos.decoding import TURNED, check_pixels, to_srgb
from photorank.photos.metadata import details, orientation, read_header

_END = b"\xff\xd9"
_NARROW = 20  # a narrower photo than 1:20 may need a gigabyte when resized, and is refused where that is known


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A JPEG as it is, and what is known of it without decoding it."""

    jpeg: bytes
    """What the key has seen: without metadata, so without the orientation."""
    height: int
    width: int
    """Pixels of the upright photo."""
    orientation: int
    """In EXIF's numbers, 1..8: still to be applied."""
    taken_at: str | None
    camera: str | None


def undecoded(data: bytes, max_pixels: int) -> Undecoded | None:
    """The JPEG that a file's bytes are, if any decoder makes the same of it but for rounding; None for all that
    `photos.decode_photo` is to decode: other formats and colours than YCbCr, a profile other than sRGB's, a file whose
    end is not there, a very narrow photo.

    Raises PhotoError, as the rest of a sentence that begins with the path, on more than `max_pixels` pixels.
    """
    header = read_header(data)
    if not header.well_formed:
        return None
    jpeg = b"".join(data[start:end] for start, end in header.kept)
    try:
        with JpegImageFile(io.BytesIO(jpeg)) as image:
            check_pixels(image, max_pixels)
            profile, (width, height) = image.info.get("icc_profile"), image.size
            plain = image.mode == "RGB" and image.layers == 3 and not _is_coded_as_rgb(image)
    except PhotoError:
        raise
    except Exception:  # Pillow's many, on damaged bytes: `decode_photo` will find the words
        return None
    coloured = isinstance(profile, bytes) and to_srgb(profile, "RGB", threading.get_ident()) is not None
    narrow = max(width, height) > _NARROW * min(width, height)
    if not plain or coloured or narrow or not jpeg.rstrip(b"\0").endswith(_END):
        return None
    turned = orientation(header.exif)
    if turned in TURNED:
        width, height = height, width
    return Undecoded(jpeg, height, width, turned, *details(header.exif))


def _is_coded_as_rgb(image: JpegImageFile) -> bool:
    """As libjpeg tells: Adobe's marker says that nothing was transformed, or the components are named so."""
    names = bytes(component[0] for component in image.layer)
    return image.info.get("adobe_transform") == 0 or names == b"RGB"
