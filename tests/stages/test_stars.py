"""Stars as comparisons, through the command line."""

import json
import os
from pathlib import Path

import pytest

from photorank.comparisons import read_comparisons
from photorank.errors import ComparisonsError, PhotoError
from photorank.stages.stars import stars
from tests.conftest import Run, make_picture
from tests.photos.test_ratings import BOMB, save, xmp


def rate(folder: Path, **ratings: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, stars_given in ratings.items():
        make_picture(len(name)).save(folder / f"{name}.jpg")
        if stars_given is not None:
            (folder / f"{name}.xmp").write_bytes(xmp(stars_given))


def test_the_higher_rated_is_preferred_and_the_odds_grow_with_the_stars(tmp_path: Path, photorank: Run) -> None:
    rate(tmp_path / "p" / "one", a=5, b=4, c=1, d=0, e=None, f=-1, g=1)
    rate(tmp_path / "p" / "two", a=2, b=3)
    rate(tmp_path / "p" / "tied", a=2, b=2)
    out = tmp_path / "c.csv"
    done = photorank("comparisons", "stars", tmp_path / "p", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "9 of 11 photos are rated, 1 of them rejected" in done.stdout
    assert "2 pairs of equal rating were left out" in done.stdout
    assert "10 comparisons, 2 series" in done.stdout
    table = read_comparisons(out)
    given = {"one": {"a": 5, "b": 4, "c": 1, "f": 0, "g": 1}, "two": {"a": 2, "b": 3}}
    expected = {1: 0.75, 2: 0.9, 3: 27 / 28, 4: 81 / 82, 5: 243 / 244}
    for row in table.itertuples():
        series = Path(row.series).name
        assert Path(row.left).parent == Path(row.right).parent == Path(row.series)
        one, other = (given[series][Path(path).stem] for path in (row.left, row.right))
        p = expected[abs(one - other)]
        assert row.p_left == pytest.approx(p if one > other else 1 - p, abs=1e-4)
    assert 0 < (table["p_left"] > 0.5).sum() < len(table)


def test_a_csv_names_the_series(tmp_path: Path) -> None:
    rate(tmp_path / "p", a=5, b=4, c=3, d=1)
    (tmp_path / "s.csv").write_text("path,series\np/a.jpg,x\np/b.jpg,x\np/c.jpg,y\np/d.jpg,y\n")
    stars([tmp_path / "p"], tmp_path / "c.csv", str(tmp_path / "s.csv"))
    table = read_comparisons(tmp_path / "c.csv")
    assert [{Path(row.left).stem, Path(row.right).stem} for row in table.itertuples()] == [{"a", "b"}, {"c", "d"}]


def test_sidecars_that_cannot_be_read_are_listed_and_the_others_compared(tmp_path: Path, photorank: Run) -> None:
    rate(tmp_path / "p", a=5, b=4, c=3, d=2)
    (tmp_path / "p" / "c.xmp").write_bytes(BOMB)
    (tmp_path / "p" / "d.xmp").write_bytes(xmp(3)[:100])
    done = photorank("comparisons", "stars", tmp_path / "p", "--out", tmp_path / "c.parquet", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["comparisons"], told["rated"], told["photos"]) == (1, 2, 4)
    causes = {Path(each["path"]).name: each["error"] for each in told["failures"]}
    assert causes["c.jpg"] == "has the sidecar c.xmp, which declares a document type, which no XMP does"
    assert causes["d.jpg"].startswith("has the sidecar d.xmp, which is no XMP (")


def test_a_rating_inside_raw_like_bytes_counts(tmp_path: Path) -> None:
    """Whatever a file is, its packet is found; its pixels are not looked at."""
    (tmp_path / "a.cr2").write_bytes(b"II*\0" + b"\0" * 100 + xmp(5) + b"\0" * 100)
    save(tmp_path / "b.jpg", exif=2)
    stars([tmp_path], tmp_path / "c.csv")
    assert len(read_comparisons(tmp_path / "c.csv")) == 1


def test_a_path_that_is_no_text_is_named_by_its_key(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    rate(folder, a=5)
    odd = os.fsencode(folder) + b"/\xff.jpg"
    try:
        Path(os.fsdecode(odd)).write_bytes((folder / "a.jpg").read_bytes())
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    Path(os.fsdecode(odd[:-4] + b".xmp")).write_bytes(xmp(1))
    stars([folder], tmp_path / "c.csv")
    (row,) = read_comparisons(tmp_path / "c.csv").itertuples()
    assert {len(row.left), len(row.right)} == {64, len(str(folder / "a.jpg"))}


def test_a_folder_that_is_hardly_one_moment_is_warned_of(tmp_path: Path, photorank: Run) -> None:
    rate(tmp_path / "p", **{f"n{number}": 1 + number % 2 for number in range(51)})
    done = photorank("comparisons", "stars", tmp_path / "p", "--out", tmp_path / "c.csv")
    assert "warning: " in done.stderr
    assert "51 rated photos; if they are not of one moment" in done.stderr


def test_a_folder_of_thousands_is_refused_before_it_is_compared(
    tmp_path: Path, photorank: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate(tmp_path / "p", a=5, b=4, c=3, d=2)
    rate(tmp_path / "q", a=5, b=4)
    out = tmp_path / "c.csv"
    for most, status in ((7, 0), (6, 1)):
        monkeypatch.setattr("photorank.stages.stars.MOST", most)
        done = photorank("comparisons", "stars", tmp_path / "p", tmp_path / "q", "--out", out)
        assert done.returncode == status
        assert out.exists() != bool(status)
        out.unlink(missing_ok=True)
    assert done.stderr.count("\n") == 1
    assert f"make 7 pairs, more than 6 (the largest series, {tmp_path / 'p'}, has 4)" in done.stderr
    assert "say with --series-by CSV which photos are of one moment" in done.stderr


def test_nothing_to_compare_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(PhotoError, match="no photos there"):
        stars([tmp_path / "none"], tmp_path / "c.csv")
    rate(tmp_path / "p", a=3, b=3, c=None)
    with pytest.raises(ComparisonsError, match="2 of 3 photos are rated, and no two of one series differently"):
        stars([tmp_path / "p"], tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()
