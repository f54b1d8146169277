"""Series by time and likeness, on folders whose series are known; and those that a CSV names."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from photorank.cells import csv_text
from photorank.config import ExtractConfig
from photorank.errors import ConfigError, StoreError
from photorank.extractors.likeness import LIKENESS
from photorank.photos.finding import find_photos
from photorank.photos.grouping import Grouping
from photorank.stages.extract import compute
from photorank.stages.fit_head import choose_spaces
from photorank.stages.ranking_files import write_ranking
from photorank.stages.series import group, series_of
from photorank.store import FeatureStore
from tests.conftest import SHARED, make_picture
from tests.photos.timelines import NOON, Roll, all_rolls, f1

PHOTOS = SHARED / "photos"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photos beside the checkout are not there")


def grouped(folder: Path, store: Path, **options: object) -> tuple[list[str], Grouping]:
    files, _ = find_photos([folder])
    opened = FeatureStore.create(store)
    extraction = compute(opened, files, [], [LIKENESS], ExtractConfig(workers=1))
    assert not extraction.failures
    paths = [file.path for file in files]
    return paths, group(opened, paths, [extraction.keys[path] for path in paths], **options)  # type: ignore[arg-type]


def check_rolls(rolls: list[Roll], paths: list[str], found: Grouping) -> None:
    """Nearly all pairs are right; every bracket is whole, and nothing else is one."""
    series, bracket = dict(zip(paths, found.series, strict=True)), dict(zip(paths, found.bracket, strict=True))
    truth = {path: name for roll in rolls for path, name in roll.series.items()}
    brackets = {path: name for roll in rolls for path, name in roll.brackets.items()}
    assert {path for path in paths if bracket[path]} == set(brackets)
    assert f1({path: str(bracket[path]) for path in brackets}, brackets) == 1
    assert f1(series, truth) >= 0.98
    each = {roll.folder.name: f1({path: series[path] for path in roll.series}, roll.series) for roll in rolls}
    assert min(each.values()) >= 0.9, each


def test_series_of_timelines_with_made_pictures(tmp_path: Path) -> None:
    rolls = all_rolls(tmp_path / "p", lambda number: make_picture(number, 192, 144), 6)
    check_rolls(rolls, *grouped(tmp_path / "p", tmp_path / "S"))


@needs_photos
def test_series_of_timelines_with_photos_of_different_things(tmp_path: Path) -> None:
    objects = sorted((PHOTOS / "objects").iterdir())[::5]

    def scene(number: int) -> Image.Image:
        picture = Image.open(objects[number]).convert("RGB")
        picture.thumbnail((320, 320))
        return picture

    rolls = all_rolls(tmp_path / "p", scene, 9)
    check_rolls(rolls, *grouped(tmp_path / "p", tmp_path / "S"))


@needs_photos
def test_a_walk_around_a_castle_is_one_series_and_a_flight_over_a_beach_two(tmp_path: Path) -> None:
    for name in ("castle", "beach"):
        shutil.copytree(PHOTOS / name, tmp_path / "p" / name)
    paths, found = grouped(tmp_path / "p", tmp_path / "S")
    parts: dict[str, list[str]] = {}
    for path, name in zip(paths, found.series, strict=True):
        parts.setdefault(name, []).append(Path(path).stem)
    assert {name: len(stems) for name, stems in parts.items()} == {
        "2010-10-12 14:43:07 100_7100.JPG": 11, "2016-06-23 16:31:59 DJI_0018.JPG": 4,
        "2016-06-23 16:33:27 DJI_0030.JPG": 2,
    }  # fmt: skip
    assert parts["2016-06-23 16:33:27 DJI_0030.JPG"] == ["DJI_0030", "DJI_0031"]
    assert not any(found.bracket)


@needs_photos
def test_photos_of_different_things_without_a_time_are_hardly_ever_one_series(tmp_path: Path) -> None:
    for number, path in enumerate(sorted((PHOTOS / "objects").iterdir())[:100]):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((320, 320))
        (tmp_path / "p").mkdir(exist_ok=True)
        picture.save(tmp_path / "p" / f"IMG_{number:04d}.jpg")
    _, found = grouped(tmp_path / "p", tmp_path / "S")
    assert len(set(found.series)) >= 99


def test_a_raw_stands_with_its_jpeg_and_a_copy_with_the_first(tmp_path: Path) -> None:
    roll = Roll(tmp_path / "p", lambda number: make_picture(number, 192, 144))
    jpeg = roll.add("a/IMG_1.JPG", 1, 1, "s", taken_at=NOON)
    raw = roll.add("a/IMG_1.cr2", 1, 2, "s", taken_at=NOON)  # bytes of a JPEG do: the name tells
    later = roll.add("a/IMG_2.jpg", 2, 1, "s", taken_at=NOON)
    other = roll.add("a/IMG_2.nef", 2, 2, "s", taken_at=NOON.replace(hour=13))
    copy = shutil.copy(jpeg, jpeg.with_name("zzz.jpg"))
    (tmp_path / "p" / "backup").mkdir()
    far = shutil.copy(raw, tmp_path / "p" / "backup" / "x.cr2")
    for series_by, apart in (("time", far), ("folder", raw)):
        paths, found = grouped(tmp_path / "p", tmp_path / "S", series_by=series_by)
        stands = {Path(path): Path(paths[at]) for path, at in zip(paths, found.original, strict=True)}
        assert stands == {
            jpeg: jpeg, raw: jpeg, copy: jpeg, later: later, other: other, far: jpeg if series_by == "time" else far,
        }  # fmt: skip
        assert apart in stands
        named = dict(zip(map(Path, paths), found.series, strict=True))
        assert named[jpeg] == named[raw] == named[copy]
        assert (named[far] == named[jpeg]) == (series_by == "time")


def test_a_csv_names_photos_and_series_that_a_spreadsheet_would_take_for_formulas(tmp_path: Path) -> None:
    names = ["=1+1.png", "-x.png", "'=y.png", 'plain, with "quotes".png', "two\nlines.png", "<img onerror=1>.png"]
    names += ["\u202egnp.\u202c.png", "@sum.png", "\udcff.png"]
    paths = [str(tmp_path / name) for name in names]
    shown = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    table = pd.DataFrame({"path": shown, "series": [f"={at}" for at in range(len(names))]})
    (tmp_path / "series.csv").write_text(csv_text(table), encoding="utf-8-sig")
    assert series_of(paths, str(tmp_path / "series.csv")) == [f"={at}" for at in range(len(names))]


def test_a_written_ranking_names_series_and_those_of_copies_too(tmp_path: Path) -> None:
    names = ["a\rb.jpg", "c.jpg", "d.jpg", "e.jpg"]
    series = ["NA", "null", "None", "a\rb"]
    paths = [str(tmp_path / name) for name in names]
    copies = [[str(tmp_path / "copies; of" / name), str(tmp_path / f"=\udcff{name}")] for name in names]
    table = pd.DataFrame({"path": paths, "key": "00", "series": series, "rank": 1, "score": 0.0, "p_best": 1.0})
    table["keep"] = pd.array([True] * 4, dtype="boolean")
    write_ranking(table.assign(reasons=[[]] * 4, copies=copies, bracket=None), tmp_path)
    for asked in (paths, *zip(*copies, strict=True)):
        assert series_of(asked, str(tmp_path / "ranking.csv")) == series
    (tmp_path / "named.csv").write_text("path,series,copies\nx.jpg,,\ny.jpg,NA,x.jpg\n")
    assert series_of([str(tmp_path / "y.jpg")], str(tmp_path / "named.csv")) == ["NA"]
    with pytest.raises(ConfigError, match=r"names no series for .*x\.jpg"):
        series_of([str(tmp_path / "x.jpg")], str(tmp_path / "named.csv"))


def test_a_csv_with_a_photo_in_two_series_is_refused(tmp_path: Path) -> None:
    file, path = tmp_path / "s.csv", str(tmp_path / "a.jpg")
    file.write_text(f"path,series\na.jpg,A\nb.jpg,B\n{path},A\n")
    assert series_of([path], str(file)) == ["A"]
    file.write_text(f"path,series\na.jpg,A\nb.jpg,B\n{path},B\n")
    with pytest.raises(ConfigError, match=r"s\.csv has .*a\.jpg in two series, 'A' and 'B'; leave one row of it"):
        series_of([path], str(file))


def test_one_series_of_all_and_what_is_none_of_the_ways(tmp_path: Path) -> None:
    assert series_of(["/a/1.jpg", "/b/2.jpg"], "all") == ["all", "all"]
    with pytest.raises(ConfigError, match="or for rank `time`; 'tiem' is neither"):
        series_of(["/a/1.jpg"], "tiem")
    store = FeatureStore.create(tmp_path / "S")
    with pytest.raises(StoreError, match="has no likeness of these photos"):
        group(store, [], [])


def test_a_head_leaves_the_likeness_alone_unless_it_is_named(tmp_path: Path) -> None:
    make_picture(1).save(tmp_path / "1.png")
    grouped(tmp_path, tmp_path / "S")
    store = FeatureStore.open(tmp_path / "S")
    assert [space.name for space in choose_spaces(store, ["likeness"])] == ["likeness"]
    with pytest.raises(StoreError, match="holds no features yet"):
        choose_spaces(store, [])
