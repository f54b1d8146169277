"""Comparisons files: what is read, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photorank.comparisons import Comparisons, hold_out, read_comparisons, resolve
from photorank.errors import ComparisonsError

GOOD = "series,left,right,p_left\n1,a.jpg,b.jpg,0.8\n1,a.jpg,c.jpg,0.25\n2,d.jpg,e.jpg,0.5\n"


def key(name: str) -> bytes:
    return name.encode().ljust(32, b"\0")


def seen(folder: Path, *names: str) -> dict[bytes, bytes]:
    return {os.fsencode(folder / name): key(name) for name in names}


def load(file: Path, **more: object) -> Comparisons:
    known = seen(file.parent, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    options: dict[str, object] = {"photos": None, "key_of": known.get, "val_fraction": 0.5, "seed": 0} | more
    return resolve(file, read_comparisons(file), **options)  # type: ignore[arg-type]


def test_photos_in_an_archive_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "c.csv").write_text(GOOD)
    with pytest.raises(ComparisonsError, match=r"are relative to$"):
        load(tmp_path / "c.csv", key_of={}.get)
    for archive, photos in (("data.tar", tmp_path / "data.tar"), ("shards/0.tar", tmp_path / "shards")):
        (tmp_path / archive).touch()
        with pytest.raises(ComparisonsError, match=rf"read by e2e alone: unpack it \(.*tar xf .*{archive} -C DIR\)"):
            load(tmp_path / "c.csv", photos=photos, key_of={}.get)


def test_csv_and_parquet_give_the_same_comparisons(tmp_path: Path) -> None:
    csv, parquet = tmp_path / "c.csv", tmp_path / "c.parquet"
    csv.write_text(GOOD)
    pd.read_csv(csv).to_parquet(parquet)
    one, other = load(csv), load(parquet)
    for field in ("keys", "left", "right", "p_left", "series", "split"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.series_names == other.series_names == ["1", "2"]
    named = [
        (one.keys[left].tobytes(), one.keys[right].tobytes()) for left, right in zip(one.left, one.right, strict=True)
    ]
    assert named == [(key("a.jpg"), key("b.jpg")), (key("a.jpg"), key("c.jpg")), (key("d.jpg"), key("e.jpg"))]
    np.testing.assert_allclose(one.p_left, [0.8, 0.25, 0.5])


def test_photos_may_be_absolute_relative_to_a_folder_or_keys(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    file = tmp_path / "c.csv"
    known = seen(elsewhere, "x.jpg") | seen(tmp_path, "y.jpg")
    hexed = key("z").hex()
    file.write_text(f"series,left,right,p_left\n1,x.jpg,{tmp_path / 'y.jpg'},1\n1,x.jpg,{hexed.upper()},0\n")
    found = load(file, photos=elsewhere, key_of=known.get)
    assert {each.tobytes() for each in found.keys} == {key("x.jpg"), key("y.jpg"), key("z")}


def test_given_splits_are_kept_and_others_are_drawn_by_series(tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text(GOOD)
    drawn = load(file)
    assert sorted(drawn.split) in (["train", "train", "val"], ["train", "val", "val"])
    assert drawn.split[0] == drawn.split[1]
    file.write_text("series,left,right,p_left,split\n1,a.jpg,b.jpg,0.8,test\n2,d.jpg,e.jpg,0.5,train\n")
    assert list(load(file).split) == ["test", "train"]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.floats(0, 0.99), st.integers(0, 5))
def test_holding_out_takes_whole_series_and_never_all(series: list[int], fraction: float, seed: int) -> None:
    numbers = np.array(series, np.int64)
    out = hold_out(numbers, fraction, seed)
    inside, outside = set(numbers[out]), set(numbers[~out])
    assert not inside & outside
    assert outside
    np.testing.assert_array_equal(out, hold_out(numbers, fraction, seed))
    if fraction > 0 and len(set(series)) > 1:
        assert inside


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("series,left,right,p_left\n1,a.jpg,b.jpg,1.2\n", r"row 1: p_left is not a number in \[0, 1\] \(p_left is"),
        ("series,left,right,p_left\n1,a.jpg,b.jpg,.5\n1,a.jpg,b.jpg,-0.1\n", r"row 2: p_left"),
        ("series,left,right,p_left\n1,a.jpg,b.jpg,left\n", r"row 1: p_left .*'left'"),
        ("series,left,right,p_left\n1,a.jpg,b.jpg,\n", "row 1: p_left"),
        ("series,left,right,p_left\n1,a.jpg,a.jpg,0.5\n", "row 1: left and right are the same photo"),
        ("series,left,right,p_left\n1,a.jpg,./a.jpg,0.5\n", "row 1: left and right are two names of the same photo"),
        ("series,left,right,p_left\n1,a.jpg,nowhere.jpg,0.5\n", "names nowhere.jpg, which the store has not seen"),
        ("series,left,right,p_left\n1,a.jpg,,0.5\n", "row 1: right is empty"),
        ("series,left,rigth,p_left\n1,a.jpg,b.jpg,0.5\n", "no column 'right'; is it 'rigth'?"),
        ("series,left,right,p_left\n", "holds no comparisons"),
        ("", "neither a CSV nor a Parquet"),
        ("series,left,right,p_left,split\n1,a.jpg,b.jpg,0.5,training\n", "split is not one of train, val, test"),
        (
            "series,left,right,p_left,split\n1,a.jpg,b.jpg,1,train\n1,a.jpg,c.jpg,1,val\n",
            "'1' is in more than one split",
        ),
        (
            "series,left,right,p_left,split\n1,a.jpg,b.jpg,1,train\n2,a.jpg,c.jpg,1,val\n",
            "photos are in both train and val",
        ),
        ("series,left,right,p_left,votes\n1,a.jpg,b.jpg,1,-3\n", "votes is not a number of people"),
        ("series,left,right,p_left,votes\n1,a.jpg,b.jpg,1,3\n1,a.jpg,c.jpg,1,inf\n", "row 2: votes .* is inf"),
        ("series,left,right,p_left,votes\n1,a.jpg,b.jpg,1,1e300\n", "row 1: votes is not a number of people"),
        ("series,left,right,p_left\n1,a.jpg,b.jpg,1,3\n", "a row has more cells than the header; name every column"),
        ("series,left,right,p_left\n1,a.jpg,b.jpg,1\n1,a.jpg,c.jpg,1,3\n", "Expected 4 fields in line 3, saw 5"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence_that_names_the_row(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text(text)
    with pytest.raises(ComparisonsError, match=said) as error:
        load(file)
    assert "c.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("column", ["p_left", "votes"])
@pytest.mark.parametrize("dtype", ["Float64", "Int64", "double[pyarrow]"])
def test_numbers_that_are_missing_in_a_parquet_are_refused_by_row(column: str, dtype: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"series": "1", "left": "a.jpg", "right": ["b.jpg", "c.jpg"], "p_left": 1.0, "votes": 3.0})
    table[column] = pd.array([1, None], dtype=dtype)
    table.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(ComparisonsError, match=f"row 2: {column} is not a number"):
        read_comparisons(tmp_path / "c.parquet")


def test_commas_at_the_ends_of_rows_shift_nothing(tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text(GOOD)
    expected = read_comparisons(file)
    header, *rows = GOOD.splitlines()
    file.write_text("\n".join([header, *(f"{row}," for row in rows), ""]))
    pd.testing.assert_frame_equal(read_comparisons(file), expected)


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ComparisonsError, match="there is no comparisons file"):
        read_comparisons(tmp_path / "c.csv")
    (tmp_path / "c.parquet").write_bytes(os.urandom(100))
    with pytest.raises(ComparisonsError, match="neither a CSV nor a Parquet"):
        read_comparisons(tmp_path / "c.parquet")
