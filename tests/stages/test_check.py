"""check: the counts, and the faults of labels that are to be loud."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ImageFilter

from photorank.comparisons.phototriage import OFFICIAL, read_phototriage
from photorank.config import ExtractConfig
from photorank.stages.check import check
from photorank.stages.extract import extract
from photorank.store import FeatureStore, FileRow
from tests.conftest import SHARED, Run, make_picture

LISTS = SHARED / "phototriage"


def fill(store: Path, base: Path, sharpness: dict[str, float]) -> None:
    """A store that has seen these photos, and their statistic."""
    opened = FeatureStore.create(store)
    names = list(sharpness)
    keys = [np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8) for name in names]
    opened.add_files([
        FileRow(os.fsencode(base / name), 1, 1, key.tobytes(), None, None)
        for name, key in zip(names, keys, strict=True)
    ])  # fmt: skip
    spec = {"kind": "iqa", "statistics": {"names": ["contrast", "sharpness"], "version": 1}}
    space = opened.create_space("iqa", spec, dim=2, dtype="float32", role="statistic")
    space.append(np.stack(keys), np.array([[0, sharpness[name]] for name in names], np.float32))


def planted(count: int, seed: int = 0) -> tuple[pd.DataFrame, dict[str, float]]:
    """Series of three photos; people prefer by a quality of which the sharpness is a noisy reading."""
    generator = np.random.default_rng(seed)
    rows, sharp = [], {}
    for series in range(count):
        quality = generator.normal(size=3)
        names = [f"{series}/{number}.jpg" for number in range(3)]
        sharp |= dict(zip(names, quality + generator.normal(size=3), strict=True))
        for one, other in ((0, 1), (0, 2), (1, 2)):
            p = 1 / (1 + np.exp(-2 * (quality[one] - quality[other])))
            pair = (names[one], names[other], p) if generator.random() < 0.5 else (names[other], names[one], 1 - p)
            rows.append((f"s{series}", *pair, "val" if series < count // 4 else "train"))
    return pd.DataFrame(rows, columns=["series", "left", "right", "p_left", "split"]), sharp


def permuted(table: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """The same labels, the photos' numbers permuted within each series."""
    generator = np.random.default_rng(seed)
    renamed: dict[str, str] = {}
    for _, part in table.groupby("series", sort=False):
        names = np.unique([part["left"], part["right"]])
        renamed |= dict(zip(names, generator.permutation(names), strict=True))
    return table.assign(left=table["left"].map(renamed), right=table["right"].map(renamed))


def test_labels_that_belong_to_their_photos_pass_and_permuted_ones_are_loud(tmp_path: Path, photorank: Run) -> None:
    table, sharp = planted(400)
    fill(tmp_path / "S", tmp_path, sharp)
    table.to_csv(tmp_path / "good.csv", index=False)
    permuted(table).to_csv(tmp_path / "bad.csv", index=False)
    good = photorank("comparisons", "check", tmp_path / "good.csv", "--store", tmp_path / "S")
    assert (good.returncode, good.stderr) == (0, "")
    bad = photorank("comparisons", "check", tmp_path / "bad.csv", "--store", tmp_path / "S")
    assert bad.returncode == 1
    assert "warning: train: LABELS AT CHANCE. The sharper photo is preferred in" in bad.stderr
    told = {name: check(tmp_path / f"{name}.csv", tmp_path / "S") for name in ("good", "bad")}
    for name, low, high in (("good", 0.7, 0.9), ("bad", 0.4, 0.6)):
        agreement = told[name].parts["all"].sharpness
        assert agreement is not None
        assert low < agreement.value < high
        assert agreement.n == told[name].parts["all"].clear
        assert agreement.low < agreement.value < agreement.high


@pytest.mark.parametrize("count", [400, 20], ids=["many", "few"])
def test_labels_turned_round_are_called_swapped(count: int, tmp_path: Path) -> None:
    table, sharp = planted(count)
    fill(tmp_path / "S", tmp_path, sharp)
    table.assign(p_left=1 - table["p_left"], split="train").to_csv(tmp_path / "c.csv", index=False)
    (warning,) = check(tmp_path / "c.csv", tmp_path / "S").warnings
    assert "the BLURRIER photo is preferred in" in warning
    assert "probably swapped" in warning


def test_three_series_that_agree_are_too_few_to_call_swapped(tmp_path: Path) -> None:
    fill(tmp_path / "S", tmp_path, {"a": 2, "b": 1, "c": 2, "d": 1, "e": 2, "f": 1})
    file = write(tmp_path / "c.csv", "1,a,b,.1,train", "2,c,d,.1,train", "3,e,f,.1,train")
    assert any("too few to tell from chance" in each for each in check(file, tmp_path / "S").warnings)


def test_counts_by_split_and_size(tmp_path: Path, photorank: Run) -> None:
    table, _ = planted(40)
    extra = pd.DataFrame([("pair", "x.jpg", "y.jpg", 0.6, "test")], columns=table.columns)
    pd.concat([table, extra]).to_parquet(tmp_path / "c.parquet")
    done = photorank("comparisons", "check", tmp_path / "c.parquet", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name: part["comparisons"] for name, part in told["parts"].items()} == {
        "train": 90, "val": 30, "test": 1, "all": 121,
    }  # fmt: skip
    assert told["parts"]["all"]["sizes"] == {"2": 1, "3": 40}
    assert (told["parts"]["all"]["photos"], told["parts"]["all"]["series"]) == (122, 41)
    clear = np.maximum(table["p_left"], 1 - table["p_left"]) > 0.7
    assert told["parts"]["all"]["clear"] == clear.sum()
    assert told["sharpness_needs"] == "--store"
    assert told["parts"]["all"]["sharpness"] is None
    shown = photorank("comparisons", "check", tmp_path / "c.parquet").stdout
    assert "needs --store" in shown
    assert "series of 3 photos" in shown


def test_one_side_always_is_warned_of(tmp_path: Path) -> None:
    table, _ = planted(100)
    swap = table["p_left"] < 0.5
    one = table.assign(
        left=table["right"].where(swap, table["left"]),
        right=table["left"].where(swap, table["right"]),
        p_left=(1 - table["p_left"]).where(swap, table["p_left"]),
    )
    other = one.assign(left=one["right"], right=one["left"], p_left=1 - one["p_left"])
    for side, wrong in (("left", one), ("right", other)):
        wrong.drop(columns="split").to_csv(tmp_path / "c.csv", index=False)
        (warning,) = check(tmp_path / "c.csv").warnings
        assert f"a ranker that always says {side} looks good" in warning


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["series,left,right,p_left,split", *rows]) + "\n")
    return path


def test_photos_in_several_splits_and_series_by_path(tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", "1,a.jpg,b.jpg,.9,train", "2,./a.jpg,c.jpg,.1,val", "3,c.jpg,d.jpg,.9,val")
    report = check(file)
    assert [Path(each).name for each in report.in_several_splits] == ["a.jpg"]
    assert sorted(Path(each).name for each in report.in_several_series) == ["a.jpg", "c.jpg"]
    assert len(report.under_several_names) == 1
    assert any("1 photos are in more than one of the splits" in each for each in report.warnings)


def test_a_photo_under_two_paths_is_found_by_its_key(tmp_path: Path, photorank: Run) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 3), ("copy-of-a", 1)):
        make_picture(seed).save(tmp_path / f"{name}.png")
    extract([tmp_path], tmp_path / "S", ExtractConfig())
    file = write(tmp_path / "c.csv", "1,a.png,b.png,.9,train", "2,copy-of-a.png,c.png,.1,val")
    assert check(file).warnings == []
    done = photorank("comparisons", "check", file, "--store", tmp_path / "S", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["in_several_splits"] == told["in_several_series"] == told["under_several_names"] == ["a.png"]
    same = check(write(tmp_path / "c.csv", "1,a.png,copy-of-a.png,.9,train"), tmp_path / "S")
    assert any("row 1: left and right are two names of the same photo (a.png)" in each for each in same.warnings)


def test_contradictions_and_circles_are_counted(tmp_path: Path) -> None:
    rows = ["1,a,b,.9,train", "1,b,a,.9,train", "2,c,d,.9,train", "2,d,e,.9,train", "2,e,c,.9,train"]
    part = check(write(tmp_path / "c.csv", *rows)).parts["all"]
    assert (part.contradictions, part.circles) == (1, 1)


def test_real_sharpness_of_real_photos(tmp_path: Path) -> None:
    """From pixels to the figure, and photos that the store has not seen."""
    rows = []
    for number in range(6):
        make_picture(number).save(tmp_path / f"{number}-sharp.png")
        make_picture(number).filter(ImageFilter.GaussianBlur(2)).save(tmp_path / f"{number}-soft.png")
        rows.append(f"{number},{number}-sharp.png,{number}-soft.png,{0.9 if number else 0.1},train")
    extract([tmp_path], tmp_path / "S", ExtractConfig())
    report = check(write(tmp_path / "c.csv", *rows, "9,x.png,y.png,.2,train"), tmp_path / "S")
    agreement = report.parts["train"].sharpness
    assert agreement is not None
    assert (agreement.value, agreement.n) == (pytest.approx(5 / 6), 6)
    assert any("the store has not seen 2 of 14 photos (the first: x.png)" in each for each in report.warnings)


def test_too_few_to_tell_is_said_more_quietly_and_a_store_without_statistics_is_named(tmp_path: Path) -> None:
    table, sharp = planted(8)
    fill(tmp_path / "S", tmp_path, dict.fromkeys(sharp, 0.0))
    table.drop(columns="split").to_csv(tmp_path / "c.csv", index=False)
    (warning,) = (each for each in check(tmp_path / "c.csv", tmp_path / "S").warnings if "sharper" in each)
    assert "too few to tell from chance" in warning
    FeatureStore.create(tmp_path / "empty")
    assert "photorank extract" in (check(tmp_path / "c.csv", tmp_path / "empty").sharpness_needs or "")


@pytest.mark.parametrize("store", ["nowhere", None])
def test_what_cannot_be_checked_is_one_sentence(store: str | None, tmp_path: Path, photorank: Run) -> None:
    file = write(tmp_path / "c.csv", "1,a,b,.9,train" if store else "1,a,b,9,train")
    more = ["--store", tmp_path / store] if store else []
    done = photorank("comparisons", "check", file, *more)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert ("is no feature store" if store else "row 1: p_left is not a number") in done.stderr


@pytest.mark.skipif(not LISTS.is_dir(), reason="the official pairlists beside the checkout are not there")
def test_the_official_lists_pass_and_permuted_within_series_they_do_not(tmp_path: Path) -> None:
    """Sharpness is planted here so that it agrees with two thirds of the clear pairs, as it does in the real photos."""
    table = read_phototriage(LISTS).table
    table.to_csv(tmp_path / "c.csv", index=False)
    permuted(table).to_csv(tmp_path / "permuted.csv", index=False)
    generator = np.random.default_rng(0)
    names = pd.unique(pd.concat([table["left"], table["right"]]))
    lead = pd.concat([
        pd.Series(table["p_left"].to_numpy() - 0.5, table["left"]),
        pd.Series(0.5 - table["p_left"].to_numpy(), table["right"]),
    ]).groupby(level=0).mean()  # fmt: skip
    fill(tmp_path / "S", tmp_path, dict(zip(names, lead[names] + generator.normal(0, 0.75, len(names)), strict=True)))
    good, bad = (check(tmp_path / f"{name}.csv", tmp_path / "S") for name in ("c", "permuted"))
    for split in ("train", "val"):
        part = good.parts[split]
        assert (part.series, part.comparisons, part.photos, part.clear) == OFFICIAL[split]
    assert good.warnings == []
    assert any("LABELS AT CHANCE" in each for each in bad.warnings)
    agreement = good.parts["all"].sharpness
    assert agreement is not None
    assert 0.6 < agreement.value < 0.72
