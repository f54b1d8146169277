"""The contact sheet of the most confident mistakes, of photos in plain colours."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from photorank.photos import photo_key
from photorank.stages.mistakes import ACROSS, MOST, mistakes_sheet, side_text, worst
from photorank.store import FeatureStore, FileRow

RED, BLUE, GREEN, PICKED, GONE = (200, 30, 30), (30, 30, 200), (20, 120, 20), (0x3D, 0xDC, 0x84), (0x4A, 0x4A, 0x4A)
LEFT, RIGHT, ABOVE = 30, 220, 100  # in the first and second picture, beside the words in it


@pytest.fixture
def photos(tmp_path: Path) -> tuple[FeatureStore, dict[str, str]]:
    """A store that has seen three photos, and their keys in hex by name."""
    store, keys = FeatureStore.create(tmp_path / "S"), {}
    for name, colour in (("red.png", RED), ("blue.png", BLUE), ("green.png", GREEN)):
        path = tmp_path / name
        Image.new("RGB", (400, 300), colour).save(path)
        key = photo_key(path.read_bytes())
        store.add_files([FileRow(os.fsencode(path), path.stat().st_size, 1, key, None, None)])
        keys[name.removesuffix(".png")] = key.hex()
    return store, keys


def compared(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["left", "right", "p_left", "predicted"])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB"))


def test_the_most_confident_mistake_comes_first_and_what_people_prefer_is_framed(
    photos: tuple[FeatureStore, dict[str, str]], tmp_path: Path
) -> None:
    store, keys = photos
    red, blue, green = keys["red"], keys["blue"], keys["green"]
    rows = [(red, green, 0.9, 0.4), (red, blue, 0.2, 0.97), (blue, green, 1.0, 0.999), (green, blue, 0.5, 0.999)]
    assert mistakes_sheet(compared(rows), store, tmp_path / "m.png")
    shown = pixels(tmp_path / "m.png")
    assert tuple(shown[ABOVE, LEFT]) == RED
    assert tuple(shown[ABOVE, RIGHT]) == BLUE
    framed = np.flatnonzero((shown == PICKED).all(axis=2).any(axis=0))
    first = framed[framed < 400]
    assert first.min() > 190  # of the first pair the right one
    second = 400 + LEFT
    assert tuple(shown[ABOVE, second]) == RED  # red against green, and nothing after it
    assert not any((shown[:, 800:] == colour).all(axis=2).any() for colour in (RED, BLUE, GREEN, GONE))


@pytest.mark.parametrize("lost", ["gone", "another photo", "no photo"])
def test_a_photo_that_is_not_there_any_more_is_a_grey_tile(
    lost: str, photos: tuple[FeatureStore, dict[str, str]], tmp_path: Path
) -> None:
    store, keys = photos
    path = tmp_path / "red.png"
    path.unlink()
    if lost == "another photo":
        Image.new("RGB", (400, 300), GREEN).save(path)
    if lost == "no photo":
        path.write_bytes(b"no")
    rows = [(keys["red"], keys["blue"], 0.0, 0.9), ("ab" * 32, keys["blue"], 0.0, 0.8)]
    assert mistakes_sheet(compared(rows), store, tmp_path / "m.png")
    shown = pixels(tmp_path / "m.png")
    for start in (0, 390):
        assert tuple(shown[ABOVE, start + LEFT]) == GONE
        assert tuple(shown[ABOVE, start + RIGHT]) == BLUE


def test_a_photo_that_moved_is_found_where_it_was_seen_last(
    photos: tuple[FeatureStore, dict[str, str]], tmp_path: Path
) -> None:
    store, keys = photos
    moved = tmp_path / "z" / "r.png"
    moved.parent.mkdir()
    (tmp_path / "red.png").rename(moved)
    store.add_files([FileRow(os.fsencode(moved), 1, 1, bytes.fromhex(keys["red"]), None, None)])
    assert mistakes_sheet(compared([(keys["red"], keys["blue"], 0.0, 0.9)]), store, tmp_path / "m.png")
    assert tuple(pixels(tmp_path / "m.png")[ABOVE, LEFT]) == RED


@pytest.mark.parametrize("name", [b"long" * 40 + b".png", b"\xff\n\x1b[31m.png"], ids=["long", "no text"])
def test_whatever_its_name_a_photo_keeps_to_its_place(
    name: bytes, photos: tuple[FeatureStore, dict[str, str]], tmp_path: Path
) -> None:
    store, keys = photos
    store.add_files([FileRow(os.fsencode(tmp_path) + b"/" + name, 1, 1, b"x" * 32, None, None)])
    assert mistakes_sheet(compared([((b"x" * 32).hex(), keys["blue"], 1.0, 0.1)]), store, tmp_path / "m.png")
    shown = pixels(tmp_path / "m.png")
    assert tuple(shown[ABOVE, LEFT]) == GONE
    words = shown[175:195]  # under the pictures
    assert (words[:, 10:190] != words[0, 0]).any()
    assert (words[:, 192:196] == words[0, 0]).all()


@pytest.mark.parametrize(
    ("p_left", "said"),
    [(0.73, "73 % left"), (0.27, "73 % right"), (0.504, "50.4 % left"), (0.4996, "50.04 % right"), (0.5, "50 %"),
     (0.5000001, "just over 50 % left"), (1, "100 % left")],
)  # fmt: skip
def test_a_side_has_more_than_half(p_left: float, said: str) -> None:
    assert side_text(p_left) == said


def test_no_mistakes_are_no_sheet(photos: tuple[FeatureStore, dict[str, str]], tmp_path: Path) -> None:
    store, keys = photos
    rows = [
        (keys["red"], keys["blue"], 0.9, 0.8),
        (keys["red"], keys["blue"], 0.5, 0.9),
        (keys["red"], keys["blue"], 1, 0.5),
    ]
    assert not mistakes_sheet(compared(rows), store, tmp_path / "m.png")
    assert not (tmp_path / "m.png").exists()


def test_so_many_and_no_more_are_shown(photos: tuple[FeatureStore, dict[str, str]], tmp_path: Path) -> None:
    store, keys = photos
    sure = np.random.default_rng(0).uniform(0.5, 1, 50)
    table = compared([(keys["red"], keys["blue"], 0.0, each) for each in sure])
    assert list(worst(table)["predicted"]) == sorted(sure, reverse=True)[:MOST]
    assert mistakes_sheet(table, store, tmp_path / "m.png")
    few = tmp_path / "few.png"
    assert mistakes_sheet(table[: MOST // 2], store, few)
    assert pixels(tmp_path / "m.png").shape[0] > 1.5 * pixels(few).shape[0]
    assert pixels(few).shape[1] == pixels(tmp_path / "m.png").shape[1] == ACROSS * 390
