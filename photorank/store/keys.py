"""Keys as arrays, and finding them among millions.

A key is the sha256 of a photo's content: 32 bytes. In arrays: (n, 32) uint8.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from photorank.errors import StoreError

KEY_BYTES = 32
_FREE = -1

KeyArray: TypeAlias = NDArray[np.uint8]
"""Keys, (n, 32) uint8."""
Keys: TypeAlias = KeyArray | Sequence[bytes]
"""What is accepted as keys: (n, 32) uint8, or a sequence of 32-byte `bytes`."""


def as_keys(keys: Keys) -> KeyArray:
    """The keys as a C-contiguous (n, 32) uint8 array; StoreError when they are no keys."""
    if isinstance(keys, np.ndarray):
        if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
            raise StoreError(f"Keys are an (n, {KEY_BYTES}) uint8 array, not {keys.shape} {keys.dtype}.")
        return np.ascontiguousarray(keys)
    if isinstance(keys, (bytes, bytearray, str)):
        raise StoreError("One key was given where a sequence of keys is needed.")
    for i, key in enumerate(keys):
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            raise StoreError(f"A key is {KEY_BYTES} bytes; number {i} is {key!r}.")
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


def keys_from_arrow(column: pa.ChunkedArray | pa.Array) -> KeyArray:
    """The (n, 32) uint8 array of a pyarrow column of fixed-size binary(32) without nulls, copied only if it must be."""
    if column.type != pa.binary(KEY_BYTES) or column.null_count:
        raise StoreError(f"A column of keys is binary({KEY_BYTES}) without nulls, not {column.type}.")
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * KEY_BYTES, chunk.offset * KEY_BYTES)
        for chunk in chunks
        if len(chunk)
    ]
    whole = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint8), *parts])
    return whole.reshape(-1, KEY_BYTES)


def keys_to_arrow(keys: KeyArray) -> pa.Array:
    """The keys as a pyarrow array of fixed-size binary(32), sharing their memory."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, pa.py_buffer(keys)])


class KeyIndex:
    """Positions of keys in an (N, 32) array. Of equal keys the one at the smallest position counts.

    The first 8 bytes of the keys, as numbers, are kept sorted (8 bytes a key, and 8 for its position); a search bisects
    them, then compares the whole key. That finds any sha256; keys that share their first 8 bytes, as keys of others
    may, are kept sorted as a whole too, and bisected again.
    """

    def __init__(self, keys: KeyArray) -> None:
        keys = np.ascontiguousarray(keys)
        self._texts = _texts(keys)
        self._words = keys.view(np.uint64)  # (N, 4), in whatever byte order: compared only for ==
        prefixes = _prefixes(keys)
        order = np.argsort(prefixes)
        ordered = prefixes[order]
        if (
            ordered[1:] == ordered[:-1]
        ).any():  # rare unless segments overlap, and the plain sort is three times as fast
            order = np.argsort(prefixes, kind="stable")
            order = self._first_of_each(order, ordered)
            ordered = prefixes[order]
        self._order, self._prefixes = order, ordered
        shared = np.zeros(len(order) + 1, bool)  # with the key before; one more for the last one's end
        shared[1:-1] = ordered[1:] == ordered[:-1]
        self._crowd = order[shared[:-1] | shared[1:]]
        self._crowd_texts = self._texts[self._crowd]  # sorted, as `order` is by prefix and runs of one prefix by key

    def __len__(self) -> int:
        """How many different keys there are."""
        return len(self._order)

    def first_positions(self) -> NDArray[np.int64]:
        """The positions that count, one for each different key, ascending: (len(self),) int64."""
        positions: NDArray[np.int64] = np.sort(self._order)
        return positions

    def find(self, keys: KeyArray) -> NDArray[np.int64]:
        """The position of each key, -1 where there is none: (n,) int64."""
        keys = np.ascontiguousarray(keys)
        prefixes, found = _prefixes(keys), np.full(len(keys), -1, np.int64)
        # Bisecting in sorted order walks through memory instead of jumping in it.
        asked = np.argsort(prefixes)
        slots = _slots(self._prefixes, prefixes[asked])
        asked, rows = asked[slots >= 0], self._order[slots[slots >= 0]]
        different = self._words[rows] ^ keys.view(np.uint64)[asked]
        # Thrice as fast as all().
        hit = (different[:, 0] | different[:, 1] | different[:, 2] | different[:, 3]) == 0
        found[asked[hit]] = rows[hit]
        if len(self._crowd):
            rest = np.flatnonzero(found < 0)
            slots = _slots(self._crowd_texts, _texts(keys[rest]))
            found[rest] = np.where(slots >= 0, self._crowd[slots], -1)
        return found

    def _first_of_each(self, order: NDArray[np.int64], ordered: NDArray[np.uint64]) -> NDArray[np.int64]:
        """`order` (stable by first 8 bytes) without the later ones of equal keys, runs of one prefix sorted by key."""
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        lengths = np.diff(np.append(starts, len(order)))
        heads = np.repeat(order[starts], lengths)
        equal = (self._words[order] == self._words[heads]).all(axis=1)
        keep = order == heads
        if not equal.all():
            # Different keys with the same first 8 bytes: those runs are sorted by the whole key, then by position.
            mixed = np.flatnonzero(np.repeat(~np.logical_and.reduceat(equal, starts), lengths))
            order = order.copy()
            order[mixed] = order[mixed][np.argsort(self._texts[order[mixed]], kind="stable")]
            words = self._words[order[mixed]]
            keep[mixed] = np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)])
        first: NDArray[np.int64] = order[keep]
        return first


class KeySet:
    """A set of keys that come one at a time, in less than half the memory of one of `bytes`.

    The keys lie end to end; a hash table with open addressing holds their positions. One thread may add while others
    ask.
    """

    def __init__(self) -> None:
        self._keys, self._table = bytearray(), array("i", [_FREE]) * 1024

    def __contains__(self, key: bytes) -> bool:
        table = self._table
        return table[self._slot(table, key)] != _FREE

    def __len__(self) -> int:
        return len(self._keys) // KEY_BYTES

    def add(self, key: bytes) -> None:
        """Add a key of 32 bytes; nothing happens where it is there."""
        if key in self:
            return
        self._keys += key
        if 3 * len(self) > 2 * len(self._table):
            larger = array("i", [_FREE]) * (2 * len(self._table))
            for number in range(len(self)):
                larger[self._slot(larger, self._key(number))] = number
            self._table = larger
        else:
            self._table[self._slot(self._table, key)] = len(self) - 1

    def _slot(self, table: array[int], key: bytes) -> int:
        """Where a key's position is in a table, or would be. Keys are hashes: their first bytes serve as one."""
        slot = int.from_bytes(key[:8], "little") % len(table)
        while table[slot] != _FREE and self._key(table[slot]) != key:
            slot = (slot + 1) % len(table)
        return slot

    def _key(self, number: int) -> bytes:
        return bytes(self._keys[KEY_BYTES * number : KEY_BYTES * (number + 1)])


def _slots(ordered: NDArray[Any], asked: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of `asked` (a,) is first in the sorted `ordered`; -1 where it is not."""
    slots = np.searchsorted(ordered, asked)
    there = slots < len(ordered)
    there[there] = ordered[slots[there]] == asked[there]
    return np.where(there, slots, -1)


def _texts(keys: KeyArray) -> NDArray[np.bytes_]:
    """The keys (n, 32), C-contiguous, as what NumPy sorts byte by byte: (n,) S32."""
    texts: NDArray[np.bytes_] = keys.view(f"S{KEY_BYTES}").reshape(-1)
    return texts


def _prefixes(keys: KeyArray) -> NDArray[np.uint64]:
    """The first 8 bytes of each key as a big-endian number: (n,) uint64."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").ravel().astype(np.uint64)
