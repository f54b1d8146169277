"""Finding, reading and identifying photos, and the way to their pixels.

`photorank.metadata` reads what the bytes say, `photorank.decoding` makes pixels of them; the rest uses this module.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from photorank.errors import PhotoError
from photorank.metadata import Exposure, details, exposure, orientation, orientation_segment, read_header

if TYPE_CHECKING:
    from photorank.decoding import Pixels

_PICTURES = ".jpg .jpeg .jpe .mpo .png .webp .tif .tiff .bmp .gif .avif .heic .heif .hif"
_RAWS = (
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .raf .orf .rw2 .rwl .pef .srw .3fr .fff .iiq .mrw .mef .mos .erf .gpr .x3f"
)
PHOTO_SUFFIXES = frozenset(f"{_PICTURES} {_RAWS}".split())
"""Endings, in lower case, of the files that are taken for photos in a folder; what a file is, its bytes say."""
MAX_PIXELS = 178_956_970
"""Twice the number from which Pillow warns of a decompression bomb; it refuses more by itself."""
Fit: TypeAlias = Callable[[int, int], tuple[int, int]]
"""Height and width of a photo → those that it will be resized to."""
_SUFFIXES, _RAW_SUFFIXES = tuple(PHOTO_SUFFIXES), tuple(_RAWS.split())
_BEGINNING = 1 << 18
"""Bytes; EXIF takes 64 KB and comes first."""
_DANGLING = "is a link to a file that does not exist"


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A file that may hold a photo."""

    path: str
    """Absolute and normalised, links not resolved; bytes that are no UTF-8 as surrogates (`os.fsencode` undoes it)."""
    size: int
    """Bytes."""
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FailedPath:
    """A path that looks like a photo or a folder of photos and is neither."""

    path: str
    error: str
    """What is wrong, as the rest of a sentence that begins with the path."""


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


def find_photos(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[PhotoFile], list[FailedPath]]:
    """Photos among files and in folders with all that is below them, and what could not be taken; both sorted by path.

    A named file is taken whatever its name; in folders the ending decides, and what begins with a dot is left alone.
    Links to folders are followed, each folder is searched once, and itself rather than by a link. No file is opened.

    Raises PhotoError where a named path does not exist.
    """
    search = _Search()
    for path in paths:
        search.name(os.fsdecode(path))
    while search.links:
        links, search.links = sorted(search.links), []
        for link in links:
            search.walk(link)
    found, failed = search.found, search.failed
    return [found[path] for path in sorted(found)], [FailedPath(path, failed[path]) for path in sorted(failed)]


class _Search:
    """A search under way."""

    def __init__(self) -> None:
        self.found: dict[str, PhotoFile] = {}
        self.failed: dict[str, str] = {}
        self.links: list[str] = []
        """Links to folders, searched last."""
        self._searched: set[tuple[int, int] | str] = set()

    def name(self, named: str) -> None:
        """Take a path from the command line."""
        remedy = "check the spelling and the folder it is in"
        if not named or "\0" in named:  # no system has such names, but `abspath` would make other ones of them
            raise PhotoError(f"{named!r} does not exist; {remedy}")
        path = os.path.abspath(named)
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            if not Path(path).is_symlink():
                shown = named if named.isprintable() else repr(named)
                raise PhotoError(f"{shown} does not exist; {remedy}") from error
            self.failed[path] = _DANGLING
        except OSError as error:
            self.failed[path] = _unread(error)
        else:
            if stat.S_ISDIR(status.st_mode):
                self.walk(path)
            else:
                self._take(path, status)

    def walk(self, top: str) -> None:
        """Take what is in a folder and below, except below links."""
        pending = [top]
        while pending:
            folder = pending.pop()
            try:
                if self._is_new(folder):
                    with os.scandir(folder) as entries:
                        below = [entry.path for entry in entries if self._is_folder(entry)]
                    pending += sorted(below, reverse=True)
            except OSError as error:
                self.failed[folder] = f"cannot be listed ({_cause(error)})"

    def _is_new(self, folder: str) -> bool:
        status = Path(folder).stat()
        # Some network file systems number no files.
        identity = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)
        if identity in self._searched:
            return False
        self._searched.add(identity)
        return True

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        """Whether this is a folder to be searched next; photos are taken, links to folders remembered."""
        if entry.name.startswith("."):
            return False
        try:
            if entry.is_dir():
                if not entry.is_symlink():
                    return True
                self.links.append(entry.path)
            elif entry.name.lower().endswith(_SUFFIXES):
                self._take(entry.path, entry.stat())
        except OSError as error:
            gone = isinstance(error, FileNotFoundError) and entry.is_symlink()
            self.failed[entry.path] = _DANGLING if gone else _unread(error)
        return False

    def _take(self, path: str, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            self.found[path] = PhotoFile(path, status.st_size, status.st_mtime_ns)
        else:
            self.failed[path] = "is not a regular file"


def is_raw_name(path: str) -> bool:
    """Whether the name is one of a camera RAW."""
    return path.lower().endswith(_RAW_SUFFIXES)


def is_beside_raw(path: str) -> bool:
    """Whether the name is one that cameras give to the picture that they write beside a RAW."""
    return path.lower().endswith((".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"))


def read_photo(path: str) -> bytes:
    """All bytes of a file, at least one.

    Raises PhotoError, as the rest of a sentence that begins with the path, where it cannot be read, is empty or is no
    regular file. Never waits for somebody to write into a pipe.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PhotoError("is not a regular file")
            data = file.readall()
    except (OSError, ValueError) as error:
        raise PhotoError(_unread(error)) from error
    except MemoryError:
        raise PhotoError("needs more memory than there is") from None
    if not data:
        raise PhotoError("is empty")
    return data


def photo_key(data: bytes) -> bytes:
    """The image hash, 32 bytes: sha256 of the canonical form (see `photorank.metadata`). Any bytes have one."""
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
    """How the photo at a path was exposed, by what the beginning of the file says; nothing where it cannot be read."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            return exposure(read_header(file.read(_BEGINNING)).exif)
    except OSError:
        return Exposure()


def decode_photo(data: bytes, max_pixels: int = MAX_PIXELS, fit: Fit | None = None) -> Photo:
    """The photo that a file's bytes hold; of an animation the first frame.

    With `fit` a JPEG may be decoded to fewer pixels, but not to fewer than `FAST_MARGIN` times those that `fit` answers
    (see `photorank.decoding`): quicker, and not quite the same pixels after resizing.

    Raises PhotoError, as the rest of a sentence that begins with the path, on whatever cannot be decoded, and on more
    than `max_pixels` pixels before memory is taken for them. Safe in several threads.
    """
    from photorank.decoding import decode  # imports Pillow, which finding photos and a warm store never need
    from photorank.raw import develop, is_raw

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


def _unread(error: Exception) -> str:
    return f"cannot be read ({_cause(error)})"


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
