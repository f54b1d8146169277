"""The degradation benchmark: each variant against its definition, and the folder that is made."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from photorank.comparisons import read_comparisons
from photorank.config import ExtractConfig, HeadConfig
from photorank.errors import ConfigError, PhotoError
from photorank.photos import decode_photo, photo_key, read_photo
from photorank.stages.degrade import degrade
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.stages.variants import VARIANTS, choose
from tests.conftest import Run, make_picture

QUICK = ["jpeg-10", "crop-middle"]


def ramp(width: int = 200, height: int = 100) -> np.ndarray:
    """Red tells the column (a step a pixel), green the row (two), blue nothing."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.arange(width)
    picture[..., 1] = 2 * np.arange(height)[:, None]
    return picture


def test_there_are_27_variants_in_the_published_groups() -> None:
    counts = {group: sum(name.startswith(f"{group}-") for name in VARIANTS) for group in ("blur", "jpeg", "exposure")}
    assert counts == {"blur": 4, "jpeg": 5, "exposure": 4}
    assert len(choose(["crop"])) == 14
    assert choose([]) == list(VARIANTS)
    assert len(VARIANTS) == 27


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_keeps_the_size_and_changes_the_pixels(name: str) -> None:
    picture = np.asarray(make_picture(3, 161, 120))
    worse = VARIANTS[name](picture)
    assert (worse.shape, worse.dtype) == (picture.shape, np.uint8)
    assert not np.array_equal(worse, picture)


@pytest.mark.parametrize(
    ("name", "columns", "rows"),
    [
        ("crop-edge-right-20", (0, 160), (0, 100)),
        ("crop-edge-right-30", (0, 140), (0, 100)),
        ("crop-edge-bottom-20", (0, 200), (0, 80)),
        ("crop-edge-bottom-30", (0, 200), (0, 70)),
        ("crop-corner-top-left-70", (0, 140), (0, 70)),
        ("crop-corner-top-left-60", (0, 120), (0, 60)),
        ("crop-corner-bottom-right-70", (60, 200), (30, 100)),
        ("crop-corner-bottom-right-60", (80, 200), (40, 100)),
        ("crop-aspect-tall-60", (40, 160), (0, 100)),
        ("crop-aspect-tall-50", (50, 150), (0, 100)),
        ("crop-aspect-wide-60", (0, 200), (20, 80)),
        ("crop-aspect-wide-50", (0, 200), (25, 75)),
    ],
)
def test_a_crop_shows_what_its_name_says(name: str, columns: tuple[int, int], rows: tuple[int, int]) -> None:
    shown = VARIANTS[name](ramp())
    assert (shown[..., 0].min(), shown[..., 0].max()) == pytest.approx((columns[0], columns[1] - 1), abs=1)
    assert (shown[..., 1].min(), shown[..., 1].max()) == pytest.approx((2 * rows[0], 2 * rows[1] - 2), abs=2)


@pytest.mark.parametrize(("name", "kept"), [("crop-middle-70", 70), ("crop-middle-60", 60)])
def test_a_photo_without_its_middle_lacks_those_columns(name: str, kept: int) -> None:
    columns = np.sort(VARIANTS[name](ramp())[50, :, 0].astype(int))
    gap = np.diff(columns).argmax()
    # The seam is drawn by one or two columns in between.
    assert (columns < kept + 8).sum() + (columns > 200 - kept - 8).sum() >= 196
    assert columns[0] <= 1
    assert columns[-1] >= 198
    assert gap


def test_a_chosen_list_and_a_name_of_nothing() -> None:
    assert choose(["blur-2", "crop-edge"])[0] == "blur-2"
    assert len(choose(["blur-2", "crop-edge"])) == 5
    assert choose(["blur-8", "blur"]) == [name for name in VARIANTS if name.startswith("blur")]
    with pytest.raises(ConfigError, match=r"no variant 'jpg'; did you mean 'jpeg'\?"):
        choose(["jpg"])
    with pytest.raises(ConfigError, match="no variant 'crop-'"):
        choose(["crop-"])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos, one of them twice, one black, one truncated, one tiny."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        make_picture(number, 160, 120).save(folder / f"{number}.jpg", quality=95)
    (folder / "copy.jpg").write_bytes((folder / "1.jpg").read_bytes())
    Image.new("RGB", (96, 64)).save(folder / "black.png")
    (folder / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:900])
    Image.new("RGB", (8, 8), "red").save(folder / "tiny.png")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_the_folder_holds_originals_and_variants_and_the_comparisons_say_which(
    photos: Path, tmp_path: Path, photorank: Run
) -> None:
    out = tmp_path / "out"
    done = photorank("comparisons", "degrade", photos, "--out", out, "--long-side", "100", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["photos"], told["series"]) == (6, 3)
    assert {Path(each["path"]).name: each["error"][:20] for each in told["failures"]} == {
        "cut.jpg": "is truncated or dama", "tiny.png": "is smaller than 32 ×",
    }  # fmt: skip
    table = read_comparisons(out / "comparisons.csv")
    assert table["variant"].value_counts().to_dict() == {k: v for k, v in told["comparisons"].items() if v}
    assert told["comparisons"]["blur-1"] == 2  # black stays black
    assert told["comparisons"]["exposure-plus-2"] == 2
    for series, part in table.groupby("series"):
        source = Path(part["source"].iloc[0])
        assert photo_key(read_photo(str(source))).hex().startswith(series)
        original = {row.left if row.p_left == 1 else row.right for row in part.itertuples()}
        assert len(original) == 1
        pixels = np.asarray(Image.open(out / original.pop()))
        reduced = Image.fromarray(decode_photo(read_photo(str(source))).rgb)
        reduced.thumbnail((100, 100), Image.Resampling.LANCZOS)
        assert pixels.shape == (*reduced.size[::-1], 3)
        assert np.abs(pixels.astype(int) - np.asarray(reduced)).mean() < 1
        for row in part.itertuples():
            worse = np.asarray(Image.open(out / (row.right if row.p_left == 1 else row.left)))
            np.testing.assert_array_equal(worse, VARIANTS[row.variant](pixels))
    assert {b"PLTE", b"eXIf", b"tEXt", b"iTXt", b"tIME"}.isdisjoint(
        chunk
        for data in tree(out / "photos").values()
        for chunk in (b"eXIf", b"tEXt", b"iTXt", b"tIME")
        if chunk in data
    )


def test_neither_side_nor_name_gives_the_original_away(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / "p").mkdir(exist_ok=True)
        make_picture(number, 64, 48).save(tmp_path / "p" / f"{number}.png")
    report = degrade([tmp_path / "p"], tmp_path / "out", ["jpeg", "blur"])
    table = read_comparisons(Path(report.comparisons_file))
    assert 0.3 < (table["p_left"] == 1).mean() < 0.7
    originals = {row.left if row.p_left == 1 else row.right for row in table.itertuples()}
    assert len({Path(name).name for name in originals}) > 4
    other = degrade([tmp_path / "p"], tmp_path / "other", ["jpeg", "blur"], seed=1)
    assert list(read_comparisons(Path(other.comparisons_file))["p_left"]) != list(table["p_left"])


@pytest.mark.slow
def test_a_killed_call_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    folder, out, whole = tmp_path / "p", tmp_path / "out", tmp_path / "whole"
    folder.mkdir()
    for number in range(8):
        make_picture(number, 400, 300).save(folder / f"{number}.png")
    command = [sys.executable, "-m", "photorank", "comparisons", "degrade", folder, "--workers", "2", "--out"]
    process = subprocess.Popen([*command, out], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("photos/[!.]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (out / "comparisons.csv").exists()
    made = {each: each.stat().st_mtime_ns for each in out.glob("photos/[!.]*/*.png")}
    assert 0 < len(made) < 8 * 28
    time.sleep(1)  # the processes of the killed one end with their pipes, after the photo in their hands
    subprocess.run([*command, out], check=True, capture_output=True)
    assert all(each.stat().st_mtime_ns == at for each, at in made.items())
    subprocess.run([*command, whole], check=True, capture_output=True)
    assert tree(out) == tree(whole)


def test_another_call_into_the_same_folder_is_refused_and_the_same_one_does_nothing(
    photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # What was made is not made worse again, although it is in the folder that is searched.
    assert degrade([tmp_path], out, QUICK).photos == 6
    before = {each: each.stat().st_mtime_ns for each in out.rglob("*.png")}
    assert degrade([tmp_path], out, QUICK).photos == 6
    assert {each: each.stat().st_mtime_ns for each in out.rglob("*.png")} == before
    for more in ({"variants": ["blur"]}, {"variants": QUICK, "seed": 1}, {"variants": QUICK, "long_side": 64}):
        with pytest.raises(ConfigError, match="or with other variants or settings, and is kept"):
            degrade([tmp_path], out, **more)  # type: ignore[arg-type]
    table = (out / "comparisons.csv").read_bytes()
    with pytest.raises(ConfigError, match="was made of other photos"):
        degrade([next(photos.rglob("*.*"))], out, QUICK)
    assert (out / "comparisons.csv").read_bytes() == table
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already and is kept"):
        degrade([photos], tmp_path / "other")


def test_an_out_that_cannot_be_written_and_a_disk_that_is_full(photos: Path, tmp_path: Path, photorank: Run) -> None:
    (tmp_path / "file").write_text("in the way")
    done = photorank("comparisons", "degrade", photos, "--out", tmp_path / "file" / "out")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"photorank: the variants cannot be written to {tmp_path / 'file' / 'out'}: Not a dir"
    )
    # Files may not grow beyond a few kB: what a full disk looks like, for a process and its children.
    limit = "import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    ignore = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    run = (
        f"import sys; sys.argv[1:] = ['comparisons', 'degrade', {str(photos)!r}, '--out', {str(tmp_path / 'out')!r}]; "
    )
    script = tmp_path / "full.py"
    start = "from photorank.__main__ import main; main()"
    script.write_text(f"if __name__ == '__main__':\n    {limit}{ignore}{run}{start}\n")
    pytest.importorskip("resource", reason="files are limited where there is `resource`")
    full = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert full.stderr.startswith("photorank: the variants cannot be written to")
    assert not list((tmp_path / "out" / "photos").glob("[!.]*"))
    degrade([photos], tmp_path / "out")
    assert not list((tmp_path / "out" / "photos").glob(".*"))


def test_no_photo_and_none_that_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(PhotoError, match="no photos there"):
        degrade([tmp_path / "p"], tmp_path / "out")
    (tmp_path / "p" / "a.jpg").write_bytes(b"\xff\xd8\xff" + os.urandom(50))
    with pytest.raises(PhotoError, match="none of the 1 photos can be used"):
        degrade([tmp_path / "p"], tmp_path / "out")
    assert not (tmp_path / "out" / "comparisons.csv").exists()


def test_fit_head_learns_from_what_was_made(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for number in range(6):
        make_picture(number, 120, 90).save(tmp_path / "p" / f"{number}.png")
    degrade([tmp_path / "p"], tmp_path / "out", ["blur"])
    extract([tmp_path / "out" / "photos"], tmp_path / "S", ExtractConfig())
    report = fit_head(tmp_path / "S", tmp_path / "out" / "comparisons.csv", HeadConfig(epochs=3), tmp_path / "run")
    assert sum(report.comparisons.values()) == 24
    assert pd.read_csv(tmp_path / "out" / "comparisons.csv")["variant"].nunique() == 4
