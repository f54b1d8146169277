"""Photos inside plain tar archives (WebDataset's shards, say), read where they lie: nothing is unpacked.

The headers of an archive are read once, and give an index from the name of a member to its place in the file.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from photorank.errors import PhotoError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_COPY_AGAIN = "copy or make it again"


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a tar archive."""

    path: str
    """The archive's."""
    name: str
    offset: int
    """Bytes from the archive's start to those of the file."""
    size: int
    """Bytes."""

    def __str__(self) -> str:
        return f"{self.name} in {self.path}"


Place: TypeAlias = str | Member
"""Where a photo's bytes are: a file's path, or a member of an archive."""


def read_member(member: Member) -> bytes:
    """All bytes of a member, at least one; PhotoError, as the rest of a sentence that begins with the member, where
    they cannot be read or are no longer there."""
    try:
        with Path(member.path).open("rb") as archive:
            archive.seek(member.offset)
            data = archive.read(member.size)
    except OSError as error:
        raise PhotoError(f"cannot be read ({error.strerror or error})") from error
    if len(data) < member.size:
        raise PhotoError(f"cannot be read (the archive was cut short since its headers were read; {_COPY_AGAIN})")
    if not data:
        raise PhotoError("is empty")
    return data


def index_shards(paths: Sequence[Path]) -> dict[str, Member]:
    """Name → member of all files in these archives; PhotoError for a name that two of them hold."""
    found: dict[str, Member] = {}
    for path in paths:
        for name, member in index_tar(path).items():
            if name in found:
                raise PhotoError(f"{path} and {found[name].path} both hold {name}; a photo is in one archive only")
            found[name] = member
    return found


def index_tar(path: Path) -> dict[str, Member]:
    """Name (normalised, `/` between its parts) → member of every file in an archive, links inside it followed.

    Of two members of one name the later counts, as in tar. PhotoError where the file is no tar archive, is compressed,
    or ends before its end mark.
    """
    try:
        with path.open("rb") as file:
            _refuse_compressed(path, file.read(8))
            size = os.fstat(file.fileno()).st_size
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                members = archive.getmembers()
                _refuse_cut(path, archive, size)
    except tarfile.TarError as error:
        raise PhotoError(f"{path} is not a tar archive, or is damaged ({error}); {_COPY_AGAIN}") from error
    except OSError as error:
        raise PhotoError(f"{path} cannot be read ({error.strerror or error})") from error
    found: dict[str, Member] = {}
    for each in members:
        name = posixpath.normpath(each.name)
        if each.isreg() and not each.issparse():
            found[name] = Member(str(path), name, each.offset_data, each.size)
        elif each.islnk() and (target := found.get(posixpath.normpath(each.linkname))):
            found[name] = Member(str(path), name, target.offset, target.size)
    return found


def _refuse_compressed(path: Path, start: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise PhotoError(
                f"{path} is compressed ({name}), and photos are read from the middle of an archive; decompress it to a "
                f"plain .tar, which is hardly larger"
            )


def _refuse_cut(path: Path, archive: tarfile.TarFile, size: int) -> None:
    """tarfile takes a broken header, and the end of the file, for the end of the archive."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    end = archive.fileobj.read(tarfile.BLOCKSIZE)
    if archive.offset > size or end != bytes(tarfile.BLOCKSIZE):
        raise PhotoError(
            f"{path} is truncated or damaged: it has no end mark after byte {archive.offset}; {_COPY_AGAIN}"
        )
