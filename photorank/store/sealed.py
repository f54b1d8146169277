"""Parquet files that can be checked against themselves.

Such a file carries, as `photorank.digest` in its footer, the sha256 of all its own bytes with the digest's 64 hex
digits taken as zeros. So any flipped byte is found, in data, footer or digest, and every Parquet
reader still reads the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from photorank.errors import DamagedStoreError

_DIGITS = 64
_ZEROS = b"0" * _DIGITS
_KEY = b"photorank.digest"
# How Parquet's footer (Thrift, compact protocol) spells that key and the head of its value: string field, length 64.
_MARK = _KEY + bytes([0x18, _DIGITS])


def sealed_bytes(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """The bytes of a sealed Parquet file of the table: plain, uncompressed pages, for speed. pa.ArrowInvalid for a null
    in a column that has none."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, table.schema, use_dictionary=False, compression="none", write_statistics=False, store_schema=False
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**metadata, _KEY.decode(): _ZEROS.decode()})
    data = sink.getvalue().to_pybytes()
    at = _digest_at(data)
    if at is None or data[at : at + _DIGITS] != _ZEROS:
        raise AssertionError("pyarrow wrote the footer otherwise than Parquet prescribes")
    sealed: bytes = data[:at] + _digest(data, at).encode() + data[at + _DIGITS :]
    return sealed


def read_sealed(path: Path, *, check: bool = True) -> tuple[pa.Table, dict[str, str]]:
    """The table of a sealed file and its metadata. DamagedStoreError, naming the file, when it is missing, cannot be
    read, or (with `check`) differs from what was written in any byte."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DamagedStoreError(f"{path} is missing.") from None
    if check:
        check_sealed(path, data)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        table = file.read()
        metadata = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()}
    except (pa.ArrowException, OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        raise DamagedStoreError(f"{path} is damaged: {error}") from None
    return table, metadata


def check_sealed(path: Path, data: bytes) -> None:
    """DamagedStoreError, naming the file, when its bytes do not match the digest that they carry."""
    at = _digest_at(data)
    if at is None or data[at : at + _DIGITS] != _digest(data, at).encode():
        raise DamagedStoreError(f"{path} is damaged: its bytes do not match the digest they carry.")


def _digest_at(data: bytes) -> int | None:
    """Where the digest's digits start. The footer is the end of the file, so a look-alike in the data comes before."""
    at = data.rfind(_MARK)
    return None if at < 0 or len(data) < at + len(_MARK) + _DIGITS else at + len(_MARK)


def _digest(data: bytes, at: int) -> str:
    view = memoryview(data)
    whole = hashlib.sha256(view[:at])
    whole.update(_ZEROS)
    whole.update(view[at + _DIGITS :])
    return whole.hexdigest()
