"""Finding photos: among named files, and in folders with all that is below them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from photorank.errors import PhotoError
from photorank.photos.files import PhotoFile, PhotoFiles

_PICTURES = ".jpg .jpeg .jpe .mpo .png .webp .tif .tiff .bmp .gif .avif .heic .heif .hif"
_RAWS = (
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .raf .orf .rw2 .rwl .pef .srw .3fr .fff .iiq .mrw .mef .mos .erf .gpr .x3f"
)
PHOTO_SUFFIXES = frozenset(f"{_PICTURES} {_RAWS}".split())
"""Endings, in lower case, of the files that are taken for photos in a folder; what a file is, its bytes say."""
_SUFFIXES, _RAW_SUFFIXES = tuple(PHOTO_SUFFIXES), tuple(_RAWS.split())
_LATEST = 2**63 - 1
"""What a time is capped at, in nanoseconds: the year 2262. File systems go on to 2446."""
_STORE = "photorank.json"
"""What marks a feature store, whose thumbnails are no photos."""
_DANGLING = "is a link to a file that does not exist"


@dataclass(frozen=True, slots=True)
class FailedPath:
    """A path that looks like a photo or a folder of photos and is neither."""

    path: str
    error: str
    """What is wrong, as the rest of a sentence that begins with the path."""


def find_photos(paths: Iterable[str | os.PathLike[str]]) -> tuple[PhotoFiles, list[FailedPath]]:
    """Photos among files and in folders with all that is below them, and what could not be taken; both sorted by path.

    A named file is taken whatever its name; in folders the ending decides, and what begins with a dot is left alone, as
    are feature stores.
    Links to folders are followed, each folder is searched once, and itself rather than by a link. No file is opened.

    Raises PhotoError where a named path does not exist.
    """
    search = _Search()
    for path in [paths] if isinstance(paths, str | bytes | os.PathLike) else paths:
        search.name(os.fsdecode(path))
    while search.links:
        links, search.links = sorted(search.links), []
        for link in links:
            search.walk(link)
    return PhotoFiles(search.found.values()), [FailedPath(*each) for each in sorted(search.failed.items())]


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
            self.failed[path] = unread(error)
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
                if self._is_new(folder) and not Path(folder, _STORE).exists():
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
            self.failed[entry.path] = _DANGLING if gone else unread(error)
        return False

    def _take(self, path: str, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            self.found[path] = PhotoFile(path, status.st_size, min(status.st_mtime_ns, _LATEST))
        else:
            self.failed[path] = "is not a regular file"


def is_raw_name(path: str) -> bool:
    """Whether the name is one of a camera RAW."""
    return path.lower().endswith(_RAW_SUFFIXES)


def is_beside_raw(path: str) -> bool:
    """Whether the name is one that cameras give to the picture that they write beside a RAW."""
    return path.lower().endswith((".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"))


def unread(error: Exception) -> str:
    """Why a file could not be read, as the rest of a sentence that begins with its path."""
    return f"cannot be read ({_cause(error)})"


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
