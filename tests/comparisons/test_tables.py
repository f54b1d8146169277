"""Comparisons of any table: three ways to say who won, series by connection, and what is refused."""

import csv
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.comparisons import read_comparisons
from photorank.comparisons.tables import Columns, comparisons_of_table, components
from photorank.comparisons.writing import write_comparisons
from photorank.errors import ComparisonsError
from tests.conftest import Run

HEADER = "a,b,won,share,for_a,for_b,who,part"
ROWS = [
    "x.jpg,y.jpg,LEFT,0.75,3,1,4,train",
    "z.jpg,y.jpg,2,0.25,1,3,4,train",
    "p.jpg,q.jpg,q.jpg,0,0,5,5,val",
    "p.jpg,r.jpg,tie,.5,2,2,4,val",
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


def test_three_ways_to_say_who_won(table: Path) -> None:
    share = comparisons_of_table(table, Columns("a", "b", p_left="share"))
    assert list(share["p_left"]) == [0.75, 0.25, 0, 0.5]
    assert list(comparisons_of_table(table, Columns("a", "b", winner="won"))["p_left"]) == [1, 0, 0, 0.5]
    votes = comparisons_of_table(table, Columns("a", "b", votes_left="for_a", votes_right="for_b"))
    assert list(votes["p_left"]) == list(share["p_left"])
    assert list(votes["votes"]) == [4, 4, 5, 4]
    assert list(share["series"]) == ["1", "1", "2", "2"]


def test_the_command_writes_a_file_that_is_read_again(table: Path, tmp_path: Path, photorank: Run) -> None:
    out = tmp_path / "c.parquet"
    named = ["--left", "a", "--right", "b", "--winner", "won", "--series", "part", "--votes", "who", "--split", "part"]
    done = photorank("comparisons", "csv", table, "--out", out, *named, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"path": str(out), "comparisons": 4, "series": 2, "photos": 6}
    read = read_comparisons(out)
    assert list(read["series"]) == list(read["split"]) == ["train", "train", "val", "val"]
    assert list(read["votes"]) == [4, 4, 5, 4]


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_tsv_and_parquet_are_read_alike(suffix: str, table: Path, tmp_path: Path) -> None:
    other = tmp_path / f"other.{suffix}"
    frame = pd.read_csv(table)
    if suffix == "tsv":
        frame.to_csv(other, sep="\t", index=False)
    else:
        frame.set_index("a", drop=False).to_parquet(other)
    columns = Columns("a", "b", winner="won", votes="who", split="part")
    pd.testing.assert_frame_equal(comparisons_of_table(other, columns), comparisons_of_table(table, columns))


def test_whole_numbers_of_a_parquet_are_sides(tmp_path: Path) -> None:
    frame = pd.DataFrame({"l": ["a", "a"], "r": ["b", "c"], "w": [1.0, 2.0], "s": [15.0, 15.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    found = comparisons_of_table(tmp_path / "t.parquet", Columns("l", "r", winner="w", series="s"))
    assert list(found["p_left"]) == [1, 0]
    assert list(found["series"]) == ["15", "15"]


def test_names_that_look_missing_survive_writing_and_reading(tmp_path: Path, photorank: Run) -> None:
    (tmp_path / "t.csv").write_text("s,l,r,p\nNA,None,null,.25\n")
    out = tmp_path / "c.csv"
    named = ["--left", "l", "--right", "r", "--p-left", "p", "--series", "s"]
    assert photorank("comparisons", "csv", tmp_path / "t.csv", "--out", out, *named).returncode == 0
    assert read_comparisons(out).iloc[0].tolist() == ["NA", "None", "null", 0.25]


def test_a_folder_called_like_a_formula_is_inert_in_a_spreadsheet_and_read_back(tmp_path: Path, photorank: Run) -> None:
    rows = [["=x/a.jpg", "+1.jpg", "=x"], ["@b.jpg", "'=c.jpg", "'plain"]]
    table = [["l", "r", "s", "p"], *([*row, "0.25"] for row in rows)]
    (tmp_path / "t.csv").write_text("\n".join(map(",".join, table)))
    named = ["--left", "l", "--right", "r", "--p-left", "p", "--series", "s"]
    for out in (tmp_path / "c.csv", tmp_path / "c.parquet"):
        done = photorank("comparisons", "csv", tmp_path / "t.csv", "--out", out, *named)
        assert done.returncode == 0, done.stderr
        assert read_comparisons(out)[["left", "right", "series"]].to_numpy().tolist() == [
            rows[0],
            ["@b.jpg", "=c.jpg", "'plain"],  # what a table has behind an apostrophe was made inert there
        ]
    with (tmp_path / "c.csv").open(newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[0] in "=+-@\t\r"]


cells = st.text("=+-@\t\r'ab,\" \n", min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells.map("x{}".format), cells), min_size=1, max_size=8))
def test_whatever_is_written_is_read_back(rows: list[tuple[str, str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["left", "right", "series"]).assign(p_left=np.float32(0.3), variant="-1")
    with tempfile.TemporaryDirectory() as folder:
        write_comparisons(table, Path(folder) / "c.csv")
        found = read_comparisons(Path(folder) / "c.csv")
    pd.testing.assert_frame_equal(found, table, check_dtype=False)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=30))
def test_series_are_what_comparisons_connect(pairs: list[tuple[int, int]]) -> None:
    left, right = (pd.Series([str(pair[side]) for pair in pairs]) for side in (0, 1))
    found = components(left, right)
    reached = {photo: {photo} for pair in pairs for photo in pair}
    for _ in range(len(pairs)):  # the transitive closure, slowly
        for one, other in pairs:
            reached[one] = reached[other] = reached[one] | reached[other]
            for photo in reached[one]:
                reached[photo] = reached[one]
    for at, (one, _) in enumerate(pairs):
        for other_at, (other, _) in enumerate(pairs):
            assert (found[at] == found[other_at]) == (other in reached[one])
    assert found[0] == "1"
    assert set(found) == {str(number + 1) for number in range(len(set(found)))}


def test_one_photo_under_two_spellings_is_one_node() -> None:
    assert components(pd.Series(["a/x", "p"]), pd.Series(["y", "a/./x"])) == ["1", "1"]


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("a,b,p\nx,y,.5\n", Columns("a", "c", p_left="p"), "has no column 'c'; It has a, b, p"),
        ("a,b,share\nx,y,.5\n", Columns("a", "b", p_left="shar"), "no column 'shar'; is it 'share'?"),
        ("a,b,p\nx,y,.5\nx,z,many\n", Columns("a", "b", p_left="p"), "row 2: the column 'p' holds no number .'many'"),
        ("a,b,p\nx,y,\n", Columns("a", "b", p_left="p"), "row 1: the column 'p' holds no number"),
        ("a,b,p\nx,y,85\n", Columns("a", "b", p_left="p"), r"row 1: p_left is not a number in \[0, 1\]"),
        ("a,b,w\nx,y,1\nx,z,3\n", Columns("a", "b", winner="w"), "row 2: the winner .* is neither left, right.*'3'"),
        ("a,b,w\nx,y,\n", Columns("a", "b", winner="w"), "row 1: the column 'w' is empty"),
        ("a,b,w\n2,1,1\n", Columns("a", "b", winner="w"), "row 1: .*could be the side or the photo"),
        ("a,b,m,n\nx,y,0,0\n", Columns("a", "b", votes_left="m", votes_right="n"), "row 1: nobody voted"),
        ("a,b,m,n\nx,y,-1,4\n", Columns("a", "b", votes_left="m", votes_right="n"), "row 1: .*no number of people"),
        ("a,b,p\nx,,1\n", Columns("a", "b", p_left="p"), "row 1: the column 'b' is empty"),
        ("a,b,p\nx,x,1\n", Columns("a", "b", p_left="p"), "row 1: left and right are the same photo"),
        ("a,b,p,t\nx,y,1,dev\n", Columns("a", "b", p_left="p", split="t"), "split is not one of train, val, test"),
        ("a,b,p,t\nx,y,1,train\nx,z,1,val\n", Columns("a", "b", p_left="p", split="t"), "in more than one split"),
        ("a,b,p\n", Columns("a", "b", p_left="p"), "holds no comparisons"),
        ("", Columns("a", "b", p_left="p"), "neither a CSV, a TSV nor a Parquet table"),
        (
            "series_id,compareID1,compareID2,userChoice\n15,0,1,LEFT\n",
            Columns("compareID1", "compareID2", winner="userChoice"),
            "in an order of their own",
        ),
    ],
)
def test_what_cannot_be_right_is_one_sentence_with_its_row(
    text: str, columns: Columns, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ComparisonsError, match=said) as error:
        comparisons_of_table(path, columns)
    assert "t.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    columns = Columns("a", "b", p_left="p")
    with pytest.raises(ComparisonsError, match="there is no table"):
        comparisons_of_table(tmp_path / "none.csv", columns)
    for name in ("t.parquet", "t.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe" + os.urandom(64))
        with pytest.raises(ComparisonsError, match="neither a CSV, a TSV nor a Parquet table"):
            comparisons_of_table(tmp_path / name, columns)


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--p-left", "share", "--winner", "won"],
        ["--votes-left", "for_a"],
        ["--votes-left", "for_a", "--votes-right", "for_b", "--votes", "who"],
    ],
)
def test_who_won_is_to_be_said_in_one_way(more: list[str], table: Path, tmp_path: Path, photorank: Run) -> None:
    done = photorank("comparisons", "csv", table, "--out", tmp_path / "c.csv", "--left", "a", "--right", "b", *more)
    assert done.returncode == 2
    assert not (tmp_path / "c.csv").exists()
