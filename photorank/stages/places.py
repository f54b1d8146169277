"""Where the photos of comparisons are: files, or members of tar archives; and their keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from photorank.errors import PhotoError
from photorank.photos import photo_key, read_photo
from photorank.photos.shards import Member, Place, index_shards, read_member

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")


class Places:
    """The photos below one folder, in the tar archives that lie in it, or in one archive; looked up and hashed."""

    def __init__(self, base: Path) -> None:
        """`base`: what the paths of comparisons are relative to; of an archive, its own path."""
        self._base = Path(os.path.abspath(base))
        self._of: dict[bytes, Place] = {}
        self._sizes: dict[bytes, int] = {}

    def key_of(self, path: bytes) -> bytes:
        """The key of the photo at an absolute path, as `photorank.comparisons.resolve` asks for it.

        A member of an archive is meant by its name below `base`. PhotoError that names a photo which is not there or
        cannot be read.
        """
        place = self._find(os.fsdecode(path))
        try:
            data = read_member(place) if isinstance(place, Member) else read_photo(place)
            key = photo_key(data)
        except PhotoError as error:
            raise PhotoError(f"{place} {error}; training needs every photo of its comparisons") from error
        self._of.setdefault(key, place)
        self._sizes.setdefault(key, len(data))
        return key

    @property
    def of(self) -> Mapping[bytes, Place]:
        """Key → where the photo is, of all that were asked for."""
        return self._of

    @property
    def sizes(self) -> Mapping[bytes, int]:
        """Key → bytes of the photo when it was read, of the same."""
        return self._sizes

    @cached_property
    def _members(self) -> dict[str, Member]:
        """Name → member; read when a path is no file."""
        if self._base.is_file():
            return index_shards([self._base])
        return index_shards(sorted(self._base.glob("*.tar")))

    def _find(self, path: str) -> Place:
        if Path(path).is_file():
            return path
        try:
            name = Path(path).relative_to(self._base).as_posix()
        except ValueError:
            name = ""
        if name in self._members:
            return self._members[name]
        text = f"{path} is not there; say with --photos which folder or .tar the paths of comparisons are relative to"
        if self._members:
            text += f" (the archives there hold {len(self._members)} files, {next(iter(self._members))} for one)"
        if compressed := [each for each in sorted(self._base.glob("*.t*")) if each.name.endswith(_COMPRESSED)]:
            text += f"; {compressed[0]} is compressed: decompress it to a plain .tar, out of which photos are read"
        raise PhotoError(text)
