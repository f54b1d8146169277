"""rank from the command line: series by time, and what is done with the frames to keep."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from photorank import Ranker
from photorank.cli import app
from photorank.comparisons.tables import Columns, comparisons_of_table
from photorank.config import ExtractConfig, HeadConfig
from photorank.errors import ConfigError, PhotoError, StoreError
from photorank.photos.ratings import stars_of
from photorank.stages import loader
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.stages.ranking_files import write_ranking
from tests.conftest import make_picture
from tests.photos.timelines import Roll, brackets, bursts


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that was hardly trained."""
    folder = tmp_path_factory.mktemp("run")
    rows = []
    for number in range(4):
        for side in ("left", "right"):
            make_picture(number, 96, 96 if side == "left" else 72).save(folder / f"{number}-{side}.png")
        rows.append((number, f"{number}-left.png", f"{number}-right.png", 1.0))
    pd.DataFrame(rows, columns=["series", "left", "right", "p_left"]).to_csv(folder / "c.csv", index=False)
    extract([folder], folder / "store", ExtractConfig(workers=1))
    fit_head(folder / "store", folder / "c.csv", HeadConfig(epochs=2), folder / "run", folder)
    return folder / "run"


@pytest.fixture(scope="module")
def roll(tmp_path_factory: pytest.TempPathFactory) -> Roll:
    """Bursts and brackets."""
    made = Roll(tmp_path_factory.mktemp("roll"), lambda number: make_picture(number, 192, 144))
    bursts(made, range(2), parts=2)
    brackets(made, range(2, 4))
    return made


def rank(run: Path, roll: Roll, store: Path, *options: object) -> str:
    arguments = ["rank", roll.folder, "--model", run, "--store", store, "--workers", 1, *options]
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_kept_frames_get_sidecars_copies_and_links_and_the_photos_stay_as_they_are(
    run: Path, roll: Roll, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in roll.folder.iterdir()}
    use = ("--xmp", "--xmp-style", "darktable", "--copy-to", tmp_path / "kept", "--link-to", tmp_path / "links")
    dry = rank(run, roll, tmp_path / "S", *use, "--dry-run")
    assert set(roll.folder.iterdir()) == set(before)
    assert not (tmp_path / "kept").exists()
    assert dry.count("would write ") == len(roll.series)
    told = json.loads(rank(run, roll, tmp_path / "S", *use, "--json"))
    assert {path: path.read_bytes() for path in before} == before
    kept = {row["path"] for row in told["ranking"] if row["keep"]}
    found = {row["path"]: (row["series"], row["bracket"]) for row in told["ranking"]}
    assert {path for path, (_, bracket) in found.items() if bracket} == set(roll.brackets) <= kept
    assert {found[path][0] for path in kept} == {name for name, _ in found.values()}
    assert dry.count("would be copied: ") == len(kept) == len(told["copied"]["placed"])
    assert {path for path in map(str, before) if stars_of(path) == 5} == kept
    assert {path for path in map(str, before) if stars_of(path) == 1} == set(roll.series) - kept
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {Path(path).name for path in kept}
    assert {str(path.readlink()) for path in (tmp_path / "links").iterdir()} == kept
    again = rank(run, roll, tmp_path / "S", *use)
    assert f"wrote 0 sidecars; {len(before)} stay as they are" in again
    assert f"copied 0 photos; {len(kept)} were there already" in again


@pytest.mark.parametrize("option", ["--copy-to", "--link-to", "--out"])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_folder_that_cannot_be_made_is_told_before_any_work(
    run: Path, roll: Roll, tmp_path: Path, option: str, dry: list[str]
) -> None:
    before = set(roll.folder.iterdir())
    (tmp_path / "file").write_bytes(b"")
    arguments = ["rank", roll.folder, "--model", run, "--store", tmp_path / "S", "--xmp", "--copy-to", tmp_path / "one"]
    done = CliRunner().invoke(app, [str(each) for each in (*arguments, option, tmp_path / "file" / "kept", *dry)])
    assert done.exit_code == 1
    assert str(done.exception) == f"there can be no folder {tmp_path / 'file' / 'kept'} (Not a directory); name another"
    assert set(roll.folder.iterdir()) == before
    assert not (tmp_path / "S").exists() and not (tmp_path / "one").exists()


def test_a_folder_that_takes_no_ranking_is_told_before_any_work(
    run: Path, roll: Roll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photorank.stages.folders.may_write", lambda folder: False)
    arguments = ["rank", roll.folder, "--model", run, "--store", tmp_path / "S", "--out", tmp_path]
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert str(done.exception) == f"there can be no folder {tmp_path} (Permission denied); name another"
    assert not (tmp_path / "S").exists()


def test_where_a_folder_cannot_be_made_after_all_the_ranking_is_shown_and_no_sidecar_is_written(
    run: Path, roll: Roll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, really = set(roll.folder.iterdir()), Path.mkdir

    def refused(path: Path, *arguments: int, **options: bool) -> None:
        if path.name == "kept":
            raise PermissionError(13, "Permission denied")
        really(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refused)
    arguments = ["rank", roll.folder, "--model", run, "--store", tmp_path / "S", "--workers", 1, "--xmp"]
    done = CliRunner().invoke(app, [str(each) for each in (*arguments, "--copy-to", tmp_path / "kept")])
    assert done.exit_code == 1
    assert str(done.exception) == f"there can be no folder {tmp_path / 'kept'} (Permission denied); name another"
    assert all(Path(path).name in done.output for path in roll.series)
    assert set(roll.folder.iterdir()) == before


def test_series_are_by_time_unless_told_otherwise(run: Path, roll: Roll, tmp_path: Path) -> None:
    def series(*options: object) -> int:
        told = json.loads(rank(run, roll, tmp_path / "S", "--json", *options))
        return len({row["series"] for row in told["ranking"]})

    assert series() == len(set(roll.series.values()))
    assert series("--gap", "0") > len(set(roll.series.values()))
    assert series("--series-by", "folder") == series("--series-by", "all") == 1


def test_brackets_of_a_written_ranking_stay_brackets(run: Path, roll: Roll, tmp_path: Path) -> None:
    rank(run, roll, tmp_path / "S", "--out", tmp_path / "out")
    told = json.loads(rank(run, roll, tmp_path / "S", "--series-by", tmp_path / "out" / "ranking.csv", "--json"))
    found = {row["path"] for row in told["ranking"] if row["bracket"] and row["keep"]}
    assert found == set(roll.brackets)
    assert {row["path"] for row in told["ranking"] if row["bracket"]} == found


def test_a_raw_that_cannot_be_decoded_goes_along_with_its_jpeg(run: Path, tmp_path: Path) -> None:
    raw = b"II*\0" + (8).to_bytes(4, "little") + bytes(2000)  # a TIFF without a picture
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2021:01:01 10:00:00"
    (tmp_path / "p").mkdir()
    for number, name in enumerate(("A_1", "A_2")):
        make_picture(number, 192, 144).save(tmp_path / "p" / f"{name}.JPG", exif=exif)
    for name in ("A_1.NEF", "A_2.nef", "A_3.NEF"):
        (tmp_path / "p" / name).write_bytes(raw)
    arguments = ["rank", tmp_path / "p", "--model", run, "--store", tmp_path / "S", "--series-by", "folder", "--keep"]
    arguments += ["2", "--copy-to", tmp_path / "kept", "--xmp", "--xmp-style", "darktable", "--workers", "1", "--json"]
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    beside = {Path(row["path"]).name: [Path(each).name for each in row["copies"]] for row in told["ranking"]}
    assert beside == {"A_1.JPG": ["A_1.NEF"], "A_2.JPG": ["A_2.nef"]}
    assert [Path(each["path"]).name for each in told["failures"]] == ["A_3.NEF"]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"A_1.JPG", "A_1.NEF", "A_2.JPG", "A_2.nef"}
    assert {path.name for path in (tmp_path / "p").glob("*.xmp")} == {
        "A_1.JPG.xmp", "A_1.NEF.xmp", "A_2.JPG.xmp", "A_2.nef.xmp",
    }  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="no pipes that are files")
def test_a_pipe_is_no_photo_and_nobody_waits_for_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    make_picture(1, 192, 144).save(tmp_path / "p" / "a.jpg")
    pipes = [tmp_path / "p" / name for name in ("a.CR2", "b.jpg")]
    for pipe in pipes:
        os.mkfifo(pipe)
    arguments = ["rank", tmp_path / "p", "--model", run, "--store", tmp_path / "S", "--workers", "1", "--json"]
    command = [sys.executable, "-m", "photorank", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(Path(row["path"]).name, row["copies"]) for row in told["ranking"]] == [("a.jpg", [])]
    causes = {each["path"]: each["error"] for each in told["failures"]}
    assert causes == dict.fromkeys(map(str, pipes), "is not a regular file")


def test_where_there_are_only_files_that_are_no_photos_the_first_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").symlink_to("nowhere")
    with pytest.raises(
        PhotoError, match=r"none of the 1 photos can be ranked; the first: .*a\.jpg: is a link to a file"
    ):
        Ranker.load(run).rank([tmp_path / "p"], tmp_path / "S")


@pytest.mark.usefixtures("in_this_process")
def test_photos_that_failed_are_tried_again_when_that_is_asked_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").mkdir()
    for number in range(2):
        make_picture(number, 192, 144).save(tmp_path / "p" / f"{number}.png")
    really = loader.read_photo

    def refused(path: str) -> bytes:
        if path.endswith("1.png"):
            raise PhotoError("was refused by a passing mood")
        return really(path)

    def ranked(*options: str) -> int:
        arguments = ["rank", tmp_path / "p", "--model", run, "--store", tmp_path / "S", "--json", *options]
        done = CliRunner().invoke(app, [str(each) for each in arguments])
        assert done.exit_code == 0, done.output
        return len(json.loads(done.stdout)["ranking"])

    monkeypatch.setattr(loader, "read_photo", refused)
    assert ranked() == 1
    monkeypatch.setattr(loader, "read_photo", really)
    assert ranked() == 1
    assert ranked("--retry-failed") == 2
    assert ranked() == 2


def test_a_cache_folder_that_cannot_be_made_is_a_sentence_with_what_to_do(
    run: Path, roll: Roll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for options in ([], ["--no-store"]):
        done = CliRunner().invoke(app, ["rank", str(roll.folder), "--model", str(run), *options])
        assert isinstance(done.exception, StoreError)
        assert re.search(r"the cache folder .* cannot be made \(Not a directory\); name a store", str(done.exception))
    with pytest.raises(StoreError, match="or set XDG_CACHE_HOME"):
        Ranker.load(run).rank([roll.folder])


def test_one_path_may_be_given_and_without_a_store_nothing_is_left(
    run: Path, roll: Roll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Ranker.load(run).rank(str(roll.folder), tmp_path / "S")
    assert set(table["path"]) == set(map(str, roll.folder.glob("*.jpg")))
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no such folder"))
    arguments = ["rank", roll.folder, "--model", run, "--no-store", "--out", tmp_path / "out", "--workers", "1"]
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    assert 'id="pictures-0">/9j/' in (tmp_path / "out" / "report.html").read_text(), "thumbnails are inside"
    assert not list(cache.rglob("no-store-*"))


def test_from_python_the_frames_to_keep_may_be_a_number(run: Path, roll: Roll, tmp_path: Path) -> None:
    ranker = Ranker.load(run)
    two, *same = (ranker.rank([roll.folder], tmp_path / "S", keep=keep) for keep in (2, "2", np.int64(2)))
    for each in same:
        pd.testing.assert_frame_equal(two, each)
    assert two["keep"].sum() > ranker.rank([roll.folder], tmp_path / "S", gap=float("inf"))["keep"].sum()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"keep": 0}, "--keep is how many frames of a series, like 2, or a share of them, like 30%; not '0'"),
        ({"keep": 0.3}, "--keep is how many frames of a series, like 2, or a share of them, like 30%; not '0.3'"),
        ({"keep": True}, "--keep is how many frames of a series, like 2, or a share of them, like 30%; not 'True'"),
        ({"gap": -5}, "--gap is the most seconds between two frames of one series, 0 or more; not -5"),
        ({"gap": float("nan")}, "--gap is the most seconds between two frames of one series, 0 or more; not nan"),
        ({"min_confidence": 2.0}, "--min-confidence is a probability of 0.5 to 1; not 2.0"),
        ({"min_confidence": -1}, "--min-confidence is a probability of 0.5 to 1; not -1"),
        ({"min_confidence": float("nan")}, "--min-confidence is a probability of 0.5 to 1; not nan"),
    ],
)  # fmt: skip
def test_from_python_what_the_command_line_refuses_is_refused_before_the_work(
    run: Path, roll: Roll, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        Ranker.load(run).rank([roll.folder], tmp_path / "S", **options)
    assert str(raised.value) == says
    assert not (tmp_path / "S").exists()
    name, value = next(iter(options.items()))
    done = CliRunner().invoke(app, ["rank", str(roll.folder), f"--{name.replace('_', '-')}={value}"])
    assert done.exit_code in (1, 2)
    assert done.exit_code == 2 or str(done.exception) == says


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--gap", "3", "--series-by", "folder"], "--gap is for --series-by time"),
        (["--dry-run"], "--dry-run is for --xmp"),
        (["--xmp-overwrite"], "--xmp-overwrite is for --xmp"),
        (["--xmp-style", "lightroom"], "--xmp-style is for --xmp"),
    ],
)
def test_options_without_the_one_that_they_are_of_are_refused(options: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["rank", "p", *options], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert says in done.output


def test_a_written_ranking_is_inert_in_a_spreadsheet_and_read_back_as_it_was(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\ttab", "'=quoted", "'plain", "<img src=x onerror=alert(1)>"]
    names += ['"quotes", commas', "two\nlines", "two\rlines", "\u202egpj.\u202c", "\udcff", "an even number"]
    shown = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    table = pd.DataFrame({"path": pd.Series(names, dtype=object), "key": "00", "series": shown[::-1]})
    table = table.assign(rank=1, score=-0.5, p_best=1.0, keep=pd.array([True] * len(names), dtype="boolean"))
    table["reasons"], table["copies"] = ([[]] * len(names), [[name] for name in names])
    table["bracket"] = pd.Series(["=b", *[None] * (len(names) - 1)], dtype=object)
    write_ranking(table, tmp_path)
    raw = pd.read_csv(tmp_path / "ranking.csv", dtype=str, keep_default_na=False)
    for column in ("path", "series", "copies", "bracket"):
        assert not [cell for cell in raw[column] if cell[:1] in tuple("=+-@\t\r")], column
    read = comparisons_of_table(tmp_path / "ranking.csv", Columns("path", "series", p_left="p_best"))
    assert list(read["left"]) == [name.strip() for name in shown]
    assert list(read["right"]) == [name.strip() for name in shown[::-1]]
