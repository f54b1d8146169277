from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.errors import StoreError
from photorank.store import KeyIndex, KeySet, as_keys, keys_from_arrow
from tests.store.helpers import some_keys

# Few different first and last bytes, so that equal prefixes and equal keys are common.
planted = st.builds(
    lambda head, middle, tail: bytes([head] * 8 + [middle] * 16 + [tail] * 8),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from([0, 1, 255]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(planted, max_size=60), st.lists(planted, max_size=40))
def test_the_index_answers_like_a_dict(held: list[bytes], asked: list[bytes]) -> None:
    first: dict[bytes, int] = {}
    for position, key in enumerate(held):
        first.setdefault(key, position)
    index = KeyIndex(as_keys(held))
    assert len(index) == len(first)
    assert index.first_positions().tolist() == sorted(first.values())
    assert index.find(as_keys(asked)).tolist() == [first.get(key, -1) for key in asked]


@given(st.lists(planted, max_size=60), st.lists(planted, max_size=40))
def test_a_set_of_keys_answers_like_a_set(added: list[bytes], asked: list[bytes]) -> None:
    keys = KeySet()
    for key in added:
        keys.add(key)
    assert len(keys) == len(set(added))
    assert [key in keys for key in asked] == [key in set(added) for key in asked]


def test_a_set_of_many_keys_takes_half_the_memory_of_a_set() -> None:
    some = [key.tobytes() for key in some_keys(50_000)]
    tracemalloc.start()
    keys, before = KeySet(), tracemalloc.get_traced_memory()[0]
    for key in some:
        keys.add(key)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken < 50_000 * 48  # a set: 80 bytes for each of the keys, and 42 of its own
    assert all(key in keys for key in some)
    assert not any(key.tobytes() in keys for key in some_keys(1000, seed=9))


def test_many_keys_with_duplicates() -> None:
    keys = some_keys(50_000)
    index = KeyIndex(np.concatenate([keys, keys[::-1]]))
    assert len(index) == 50_000
    order = np.random.default_rng(1).permutation(50_000)
    assert (index.find(keys[order]) == order).all()
    assert (index.find(some_keys(100, seed=9)) == -1).all()


@pytest.mark.parametrize("place", [7, 20, 31])
def test_many_keys_that_share_their_first_bytes_are_found_in_no_time(place: int) -> None:
    """As those of another program may: numbers, padded with zeros."""
    numbers = np.random.default_rng(0).permutation(60_000).astype(">u4")
    keys = np.zeros((60_000, 32), np.uint8)
    keys[:, place - 3 : place + 1] = numbers.view(np.uint8).reshape(-1, 4)
    index = KeyIndex(np.concatenate([keys[:40_000], keys[:20_000]]))
    started = time.process_time()
    found = index.find(keys)
    assert time.process_time() - started < 2  # trying them one by one took a minute
    assert (found == np.where(np.arange(60_000) < 40_000, np.arange(60_000), -1)).all()


def test_what_is_taken_as_keys() -> None:
    keys = some_keys(3)
    assert (as_keys([key.tobytes() for key in keys]) == keys).all()
    assert (as_keys(np.asfortranarray(keys)) == keys).all()
    assert as_keys([]).shape == (0, 32)
    for wrong in ([b"short"], b"x" * 32, keys[:, :31], keys.astype(np.int16), ["x" * 32]):
        with pytest.raises(StoreError):
            as_keys(wrong)  # type: ignore[arg-type]


def test_keys_from_arrow() -> None:
    keys = some_keys(5)
    column = pa.chunked_array(
        [pa.array([key.tobytes() for key in part], pa.binary(32)) for part in (keys[:2], keys[2:])]
    )
    assert (keys_from_arrow(column) == keys).all()
    assert (keys_from_arrow(column.slice(1, 3)) == keys[1:4]).all()
    assert keys_from_arrow(column.slice(0, 0)).shape == (0, 32)
    for wrong in (pa.array([b"x"]), pa.array([None], pa.binary(32))):
        with pytest.raises(StoreError):
            keys_from_arrow(wrong)
