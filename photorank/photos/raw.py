"""Camera RAW: the JPEG in it if that is large enough, else what LibRaw makes of the sensor's data.

The preview is what the camera shows and what its owner judged by, and takes a tenth of the time; most cameras store it
whole. rawpy, which holds LibRaw, is imported only where a RAW is met.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from photorank.errors import PhotoError
from photorank.photos import heif
from photorank.photos.decoding import Pixels, decode
from photorank.photos.metadata import Order, directory, orientation, read_header, tiff_of

if TYPE_CHECKING:
    import rawpy

PREVIEW, DEMOSAICED = "RAW preview", "RAW demosaiced"
"""What `Photo.format` says: where the pixels come from."""

_MAGIC = re.compile(
    rb"FUJIFILMCCD-RAW|II\x1a\0.{2}HEAPCCDR|IIR[OS]|MMOR|IIU\0|\0MRM|FOVb|.{4}ftypcrx "
    rb"|II\*\0.{4}CR|(?:II\*\0.{4})?IIII|(?:MM\0\*.{4})?MMMM",
    re.DOTALL,
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DNG_VERSION, _PHOTOMETRIC, _SUBIFDS = 0xC612, 262, 330
_PLACES = ((273, 279), (324, 325))  # where strips and tiles begin, and how many bytes each has
_WANTED = frozenset({_DNG_VERSION, _PHOTOMETRIC, _SUBIFDS, *_PLACES[0], *_PLACES[1]})
_LONGEST = 1 << 20  # bytes of a tag's value: large pictures have thousands of tiles
_MOST_DIRECTORIES = 16  # that are looked at: cameras write four
_OF_SENSOR = (32803, 34892)  # photometric interpretations: a colour filter array, and linear RAW
_Directory = dict[int, tuple[int, bytes]]
_ORIENTATION_OF_FLIP = (1, 2, 4, 3, 5, 8, 6, 7)  # LibRaw's bits: mirrored left to right, top to bottom, transposed


def is_raw(data: bytes) -> bool:
    """Whether these are a camera RAW's bytes. Many begin as a TIFF does; their tags tell them from one."""
    return _MAGIC.match(data) is not None or (data.startswith(_TIFF) and _is_raw_tiff(data))


def _is_raw_tiff(data: bytes) -> bool:
    return _DNG_VERSION in directory(data, wanted=_WANTED) or bool(_of_sensor(data))


def _of_sensor(tiff: bytes) -> list[_Directory]:
    """The main directory and those right below it, as far as they describe the sensor's data."""
    main = directory(tiff, wanted=_WANTED, longest=_LONGEST)
    below = _numbers(tiff, main, _SUBIFDS)[:_MOST_DIRECTORIES]
    every = [main, *(directory(tiff, at, _WANTED, _LONGEST) for at in below)]
    return [each for each in every if any(number in _OF_SENSOR for number in _numbers(tiff, each, _PHOTOMETRIC))]


def _numbers(tiff: bytes, tags: _Directory, tag: int) -> list[int]:
    kind, value = tags.get(tag, (0, b""))
    size = {3: 2, 4: 4, 13: 4, 16: 8, 18: 8}.get(kind, len(value) + 1)
    order: Order = "little" if tiff.startswith(b"I") else "big"
    return [int.from_bytes(value[at : at + size], order) for at in range(0, len(value) - size + 1, size)]


def _is_cut_short(data: bytes) -> bool:
    """Whether the sensor's data go on beyond the end, which LibRaw takes for darkness.

    Seen where boxes, a header or a directory that is marked as the sensor's say where they are: not in CR2, ORF, RW2.
    """
    if data.startswith(b"FUJIFILMCCD-RAW"):
        return sum(int.from_bytes(data[at : at + 4], "big") for at in (100, 104)) > len(data)
    if data[4:8] == b"ftyp":
        return heif.is_cut_short(data)
    tiff = tiff_of(data)
    ends = (
        start + size
        for tags in _of_sensor(tiff)
        for starts, sizes in _PLACES
        for start, size in zip(_numbers(tiff, tags, starts), _numbers(tiff, tags, sizes), strict=False)
    )
    return any(end > len(data) for end in ends)


def develop(data: bytes, max_pixels: int) -> tuple[Pixels, str, int]:
    """Pixels (height, width, 3), C-contiguous, where they come from, and the orientation that was applied to them.

    Raises PhotoError, as the rest of a sentence that begins with the path, on whatever gives no picture, and where
    rawpy is not installed.
    """
    try:
        import rawpy
    except ImportError as error:
        raise PhotoError("is a camera RAW photo: pip install 'photorank[raw]'") from error
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            turned = _ORIENTATION_OF_FLIP[raw.sizes.flip & 7]
            found = _preview(raw, data, turned)
            if found is not None:
                jpeg, turned = found
                return decode(jpeg, turned, max_pixels)[0], PREVIEW, turned
            if _is_cut_short(data):
                raise PhotoError("is truncated")
            return _demosaiced(raw, max_pixels), DEMOSAICED, turned
    except PhotoError:
        raise
    except (MemoryError, rawpy.LibRawUnsufficientMemoryError):
        raise PhotoError("needs more memory than there is") from None
    except rawpy.LibRawFileUnsupportedError as error:
        raise PhotoError(
            "is a camera RAW that is damaged, or of a kind that this version of LibRaw cannot read"
        ) from error
    except Exception as error:  # broad for the same reason as in `decode`
        raise PhotoError(f"is truncated or damaged ({_sentence(error)})") from error


def _preview(raw: rawpy.RawPy, data: bytes, turned: int) -> tuple[bytes, int] | None:
    """The largest JPEG in the file, and its orientation; None if it is less than half as wide or high as the RAW."""
    import rawpy

    try:
        thumbnail = raw.extract_thumb()
    except (rawpy.LibRawError, rawpy.NotSupportedError):
        return None
    if thumbnail.format != rawpy.ThumbFormat.JPEG or not isinstance(thumbnail.data, bytes):
        return None
    jpeg = thumbnail.data
    if jpeg[2:4] == b"\xff\xe1" and jpeg[2:256] not in data:  # an EXIF segment that LibRaw put there, not the camera
        jpeg = jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]
    header = read_header(jpeg)
    jpeg = b"".join(jpeg[start:end] for start, end in header.kept)  # what `decode` gets of any other JPEG
    try:
        with JpegImageFile(io.BytesIO(jpeg)) as image:
            size = image.size
    except Exception:  # no JPEG, whatever it is called
        return None
    whole = raw.sizes.width, raw.sizes.height
    if 2 * max(size) < max(whole) or 2 * min(size) < min(whole):
        return None
    return jpeg, _of_preview(orientation(header.exif, absent=turned), size, turned, whole)


def _of_preview(own: int, size: tuple[int, int], turned: int, whole: tuple[int, int]) -> int:
    """The preview's own orientation; but some programs turn the preview and leave the tag, or the other way round.

    That shows where one of the two then lies on its side.
    """
    if size[0] == size[1] or whole[0] == whole[1]:
        return own
    upright = _is_tall(whole, turned)
    return next((each for each in (own, turned, 1) if _is_tall(size, each) == upright), own)


def _is_tall(size: tuple[int, int], turned: int) -> bool:
    return (size[0] < size[1]) == (turned < 5)


def _demosaiced(raw: rawpy.RawPy, max_pixels: int) -> Pixels:
    """LibRaw's picture, upright, by the camera's white balance.

    Whatever LibRaw would choose by the picture is off, its brightness and its white point: frames of a series are
    compared, and the same light must come out as the same pixel in each.
    """
    import rawpy

    sizes = raw.sizes
    width, height = max(sizes.width, sizes.raw_width), max(sizes.height, sizes.raw_height)
    if width * height > max_pixels:
        raise PhotoError(f"has {width} x {height} pixels, more than the limit of {max_pixels}")
    rgb = raw.postprocess(
        use_camera_wb=True,
        no_auto_bright=True,
        adjust_maximum_thr=0.0,
        output_color=rawpy.ColorSpace.sRGB,
        gamma=(2.4, 12.92),  # sRGB's curve; LibRaw's own default is that of television
        output_bps=8,
        user_flip=0,
    )
    if rgb.ndim == 2 or rgb.shape[2] == 1:  # a sensor without colours
        rgb = np.repeat(rgb.reshape(*rgb.shape[:2], 1), 3, axis=2)
    rgb = rgb[:: -1 if sizes.flip & 2 else 1, :: -1 if sizes.flip & 1 else 1]
    return np.ascontiguousarray(rgb.swapaxes(0, 1) if sizes.flip & 4 else rgb)


def _sentence(error: Exception) -> str:
    cause = error.args[0] if error.args else ""
    text = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
