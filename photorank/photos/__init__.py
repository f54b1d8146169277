"""Reading and identifying photos, and the way to their pixels.

`finding` finds them, `metadata` reads what the bytes say, `decoding` makes pixels of them; others
call what is here.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar, cast

from photorank.errors import PhotoError
from photorank.photos.finding import unread
from photorank.photos.metadata import Exposure, details, exposure, orientation, orientation_segment, read_header

if TYPE_CHECKING:
    from photorank.photos.decoding import Pixels

MAX_PIXELS = 178_956_970
"""Twice the number from which Pillow warns of a decompression bomb; it refuses more by itself."""
Fit: TypeAlias = Callable[[int, int], tuple[int, int]]
"""Height and width of a photo → those that it will be resized to."""
_Told = TypeVar("_Told")
_BEGINNING = 1 << 18
"""Bytes, in which all EXIF is of the files that begin with it."""
_EXIF_COMES_FIRST = (b"\xff\xd8\xff", b"FUJIFILMCCD-RAW")


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo."""

    rgb: Pixels
    """(height, width, 3) uint8, sRGB, upright, C-contiguous; fewer rows and columns where fewer were asked for."""
    height: int
    width: int
    """Pixels of the upright photo."""
    format: str
    """As Pillow names it: JPEG, PNG, WEBP, TIFF, GIF, BMP, AVIF, HEIF. A multi-picture file (MPO) is a JPEG.
    Of a camera RAW, "RAW preview" (the JPEG in it) or "RAW demosaiced" (made from the sensor's data)."""
    orientation: int
    """In EXIF's numbers, 1..8: the one that was applied to make `rgb` upright."""
    taken_at: str | None
    """ISO 8601, without a time zone where EXIF has none."""
    camera: str | None
    """Make and model."""


def read_photo(path: str) -> bytes:
    """All bytes of a file, at least one.

    Raises PhotoError, as the rest of a sentence that begins with the path, where it cannot be read, is empty or is no
    regular file. Never waits for somebody to write into a pipe.
    """
    try:
        with _opened(path) as file:
            data = file.read()
    except (OSError, ValueError) as error:
        raise PhotoError(unread(error)) from error
    except MemoryError:
        raise PhotoError("needs more memory than there is") from None
    if not data:
        raise PhotoError("is empty")
    return data


def _opened(path: str) -> BinaryIO:
    """The file at a path, without waiting for whoever is to write into a pipe. OSError or ValueError where it cannot be
    opened, PhotoError where it is no regular file."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise PhotoError("is not a regular file")
    return file


def photo_key(data: bytes) -> bytes:
    """The image hash, 32 bytes: sha256 of the canonical form (see `photorank.photos.metadata`). Any bytes have one."""
    header = read_header(data)
    view, digest = memoryview(data), hashlib.sha256()
    turned = orientation(header.exif) if header.well_formed else 1
    digest.update(view[:2])
    if turned != 1:
        digest.update(orientation_segment(turned))
    for start, end in header.kept:
        digest.update(view[max(start, 2) : end])
    return digest.digest()


def photo_orientation(data: bytes) -> int:
    """The orientation that `decode_photo` applies, 1..8; 1 where absent, unreadable or out of range.

    Of a camera RAW it is what its EXIF says; `decode_photo` asks LibRaw, and the preview in the file.
    """
    header = read_header(data)
    return header.turned or orientation(header.exif)


def photo_details(data: bytes) -> tuple[str | None, str | None]:
    """`taken_at` and `camera` of a photo, without decoding it; each None where absent or nonsense."""
    return details(read_header(data).exif)


def read_exposure(path: str) -> Exposure:
    """How the photo at a path was exposed; nothing where it cannot be read."""
    return _told(path, exposure, Exposure())


def read_details(path: str) -> tuple[str | None, str | None]:
    """`taken_at` and `camera` of the photo at a path; None also where it cannot be read."""
    nothing: tuple[str | None, str | None] = (None, None)
    return _told(path, details, nothing)


def _told(path: str, tell: Callable[[bytes], _Told], nothing: _Told) -> _Told:
    """What the EXIF of a file tells, with as little of it read as that is in; `nothing` where it cannot be read."""
    try:
        with _opened(path) as file:
            data = file.read(_BEGINNING)
            if len(data) == _BEGINNING and not data.startswith(_EXIF_COMES_FIRST):
                return tell(read_header(cast(bytes, _Slices(file))).exif)
            return tell(read_header(data).exif)
    except (OSError, ValueError, PhotoError):
        return nothing


class _Slices:
    """A file's bytes, read as slices of them are asked for. It is not mapped: a process dies of touching what another
    has cut off a mapped file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


def decode_photo(data: bytes, max_pixels: int = MAX_PIXELS, fit: Fit | None = None) -> Photo:
    """The photo that a file's bytes hold; of an animation the first frame.

    With `fit` a JPEG may be decoded to fewer pixels, but not to fewer than `FAST_MARGIN` times those that `fit` answers
    (see `photorank.photos.decoding`): quicker, and not quite the same pixels after resizing.

    Raises PhotoError, as the rest of a sentence that begins with the path, on whatever cannot be decoded, and on more
    than `max_pixels` pixels before memory is taken for them. Safe in several threads.
    """
    from photorank.photos.decoding import decode  # imports Pillow, which finding photos and a warm store never need
    from photorank.photos.raw import develop, is_raw

    if not data:
        raise PhotoError("is empty")
    header = read_header(data)
    if is_raw(data):
        rgb, name, turned = develop(data, max_pixels)
        return Photo(rgb, *rgb.shape[:2], name, turned, *details(header.exif))
    turned = header.turned or orientation(header.exif)
    # The decoder gets what the key has seen and nothing else, so that equal keys are equal pixels.
    seen = data if len(header.kept) == 1 else b"".join(data[start:end] for start, end in header.kept)
    rgb, (height, width), name = decode(seen, turned, max_pixels, fit)
    return Photo(rgb, height, width, name, turned, *details(header.exif))
