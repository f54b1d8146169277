"""Files that may hold photos, and their keys, held in little memory: there may be a million of them."""

from __future__ import annotations

import bisect
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A file that may hold a photo."""

    path: str
    """Absolute and normalised, links not resolved; bytes that are no UTF-8 as surrogates (`os.fsencode` undoes it)."""
    size: int
    """Bytes."""
    mtime_ns: int


class PhotoFiles(Sequence[PhotoFile]):
    """Files by path, ascending: the bytes of their paths end to end, and numbers."""

    def __init__(self, files: Iterable[PhotoFile] = ()) -> None:
        self._paths, self._starts = bytearray(), array("q", [0])
        self._sizes, self._times = array("q"), array("q")
        for file in sorted(files, key=lambda file: file.path):
            self._paths += os.fsencode(file.path)
            self._starts.append(len(self._paths))
            self._sizes.append(file.size)
            self._times.append(file.mtime_ns)

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, number: int) -> PhotoFile: ...
    @overload
    def __getitem__(self, number: slice) -> list[PhotoFile]: ...
    def __getitem__(self, number: int | slice) -> PhotoFile | list[PhotoFile]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        number = range(len(self))[number]  # IndexError beyond the end, and from the end where it is negative
        return PhotoFile(self._path(number), self._sizes[number], self._times[number])

    def find(self, path: str) -> int | None:
        """The number of the file at a path."""
        number = bisect.bisect_left(range(len(self)), path, key=self._path)
        return number if number < len(self) and self._path(number) == path else None

    def _path(self, number: int) -> str:
        return os.fsdecode(bytes(self._paths[self._starts[number] : self._starts[number + 1]]))


class FileKeys(Mapping[str, bytes]):
    """Path → key of those of some files whose key is known."""

    def __init__(self, files: PhotoFiles, known: Iterable[tuple[int, bytes]] = ()) -> None:
        """`known`: numbers of files, and their keys."""
        self._files = files
        self._keys, self._known = bytearray(KEY_BYTES * len(files)), bytearray(len(files))
        for number, key in known:
            self._set(number, key)

    def add(self, path: str, key: bytes) -> None:
        """Note the key of the file at a path. KeyError where it is none of the files."""
        self._set(self._number(path), key)

    def __getitem__(self, path: str) -> bytes:
        number = self._number(path)
        if not self._known[number]:
            raise KeyError(path)
        return bytes(self._keys[KEY_BYTES * number : KEY_BYTES * (number + 1)])

    def __iter__(self) -> Iterator[str]:
        return (file.path for file, known in zip(self._files, self._known, strict=True) if known)

    def __len__(self) -> int:
        return self._known.count(True)

    def _number(self, path: str) -> int:
        number = self._files.find(path)
        if number is None:
            raise KeyError(path)
        return number

    def _set(self, number: int, key: bytes) -> None:
        self._keys[KEY_BYTES * number : KEY_BYTES * (number + 1)] = key
        self._known[number] = True
