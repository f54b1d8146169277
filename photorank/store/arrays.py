"""A segment's rows on the disk: a Zarr v3 array of plain chunks, each its rows' bytes and 4 bytes of crc32c.

zarr-python writes the description, `zarr.json`. The chunks are written here, hashed and synced side by side: that takes
a third of the time of zarr's own writing and a second pass for the digests.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photorank.errors import DamagedStoreError
from photorank.store.durable import sync_folder, write_all, write_synced

Rows: TypeAlias = NDArray[Any]
"""Vectors, (n, dim), of a space's dtype."""

CHUNK_BYTES = 32 << 20
CRC_BYTES = 4
_BLOCK_BYTES = 256 << 10
_WRITERS = min(8, (os.cpu_count() or 1) + 1)  # one more than cores: each one waits for the disk at times
_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
_KEY_ENCODING = {"name": "default", "configuration": {"separator": "."}}


def chunk_rows(rows: int, dim: int, itemsize: int) -> int:
    """How many rows a chunk holds: about 32 MiB, the rows spread evenly, so that the last chunk pads little."""
    chunks = max(1, -(-rows * dim * itemsize // CHUNK_BYTES))
    return -(-rows // min(chunks, rows))


def is_finite(rows: Rows) -> bool:
    """Whether every value of the float16 or float32 rows is finite: exponents compared as integers, in blocks that fit
    a cache, because that takes a fifth of the time of `np.isfinite` on float16."""
    infinity = np.uint16(0x7C00) if rows.dtype == np.float16 else np.uint32(0x7F80_0000)
    step = -(-(128 << 10) // rows.shape[1])
    blocks: Iterator[Any] = (rows[start : start + step].view(infinity.dtype) for start in range(0, len(rows), step))
    return all(((block & infinity) != infinity).all() for block in blocks)


def crc32c(data: NDArray[np.uint8], before: int = 0) -> int:
    """The CRC-32C (Castagnoli, RFC 3720) of the bytes, going on from that of the bytes before them."""
    return _crc32c()(before, data)


def bytes_of(rows: Rows) -> NDArray[np.uint8]:
    """The bytes of contiguous rows, sharing their memory."""
    return rows.reshape(-1).view(np.uint8)


@functools.cache
def _crc32c() -> Callable[[int, Any], int]:
    """The function, from the package that zarr brings (before zarr 3.1.3 that was another one)."""
    try:
        function: Callable[[int, Any], int] = importlib.import_module("google_crc32c").extend
    except ImportError:
        plain = importlib.import_module("crc32c").crc32c
        return lambda before, data: int(plain(data, before))
    return function


def write_array(
    folder: Path, shape: tuple[int, int], dtype: np.dtype[Any], rows_of: Callable[[int, int], Rows]
) -> dict[str, str]:
    """Write n > 0 rows (shape: n, dim) as a Zarr v3 array at the folder. On return the folder and all in it are on the
    disk, its entry in its parent not yet. Returns the sha256 of each file by its name in the folder.

    `rows_of(start, stop)` gives the rows of a chunk; it is asked for one after the other, from several threads, so that
    more than fits in memory can be written. Its errors come through, and OSError, once no write is under way any more.
    """
    folder.mkdir()
    array = _describe(folder, shape, dtype)

    def write(chunk: int) -> tuple[str, str]:
        start, path = chunk * array.chunk_rows, array.chunk_path(chunk)
        rows = rows_of(start, start + array.chunk_length(chunk))
        if len(rows) < array.chunk_rows:
            padding = np.zeros((array.chunk_rows - len(rows), shape[1]), dtype)
            rows = np.concatenate([rows, padding])
        payload = bytes_of(np.ascontiguousarray(rows, dtype.newbyteorder("<")))
        return path.name, _write_chunk(path, payload)

    with ThreadPoolExecutor(_WRITERS) as pool:
        digests = dict(pool.map(write, range(array.chunks)))
    meta = (folder / "zarr.json").read_bytes()
    write_synced(folder / "zarr.json", meta)
    sync_folder(folder)
    return {"zarr.json": hashlib.sha256(meta).hexdigest(), **digests}


def _write_chunk(path: Path, payload: NDArray[np.uint8]) -> str:
    """Write the bytes and their crc32c, synced; the sha256 of the file."""
    digest, checksum = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(payload), _BLOCK_BYTES):  # each block is fetched into the cache once
            block = payload[start : start + _BLOCK_BYTES]
            digest.update(block.data)
            checksum = crc32c(block, checksum)
            write_all(file, block.data)
        end = checksum.to_bytes(CRC_BYTES, "little")
        digest.update(end)
        write_all(file, end)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _describe(folder: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> ArrayFiles:
    """Write the array's zarr.json (not synced)."""
    import zarr  # only who writes pays for the import
    from zarr.codecs import BytesCodec, Crc32cCodec
    from zarr.storage import LocalStore

    step = chunk_rows(*shape, dtype.itemsize)
    zarr.create_array(
        LocalStore(folder),
        shape=shape,
        chunks=(step, shape[1]),
        dtype=dtype,
        serializer=BytesCodec(endian="little"),
        compressors=[Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        fill_value=0,
    )
    return ArrayFiles(folder, shape, dtype, step)


@dataclass(frozen=True, eq=False)
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
                and meta["chunk_key_encoding"] == _KEY_ENCODING
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
        return self.folder / f"c.{chunk}.0"

    def chunk_length(self, chunk: int) -> int:
        """How many rows of the array a chunk holds; what follows them in the last one is padding."""
        return min(self.chunk_rows, self.shape[0] - chunk * self.chunk_rows)

    @property
    def payload_bytes(self) -> int:
        """How many bytes of rows a chunk file holds, padding included; the checksum follows."""
        return self.chunk_rows * self.shape[1] * self.dtype.itemsize
