"""Files and keys held in little memory: like a sorted list and a dict."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photorank.photos.files import FileKeys, PhotoFile, PhotoFiles

names = st.binary(min_size=1, max_size=6).map(os.fsdecode)
times = st.integers(-(2**63), 2**63 - 1)
files = st.lists(
    st.builds(PhotoFile, names, st.integers(0, 2**63 - 1), times), unique_by=lambda file: file.path, max_size=12
)


@given(files)
def test_files_are_a_sorted_list(given: list[PhotoFile]) -> None:
    expected = sorted(given, key=lambda file: file.path)
    found = PhotoFiles(given)
    assert list(found) == expected
    assert len(found) == len(expected)
    assert (found[1:], found[::-2]) == (expected[1:], expected[::-2])
    assert [found[-number] for number in range(1, len(expected) + 1)] == expected[::-1]
    with pytest.raises(IndexError):
        found[len(expected)]


@given(files, names)
def test_a_file_is_found_by_its_path(given: list[PhotoFile], other: str) -> None:
    found = PhotoFiles(given)
    numbers = {file.path: number for number, file in enumerate(found)}
    assert [found.find(path) for path in (*numbers, other)] == [*numbers.values(), numbers.get(other)]


@given(files, st.data())
def test_keys_are_a_dict(given: list[PhotoFile], data: st.DataObject) -> None:
    held = PhotoFiles(given)
    key = st.binary(min_size=32, max_size=32)
    known = data.draw(st.dictionaries(st.sampled_from(range(len(held))), key)) if len(held) else {}
    added = data.draw(st.dictionaries(st.sampled_from([file.path for file in held]), key)) if len(held) else {}
    keys = FileKeys(held, known.items())
    for path, value in added.items():
        keys.add(path, value)
    expected = {held[number].path: value for number, value in known.items()} | added
    assert keys == expected
    assert list(keys) == sorted(expected)
    assert all(keys.get(file.path) == expected.get(file.path) for file in held)


def test_a_key_is_of_one_of_the_files() -> None:
    keys = FileKeys(PhotoFiles([PhotoFile("/a.jpg", 1, 1)]))
    with pytest.raises(KeyError):
        keys.add("/b.jpg", bytes(32))
    assert "/a.jpg" not in keys
