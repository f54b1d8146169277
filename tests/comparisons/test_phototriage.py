"""PhotoTriage's pairlists: what is written, what is warned of, and the mistakes that are refused."""

import json
from pathlib import Path

import pandas as pd
import pytest

from photorank.comparisons import read_comparisons
from photorank.comparisons.phototriage import OFFICIAL
from photorank.errors import ComparisonsError
from photorank.stages.labels import phototriage
from tests.conftest import SHARED, Run

LISTS = SHARED / "phototriage"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason="the official pairlists beside the checkout are not there")

TRAIN = "7 1 2 0.949 1 3\n7 1 3 0.5 1 2\n7 2 3 0.086 3 2\n"
VAL = "15 1 2 0.123 2 1\n"
REVIEW = {"compareID1": 0, "compareID2": 1, "compareFile1": "15-1.JPG", "compareFile2": "15-2.JPG",
          "userChoice": "LEFT", "reason": ["", ""]}  # fmt: skip


def make(root: Path, train: str = TRAIN, val: str = VAL, test: str | None = None) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, text in (("train", train), ("val", val), ("test", test)):
        if text is not None:
            (root / f"{split}_pairlist.txt").write_text(text)
    return root


def add_photos(root: Path, *names: str) -> None:
    (root / "train_val_imgs").mkdir()
    for name in names:
        (root / "train_val_imgs" / name).write_bytes(b"a photo")


@needs_lists
def test_the_official_lists_have_the_official_counts(tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    found = phototriage(LISTS, out)
    assert found.counts == {split: OFFICIAL[split] for split in ("train", "val")}
    assert not [each for each in found.warnings if "official" in each]
    table = read_comparisons(out)
    assert table["split"].value_counts().to_dict() == {"train": 12075, "val": 483}
    first = table.iloc[0]
    assert (first["left"], first["right"]) == ("train_val_imgs/000001-01.JPG", "train_val_imgs/000001-02.JPG")
    assert first["p_left"] == pytest.approx(0.949)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_stay_soft_and_paths_and_splits_official(suffix: str, tmp_path: Path, photorank: Run) -> None:
    root = make(tmp_path / "root")
    add_photos(root, "000007-01.JPG", "000007-02.JPG", "000007-03.JPG", "000015-01.JPG", "000015-02.JPG")
    out = tmp_path / f"c.{suffix}"
    done = photorank("comparisons", "phototriage", root, "--out", out)
    assert done.returncode == 0, done.stderr
    table = read_comparisons(out)
    assert list(table["p_left"]) == pytest.approx([0.949, 0.5, 0.086, 0.123])
    assert list(table["split"]) == ["train"] * 3 + ["val"]
    assert list(table["series"]) == ["7"] * 3 + ["15"]
    assert all((root / path).is_file() for path in [*table["left"], *table["right"]])
    assert f"relative to {root}" in done.stdout
    assert done.stderr.count("warning: ") == 2  # neither list is the official one
    assert "train is not the official list, which has 4,560 series, 12,075 pairs" in done.stderr
    assert "here are 1 series, 3 pairs, 3 photos, 2 of the pairs clear" in done.stderr


def test_the_layout_of_the_archives_and_absent_photos(tmp_path: Path, photorank: Run) -> None:
    root = make(tmp_path / "root" / "train_val")
    make(tmp_path / "root" / "test", train="", val="", test="9 1 2\n9 1 3\n")
    for name in ("train", "val"):
        (tmp_path / "root" / "test" / f"{name}_pairlist.txt").unlink()
    add_photos(root, "000007-01.JPG")
    done = photorank("comparisons", "phototriage", tmp_path / "root", "--out", tmp_path / "c.csv", "--json")
    told = json.loads(done.stdout)
    assert told["photos"] == str(root)
    assert told["left_out"] == 2
    assert told["counts"]["test"] == {"series": 1, "pairs": 2, "photos": 3, "clear": 0}
    assert f"4 of 5 photos are not in {root} (the first: train_val_imgs/000007-02.JPG)" in told["warnings"]
    assert set(read_comparisons(tmp_path / "c.csv")["split"]) == {"train", "val"}


def test_a_photos_folder_without_the_photos_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    with pytest.raises(ComparisonsError, match="no photos in train_val_imgs; give --photos the folder above it"):
        phototriage(root, tmp_path / "c.csv", tmp_path)
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ("7 1 2 0.949 1 2\n7 1 3 0.5 2 1\n", "row 2: columns 5 and 6 are not the ranks.*photo 1 has several"),
        ("7 1 2 0.9 1 2\n\n7 2 3 0.8 3 2\n", "row 3: columns 5 and 6 are not the ranks.*contradict P"),
        ("7 1 2 0.9 2 2\n", "row 1: columns 5 and 6 are not the ranks"),
        ("7 1 2 0.2 1 2\n7 1 3 0.2 1 3\n", "row 1, and 1 more rows: columns 5 and 6"),
        ("7 0 1 0.9 1 2\n", "row 1: photos are numbered from 1"),
        ("7 1 1 0.9 1 2\n", "row 1: a photo is compared with itself"),
        ("7 1 2 1.9 1 2\n", "row 1: P is no probability"),
        ("7 1 2 nan 1 2\n", "row 1: P is no probability"),
        ("7 1 2 LEFT 1 2\n", "row 1: could not convert.*numbers all"),
        ("7 1 2 0.9\n", "row 1: it has 4 columns, not 6"),
        ("7 1 2\n", "row 1: it has 3 columns, not 6"),
        ("", "is empty"),
        ("15 1 2 0.9 1 2\n", "'15' is in more than one split"),
    ],
)
def test_a_wrong_list_is_refused_in_one_sentence(train: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ComparisonsError, match=said) as error:
        phototriage(make(tmp_path / "root", train), tmp_path / "c.csv")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "c.csv").exists()


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    (root / "val_pairlist.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ComparisonsError, match=r"val_pairlist.txt cannot be read as text"):
        phototriage(root, tmp_path / "c.csv")


def reviews(root: Path) -> Path:
    (root / "reviews_trainval").mkdir(parents=True)
    (root / "reviews_trainval" / "000015.json").write_text(json.dumps({"reviews": [REVIEW]}))
    return root


def test_review_files_are_refused_with_the_reason(tmp_path: Path, photorank: Run) -> None:
    root = reviews(tmp_path / "root")
    out = tmp_path / "c.csv"
    for given in (root, root / "reviews_trainval", root / "reviews_trainval" / "000015.json"):
        done = photorank("comparisons", "phototriage", given, "--out", out)
        assert done.returncode == 1
        assert "in an order of their own within each series" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not out.exists()


@pytest.mark.parametrize("columns", [list(REVIEW), ["series_id", "compareID1", "compareID2", "userChoice"],
                                     ["series", "compare_id1", "compare_id2", "p"]])  # fmt: skip
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables_made_of_reviews_are_refused(columns: list[str], suffix: str, tmp_path: Path) -> None:
    table = pd.DataFrame([dict.fromkeys(columns, "1")])
    path = tmp_path / "root" / f"pairs.{suffix}"
    path.parent.mkdir()
    if suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
    for given in (path, path.parent):
        with pytest.raises(ComparisonsError, match="in an order of their own"):
            phototriage(given, tmp_path / "c.csv")


def test_with_the_lists_there_reviews_beside_them_do_no_harm(tmp_path: Path) -> None:
    assert len(phototriage(make(reviews(tmp_path / "root")), tmp_path / "c.csv").table) == 4


def test_a_folder_with_other_things_is_told_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"reviews": 3')
    (tmp_path / "other.csv").write_bytes(b"\xff\xfe")
    for given in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ComparisonsError, match=r"has no train_pairlist.txt"):
            phototriage(given, tmp_path / "c.csv")


def test_an_output_that_is_there_is_kept_and_a_name_without_format_refused(tmp_path: Path, photorank: Run) -> None:
    root, out = make(tmp_path / "root"), tmp_path / "c.csv"
    out.write_text("mine")
    assert "is there already and is kept" in photorank("comparisons", "phototriage", root, "--out", out).stderr
    assert out.read_text() == "mine"
    with pytest.raises(ComparisonsError, match=r"ends with .csv or .parquet"):
        phototriage(root, tmp_path / "c.txt")
    with pytest.raises(ComparisonsError, match="cannot be written"):
        phototriage(root, out / "below" / "c.csv")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.csv", "root"]
