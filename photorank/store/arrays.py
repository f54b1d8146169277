"""A segment's rows: written as a Zarr v3 array by zarr-python, read straight from its chunk files.

The chunks are plain bytes and 4 bytes of crc32c, so they are read or mapped without zarr. That takes a third of its
time, and a missing or short chunk is an error: zarr reads it as zeros.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photorank.errors import DamagedStoreError

Rows: TypeAlias = NDArray[Any]
"""Vectors, (n, dim), of a space's dtype."""

CHUNK_BYTES = 4 << 20
_CRC_BYTES = 4
_THREADS_PAY = 64 << 20  # bytes of rows asked for; below, threads cost more than they save
_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
_KEY_ENCODINGS = (
    {"name": "default", "configuration": {"separator": "/"}},
    {"name": "default"},
)


def chunk_rows(rows: int, dim: int, itemsize: int) -> int:
    """How many rows a chunk holds: about 4 MiB, the rows spread evenly, so that the last chunk pads little."""
    chunks = max(1, -(-rows * dim * itemsize // CHUNK_BYTES))
    return -(-rows // min(chunks, rows))


def is_finite(rows: Rows) -> bool:
    """Whether every value of the float16 or float32 rows is finite: exponents compared as integers, in blocks that fit
    a cache, because that takes a fifth of the time of `np.isfinite` on float16."""
    infinity = np.uint16(0x7C00) if rows.dtype == np.float16 else np.uint32(0x7F80_0000)
    step = -(-(128 << 10) // rows.shape[1])
    blocks: Iterator[Any] = (rows[start : start + step].view(infinity.dtype) for start in range(0, len(rows), step))
    return all(((block & infinity) != infinity).all() for block in blocks)


def write_array(folder: Path, rows: Rows) -> None:
    """Write (n, dim) rows, n > 0, as a Zarr v3 array at the folder. Nothing is synced. OSError when that fails."""
    import zarr  # only who writes pays for the import
    from zarr.codecs import BytesCodec, Crc32cCodec
    from zarr.storage import LocalStore

    step = chunk_rows(len(rows), rows.shape[1], rows.dtype.itemsize)
    array = zarr.create_array(
        LocalStore(folder),
        shape=rows.shape,
        chunks=(step, rows.shape[1]),
        dtype=rows.dtype,
        serializer=BytesCodec(endian="little"),
        compressors=[Crc32cCodec()],
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    # Chunk by chunk: faster than all at once, and after an error no write is still under way.
    for start in range(0, len(rows), step):
        array[start : start + step] = rows[start : start + step]


@dataclass(frozen=True)
class ArrayFiles:
    """A segment's array as it lies on the disk."""

    folder: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunk_rows: int

    @classmethod
    def parse(cls, folder: Path, zarr_json: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> ArrayFiles:
        """Read the array's zarr.json. DamagedStoreError when it is not such an array of this shape and dtype."""
        try:
            meta = json.loads(zarr_json)
            rows_a_chunk, columns = meta["chunk_grid"]["configuration"]["chunk_shape"]
            as_written = (
                meta["zarr_format"] == 3
                and meta["node_type"] == "array"
                and meta["shape"] == list(shape)
                and meta["data_type"] == dtype.name
                and meta["chunk_grid"]["name"] == "regular"
                and columns == shape[1]
                and isinstance(rows_a_chunk, int)
                and rows_a_chunk > 0
                and meta["chunk_key_encoding"] in _KEY_ENCODINGS
                and meta["codecs"] == _CODECS
            )
        except (ValueError, KeyError, TypeError):
            as_written = False
        if not as_written:
            raise DamagedStoreError(
                f"Segment {folder.name} is damaged: {folder / 'zarr.json'} does not describe "
                f"{shape[0]} x {shape[1]} {dtype.name} in plain chunks with crc32c."
            )
        return cls(folder, shape, dtype, rows_a_chunk)

    @property
    def chunks(self) -> int:
        """How many chunk files there are."""
        return -(-self.shape[0] // self.chunk_rows)

    def chunk_path(self, chunk: int) -> Path:
        """Where a chunk lies."""
        return self.folder / "c" / str(chunk) / "0"

    def chunk_length(self, chunk: int) -> int:
        """How many rows of the array a chunk holds; what follows them in the last one is padding."""
        return min(self.chunk_rows, self.shape[0] - chunk * self.chunk_rows)

    @property
    def payload_bytes(self) -> int:
        """How many bytes of rows a chunk file holds, padding included; the checksum follows."""
        return self.chunk_rows * self.shape[1] * self.dtype.itemsize


class ChunkPart(NamedTuple):
    """Rows of one chunk and where they go. `local` and `target` are row numbers, or slices of equal length."""

    array: ArrayFiles
    chunk: int
    local: NDArray[np.int64] | slice
    target: NDArray[np.int64] | slice


def read_parts(parts: list[ChunkPart], out: Rows, *, verify: bool) -> None:
    """Fill `out` from the chunk files. DamagedStoreError for a missing, short or long file and, with `verify`, for one
    whose crc32c does not match. Every file is closed on return."""
    crc = _crc32c() if verify else None
    if out.nbytes < _THREADS_PAY:
        for part in parts:
            _read_part(part, out, crc)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda part: _read_part(part, out, crc), parts):
            pass


def _read_part(part: ChunkPart, out: Rows, crc: Callable[[Any], int] | None) -> None:
    array = part.array
    path = array.chunk_path(part.chunk)
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != array.payload_bytes + _CRC_BYTES:
                raise DamagedStoreError(
                    f"Segment {array.folder.name} is damaged: {path} has {size} bytes instead of "
                    f"{array.payload_bytes + _CRC_BYTES}."
                )
            if crc is None and isinstance(part.local, slice):
                _read_into(file, out[part.target])
            else:
                _gather(file, part, out, crc)
    except FileNotFoundError:
        raise DamagedStoreError(f"Segment {array.folder.name} is damaged: {path} is missing.") from None


def _read_into(file: BinaryIO, rows: Rows) -> None:
    """Read the file's first rows straight into a contiguous part of the result."""
    buffer = rows.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done:])  # type: ignore[attr-defined]
        if not count:
            raise DamagedStoreError(f"{file.name} became shorter while it was read.")
        done += count


def _gather(file: BinaryIO, part: ChunkPart, out: Rows, crc: Callable[[Any], int] | None) -> None:
    """Copy chosen rows out of the mapped file."""
    array = part.array
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        everything = np.frombuffer(mapped, np.uint8)
        payload, stored = everything[: array.payload_bytes], everything[array.payload_bytes :]
        try:
            if crc is not None and crc(payload) != int.from_bytes(stored.tobytes(), "little"):
                raise DamagedStoreError(f"Segment {array.folder.name} is damaged: {file.name} fails its crc32c.")
            shape = (array.chunk_rows, array.shape[1])
            out[part.target] = payload.view(array.dtype.newbyteorder("<")).reshape(shape)[part.local]
        finally:
            del payload, stored, everything  # a mapping closes only when no array views it


def _crc32c() -> Callable[[Any], int]:
    """The checksum, from the package that zarr brings (before zarr 3.1.3 that was another one)."""
    try:
        function: Callable[[Any], int] = importlib.import_module("google_crc32c").value
    except ImportError:
        function = importlib.import_module("crc32c").crc32c
    return function
