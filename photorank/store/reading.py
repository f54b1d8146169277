"""Reading rows straight from a segment's chunk files, without zarr: a missing or short chunk is an error here, while
zarr reads it as zeros.

Many rows of a chunk are read in blocks that fit a cache, straight to where they go or through a small buffer. A few
rows are copied out of the mapped file, and the mapping is kept for the next time.
"""

from __future__ import annotations

import mmap
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from photorank.errors import DamagedStoreError
from photorank.store.arrays import CRC_BYTES, ArrayFiles, Rows, bytes_of, crc32c

_BLOCK_BYTES = 1 << 20
_THREADS_PAY = 8 << 20  # bytes of rows asked for; below, threads cost more than they save
_DENSE = 4  # a chunk is read whole when at least one in so many of its rows is asked for
# Before Python 3.13 a mapping keeps its file open, and a process may often have no more than 256 or 1,024 files.
_MAPS_KEPT = 4096 if sys.version_info >= (3, 13) else 96
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class ChunkPart(NamedTuple):
    """Rows of one chunk and where they go: row numbers, `local` ascending, or slices of equal length. `local` is a
    slice when it is all rows of the chunk."""

    array: ArrayFiles
    chunk: int
    local: NDArray[np.int64] | slice
    target: NDArray[np.int64] | slice


class ChunkReader:
    """Reads parts of chunks; any number of threads may ask at once. It keeps some files mapped."""

    def __init__(self) -> None:
        self._maps: dict[ArrayFiles, dict[int, Rows]] = {}
        self._kept = 0

    def read(self, parts: list[ChunkPart], out: Rows, *, verify: bool) -> None:
        """Fill `out` from the chunk files. DamagedStoreError for a missing, short or long file and, with `verify`, for
        one whose crc32c does not match."""
        threads = 1 if out.nbytes < _THREADS_PAY else min(4, os.cpu_count() or 1, len(parts))
        if threads == 1:
            self._read_all(parts, out, verify)
            return
        with ThreadPoolExecutor(threads) as pool:
            shares = [parts[number::threads] for number in range(threads)]  # a task for each part costs more
            for _ in pool.map(lambda share: self._read_all(share, out, verify), shares):
                pass

    def _read_all(self, parts: list[ChunkPart], out: Rows, verify: bool) -> None:
        for part in parts:
            self._read(part, out, verify)

    def _read(self, part: ChunkPart, out: Rows, verify: bool) -> None:
        try:
            if isinstance(part.local, slice) or len(part.local) * _DENSE >= part.array.chunk_rows:
                with _opened(part) as file:
                    _stream(file, part, out, verify)
            else:
                _gather(self._mapped(part, verify), part.local, out, part.target)
        except FileNotFoundError:
            path = part.array.chunk_path(part.chunk)
            raise DamagedStoreError(f"Segment {part.array.folder.name} is damaged: {path} is missing.") from None

    def _mapped(self, part: ChunkPart, verify: bool) -> Rows:
        """The chunk's rows, (chunk_rows, dim), mapped. With `verify` the file is checked each time."""
        array, maps = part.array, self._maps.setdefault(part.array, {})
        rows = maps.get(part.chunk)
        if rows is None or verify:
            with _opened(part) as file:
                whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, **_UNTRACKED)
            payload = np.frombuffer(whole, np.uint8, array.payload_bytes)
            if verify and crc32c(payload) != int.from_bytes(whole[array.payload_bytes :], "little"):
                raise _fails_its_checksum(part)
            rows = payload.view(array.dtype.newbyteorder("<")).reshape(array.chunk_rows, array.shape[1])
            # A mapping ends with the last array that looks into it. Those kept are the first, not the last ones used:
            # who goes through more than that again and again would else never find one.
            if self._kept < _MAPS_KEPT:
                self._kept += 1
                maps[part.chunk] = rows
        return rows


def _opened(part: ChunkPart) -> FileIO:
    """The chunk's file, if it has the right size."""
    path, expected = part.array.chunk_path(part.chunk), part.array.payload_bytes + CRC_BYTES
    file = path.open("rb", buffering=0)
    size = os.fstat(file.fileno()).st_size
    if size != expected:
        file.close()
        raise DamagedStoreError(
            f"Segment {part.array.folder.name} is damaged: {path} has {size} bytes instead of {expected}."
        )
    return file


def _stream(file: FileIO, part: ChunkPart, out: Rows, verify: bool) -> None:
    """Read the chunk in blocks, up to the last row that is asked for or, with `verify`, to its end."""
    array, local, target = part.array, part.local, part.target
    step = _rows_a_block(array)
    stop = array.chunk_length(part.chunk) if isinstance(local, slice) else int(local[-1]) + 1
    last = array.chunk_rows if verify else stop
    buffer = np.empty((min(step, last), array.shape[1]), array.dtype)
    checksum = 0
    for start in range(0, last, step):
        end = min(start + step, last)
        block = buffer[: end - start]
        if isinstance(local, slice) and isinstance(target, slice) and end <= stop:
            block = out[target.start + start : target.start + end]  # straight to where it goes
        _fill(file, block)
        if verify:
            checksum = crc32c(bytes_of(block), checksum)
        if not isinstance(local, slice):
            a, b = np.searchsorted(local, (start, end))
            _gather(block, local[a:b] - start, out, _cut(target, a, b))
        elif start < stop and (end > stop or not isinstance(target, slice)):
            out[_cut(target, start, min(end, stop))] = block[: stop - start]
    if verify and checksum != int.from_bytes(file.read(CRC_BYTES), "little"):
        raise _fails_its_checksum(part)


def _gather(rows: Rows, numbers: NDArray[np.int64], out: Rows, target: NDArray[np.int64] | slice) -> None:
    """out[target] = rows[numbers]"""
    if isinstance(target, slice):
        np.take(rows, numbers, axis=0, out=out[target], mode="clip")  # any other mode makes a copy first
    else:
        out[target] = rows[numbers]


def _cut(target: NDArray[np.int64] | slice, start: int, stop: int) -> NDArray[np.int64] | slice:
    if isinstance(target, slice):
        return slice(target.start + start, target.start + stop)
    return target[start:stop]


def _rows_a_block(array: ArrayFiles) -> int:
    return max(1, _BLOCK_BYTES // (array.shape[1] * array.dtype.itemsize))


def _fill(file: FileIO, rows: Rows) -> None:
    buffer, done = bytes_of(rows).data, 0
    while done < len(buffer):
        count = file.readinto(buffer[done:])
        if not count:
            raise DamagedStoreError(f"{file.name} became shorter while it was read.")
        done += count


def _fails_its_checksum(part: ChunkPart) -> DamagedStoreError:
    path = part.array.chunk_path(part.chunk)
    return DamagedStoreError(f"Segment {part.array.folder.name} is damaged: {path} fails its crc32c.")
