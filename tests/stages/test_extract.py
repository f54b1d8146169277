"""extract: what is computed, what is not computed again, what fails and is told."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from photorank import __version__
from photorank.config import ExtractConfig
from photorank.errors import PhotoError
from photorank.extractors.statistics import STATISTICS, statistics
from photorank.photos import decode_photo, photo_key
from photorank.stages import filling, loader, scan
from photorank.stages.extract import ExtractReport, extract
from photorank.store import FailureRow, FeatureStore
from tests.conftest import Run, make_picture

NOT_ROOT = os.name == "nt" or os.geteuid() != 0


def go(folder: Path, store: Path, retry: bool = False, **options: Any) -> ExtractReport:
    return extract([folder], store, ExtractConfig(**options), retry_failed=retry)


def the_space(store: Path) -> Any:
    (space,) = FeatureStore.open(store).spaces()
    return space


def test_vectors_are_the_statistics_of_the_decoded_photos(photo_folder: Path, tmp_path: Path) -> None:
    report = go(photo_folder, tmp_path / "S")
    assert (report.photos, list(report.rows.values()), report.failures) == (6, [6], [])
    space = the_space(tmp_path / "S")
    assert (space.role, space.dim, space.dtype) == ("statistic", len(STATISTICS), np.float32)
    for path in sorted(photo_folder.rglob("*.*")):
        data = path.read_bytes()
        _, rows = space.load([photo_key(data)])
        np.testing.assert_array_equal(rows[0], statistics(decode_photo(data).rgb))


def test_tables_say_what_was_seen_where(photo_folder: Path, tmp_path: Path) -> None:
    Image.open(photo_folder / "series-1" / "IMG_0.jpg").rotate(90, expand=True).save(photo_folder / "tall.jpg")
    go(photo_folder, tmp_path / "S")
    store = FeatureStore.open(tmp_path / "S")
    files = store.files().to_pylist()
    assert sorted(row["path"] for row in files) == sorted(os.fsencode(path) for path in photo_folder.rglob("*.*"))
    for row in files:
        stat = Path(os.fsdecode(row["path"])).stat()
        assert (row["size"], row["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
    sizes = {row["key"]: (row["width"], row["height"], row["format"]) for row in store.photos().to_pylist()}
    assert sizes[photo_key((photo_folder / "tall.jpg").read_bytes())] == (120, 160, "JPEG")


@pytest.mark.usefixtures("in_this_process")
def test_a_second_call_opens_no_file_and_builds_nothing(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = go(photo_folder, tmp_path / "S")

    def never(*_: object) -> None:
        raise AssertionError("nothing was to be done")

    monkeypatch.setattr(loader, "read_photo", never)
    monkeypatch.setattr(filling, "build", never)
    again = go(photo_folder, tmp_path / "S")
    assert (again.unchanged, sum(again.computed.values())) == (6, 0)
    assert again.rows == first.rows
    assert again.keys == first.keys


@pytest.mark.usefixtures("in_this_process")
def test_moved_copied_touched_and_captioned_photos_are_never_decoded_again(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(photo_folder, tmp_path / "S")
    series = photo_folder / "series-1"
    shutil.copy(series / "IMG_0.jpg", photo_folder / "copy.jpg")
    (series / "IMG_1.jpg").rename(series / "renamed.jpg")
    os.utime(series / "IMG_2.png", ns=(1, 1))
    data = (photo_folder / "series-2" / "IMG_0.jpg").read_bytes()
    caption = b"\xff\xfe\x00\x0dA caption.."
    (photo_folder / "series-2" / "IMG_0.jpg").write_bytes(data[:2] + caption + data[2:])

    def never(*_: object) -> None:
        raise AssertionError("these photos are known")

    monkeypatch.setattr(loader, "decode_photo", never)
    report = go(photo_folder, tmp_path / "S")
    assert (sum(report.computed.values()), list(report.rows.values()), report.failures) == (0, [6], [])
    assert len(report.keys) == 7


def test_a_changed_photo_is_extracted_anew(photo_folder: Path, tmp_path: Path) -> None:
    go(photo_folder, tmp_path / "S")
    make_picture(99).save(photo_folder / "series-1" / "IMG_0.jpg")
    report = go(photo_folder, tmp_path / "S")
    assert (list(report.computed.values()), list(report.rows.values()), report.unchanged) == ([1], [7], 5)


def test_a_changed_spec_makes_a_space_of_its_own(photo_folder: Path, tmp_path: Path) -> None:
    def cnn(**options: Any) -> dict[str, Any]:
        return {
            "features": {"cnn": {"kind": "cnn", "model": "resnet18", "weights": "random", **options}},
            "device": "cpu",
        }

    go(photo_folder, tmp_path / "S", **cnn())
    first = the_space(tmp_path / "S").load()
    go(photo_folder, tmp_path / "S", **cnn(resize=224))
    spaces = FeatureStore.open(tmp_path / "S").spaces()
    assert [len(space) for space in spaces] == [6, 6]
    assert {space.spec["preprocessing"]["resize"] for space in spaces} == {224, 256}
    (old,) = [space for space in spaces if space.spec["preprocessing"]["resize"] == 256]
    np.testing.assert_array_equal(old.load()[1], first[1])
    assert not np.array_equal(spaces[0].load(first[0])[1], spaces[1].load(first[0])[1])


def test_auto_precision_is_that_of_the_space_there_is(photo_folder: Path, tmp_path: Path) -> None:
    features = {"cnn": {"kind": "cnn", "model": "resnet18", "weights": "random", "precision": "bfloat16"}}
    go(photo_folder / "series-1", tmp_path / "S", features=features, device="cpu")
    del features["cnn"]["precision"]
    go(photo_folder, tmp_path / "S", features=features, device="cpu")
    space = the_space(tmp_path / "S")
    assert (len(space), space.spec["precision"]) == (6, "bfloat16")


def test_vectors_do_not_depend_on_batches_workers_or_order(photo_folder: Path, tmp_path: Path) -> None:
    features = {"cnn": {"kind": "cnn", "model": "resnet18", "weights": "random"}, "iqa": {"kind": "iqa"}}
    go(photo_folder, tmp_path / "A", features=features, batch_size=4, workers=1, device="cpu")
    for part in ("series-2", "series-1"):
        go(photo_folder / part, tmp_path / "B", features=features, batch_size=4, workers=3, commit_rows=1, device="cpu")
    for one, other in zip(
        FeatureStore.open(tmp_path / "A").spaces(), FeatureStore.open(tmp_path / "B").spaces(), strict=True
    ):
        keys, rows = one.load()
        np.testing.assert_array_equal(other.load(keys)[1], rows)


# EXIF's orientation → how the upright picture was turned before it was stored.
STORED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def test_a_picture_stored_in_each_of_the_eight_orientations_has_one_vector(tmp_path: Path) -> None:
    upright = make_picture(4, 301, 200)
    (tmp_path / "p").mkdir()
    for orientation, turn in STORED.items():
        exif, path = Image.Exif(), tmp_path / "p" / f"{orientation}.png"
        exif[0x0112] = orientation
        (upright if turn is None else upright.transpose(turn)).save(path, exif=exif)
        with Image.open(path) as stored:
            assert ImageOps.exif_transpose(stored).tobytes() == upright.tobytes()  # as others show it
    features = {
        "clip": {"kind": "clip", "model": "ViT-S-32", "weights": "random"},
        "cnn": {"kind": "cnn", "model": "resnet18", "weights": "random"}, "iqa": {"kind": "iqa"},
    }  # fmt: skip
    report = go(tmp_path / "p", tmp_path / "S", features=features, device="cpu", batch_size=4)
    assert (list(report.rows.values()), report.failures) == ([8, 8, 8], [])
    for space in FeatureStore.open(tmp_path / "S").spaces():
        assert np.ptp(space.load()[1], axis=0).max() == 0, space.name


def png_that_lies() -> bytes:
    """A PNG whose header claims 100,000 × 100,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def spoil(folder: Path) -> dict[str, str]:
    """Put a bad file of every kind into the folder: name → a part of what is said of it."""
    good = (folder / "series-1" / "IMG_0.jpg").read_bytes()
    contents = {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"Dear diary, no photo today.\n", "is not an image that photorank can read"),
        "truncated.jpg": (good[: len(good) // 2], "is truncated or damaged"),
        "lying.png": (png_that_lies(), "100000 x 100000 pixels, more than the limit"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    said = {name: text for name, (_, text) in contents.items()}
    if os.name != "nt":
        os.mkfifo(folder / "pipe.jpg")
        (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
        said |= {"pipe.jpg": "is not a regular file", "dangling.jpg": "a link to a file that does not exist"}
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "loop").symlink_to(folder)
    return said


def test_bad_files_are_listed_once_with_their_cause_and_the_others_done(
    photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    said = spoil(photo_folder)
    done = photorank("extract", photo_folder, "--store", tmp_path / "S")
    assert done.returncode == 0, done.stderr
    assert f"{len(said)} of {6 + len(said)} photos failed:" in done.stdout
    lines = done.stdout.splitlines()
    for name, text in said.items():
        (line,) = [line for line in lines if str(photo_folder / name) in line]
        assert text in line
    store = FeatureStore.open(tmp_path / "S")
    assert [len(space) for space in store.spaces()] == [6]
    failures = store.failures().to_pylist()
    assert sorted(os.fsdecode(row["path"]) for row in failures) == sorted(str(photo_folder / name) for name in said)
    assert all(row["error"] and row["version"] and row["fingerprint"] == "" for row in failures)
    assert store.verify() == []
    before = sorted(path for path in (tmp_path / "S").rglob("*"))
    again = photorank("extract", photo_folder, "--store", tmp_path / "S")
    assert again.stdout.startswith(f"nothing to do: 6 of {6 + len(said)} photos are unchanged")
    assert all(text in again.stdout for text in said.values())
    assert sorted(path for path in (tmp_path / "S").rglob("*")) == before  # nothing to do writes nothing


@pytest.mark.usefixtures("in_this_process")
def test_a_known_failure_is_told_but_not_tried_until_it_changes_or_is_asked_for(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = photo_folder / "bad.jpg"
    bad.write_bytes(b"not yet")
    go(photo_folder, tmp_path / "S")
    opened: list[str] = []
    really = loader.read_photo
    monkeypatch.setattr(loader, "read_photo", lambda path: opened.append(path) or really(path))
    assert [failure.path for failure in go(photo_folder, tmp_path / "S").failures] == [str(bad)]
    assert opened == []
    assert len(go(photo_folder, tmp_path / "S", retry=True).failures) == 1
    assert opened == [str(bad)]
    make_picture(5).save(bad)
    report = go(photo_folder, tmp_path / "S")
    assert (report.failures, list(report.rows.values())) == ([], [7])


@pytest.mark.usefixtures("in_this_process")
def test_a_photo_that_did_well_when_it_was_tried_again_has_not_failed(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, really = photo_folder / "series-1" / "IMG_0.jpg", loader.read_photo

    def refused(path: str) -> bytes:
        if path == str(bad):
            raise PhotoError("is in a mood")
        return really(path)

    monkeypatch.setattr(loader, "read_photo", refused)
    assert len(go(photo_folder, tmp_path / "S").failures) == 1
    monkeypatch.setattr(loader, "read_photo", really)
    assert len(go(photo_folder, tmp_path / "S").failures) == 1
    assert go(photo_folder, tmp_path / "S", retry=True).failures == []
    report = go(photo_folder, tmp_path / "S")
    assert (report.failures, report.unchanged, report.phases) == ([], 6, None)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("error", ["cannot be read (Permission denied)", "needs more memory than there is"])
def test_what_may_pass_by_itself_is_tried_by_every_call(
    error: str, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, really = photo_folder / "series-1" / "IMG_0.jpg", loader.read_photo

    def refused(path: str) -> bytes:
        if path == str(bad):
            raise PhotoError(error)
        return really(path)

    monkeypatch.setattr(loader, "read_photo", refused)
    for _ in range(2):
        assert [(failure.path, failure.error) for failure in go(photo_folder, tmp_path / "S").failures] == [
            (str(bad), error)
        ]
    assert len(FeatureStore.open(tmp_path / "S").failures()) == 1
    monkeypatch.setattr(loader, "read_photo", really)
    report = go(photo_folder, tmp_path / "S")
    assert (report.failures, list(report.rows.values())) == ([], [6])


def test_photos_are_tried_again_once_the_extra_that_they_need_is_there(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a HEIC had been met without its extra. (The file is a JPEG: which it is does not matter here.)"""
    path = photo_folder / "series-1" / "IMG_0.jpg"
    error = "is a HEIC photo: pip install 'photorank[heif]'"
    seen = (os.fsencode(path), path.stat().st_size, path.stat().st_mtime_ns)
    store = FeatureStore.create(tmp_path / "S")
    store.add_failures([FailureRow(*seen, None, "", "decode", error, __version__)])
    monkeypatch.setattr(scan, "find_spec", lambda name: None)
    assert [failure.error for failure in go(photo_folder, tmp_path / "S").failures] == [error]
    monkeypatch.setattr(scan, "find_spec", lambda name: name == "pillow_heif")
    report = go(photo_folder, tmp_path / "S")
    assert (report.failures, list(report.rows.values())) == ([], [6])


def test_photos_are_tried_again_once_the_setting_that_refused_them_is_another(
    photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    small, store = tmp_path / "small.yaml", tmp_path / "S"
    for limit in (1000, 2000):
        small.write_text(f"max_pixels: {limit}\n")
        done = photorank("extract", photo_folder, "--store", store, "--config", small)
        assert done.stdout.count(f"has 160 x 120 pixels, more than the limit of {limit}") == 6
    known = go(photo_folder, store, max_pixels=2000)
    assert (len(known.failures), known.phases) == (6, None)
    done = photorank("extract", photo_folder, "--store", store)
    assert (done.returncode, "failed" in done.stdout) == (0, False)
    assert "6 rows, 6 of them new" in done.stdout


def test_only_failures_end_with_status_1_and_json_is_one_object(tmp_path: Path, photorank: Run) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").write_bytes(b"")
    done = photorank("extract", tmp_path / "p", "--store", tmp_path / "S", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failures"][0]["error"] == "is empty"
    assert "all 1 photos failed" in done.stderr


# The command line twice in one process: once as root, so that all is imported (Python may lie in root's home), then as
# an ordinary user, who then cannot start processes that load photos: what these import is imported here too.
AS_AN_ORDINARY_USER = """
import contextlib, io, os, sys
from photorank.__main__ import main
import photorank.photos.decoding, photorank.extractors.iqa, photorank.photos.preprocessing

def run(*arguments):
    sys.argv = ["photorank", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code

folder, out = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    assert not run("extract", folder + "/series-2", "--store", out + "/warm")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(run("extract", folder, "--store", out + "/S"))
"""


@pytest.mark.skipif(NOT_ROOT, reason="needs root, to become a user who may not read a file")
def test_a_file_that_may_not_be_read_is_listed(photo_folder: Path) -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest keeps its folders to its own user
        folder, out = Path(made) / "photos", Path(made) / "out"
        shutil.copytree(photo_folder, folder)
        locked = folder / "series-1" / "IMG_0.jpg"
        locked.chmod(0)
        out.mkdir()
        out.chmod(0o777)
        Path(made).chmod(0o755)
        command = [sys.executable, "-c", AS_AN_ORDINARY_USER, folder, out]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"{locked}: cannot be read (Permission denied)" in done.stdout
        assert len(the_space(out / "S")) == 5


@pytest.mark.skipif(
    os.name == "nt" or sys.platform == "darwin", reason="names that are no text need a Linux file system"
)
def test_names_that_are_no_text_survive(tmp_path: Path, photorank: Run) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    names = [b"line\nbreak.png", b"latin-\xe9.png", b"quote'\".png"]
    for number, name in enumerate(names):
        make_picture(number).save(folder / os.fsdecode(name), "PNG")
    (folder / os.fsdecode(b"bad\xff\n.jpg")).write_bytes(b"x")
    done = photorank("extract", folder, "--store", tmp_path / "S")
    assert done.returncode == 0, done.stderr
    assert r"bad\udcff\n.jpg: is not an image" in done.stdout
    paths = {row["path"] for row in FeatureStore.open(tmp_path / "S").files().to_pylist()}
    assert paths == {os.fsencode(folder) + b"/" + name for name in names}


def test_a_folder_without_photos_and_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "notes.txt").write_text("no photo")
    with pytest.raises(PhotoError, match="there are no photos there"):
        go(tmp_path / "p", tmp_path / "S")
    with pytest.raises(PhotoError, match="does not exist"):
        go(tmp_path / "nowhere", tmp_path / "S")
    assert not (tmp_path / "S").exists()


@pytest.mark.usefixtures("in_this_process")
def test_a_vector_that_is_not_finite_is_a_failure_of_that_feature_alone(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes(rgb: np.ndarray) -> np.ndarray:
        values = statistics(rgb)
        values[0] = np.inf if rgb[0, 0, 0] == decode_photo(target.read_bytes()).rgb[0, 0, 0] else values[0]
        return values

    target = photo_folder / "series-2" / "IMG_2.png"
    monkeypatch.setattr("photorank.extractors.iqa.statistics", sometimes)
    report = go(photo_folder, tmp_path / "S")
    (failure,) = report.failures
    assert (failure.path, failure.stage) == (str(target), "iqa")
    assert "not finite" in failure.error
    assert list(report.rows.values()) == [5]
    (row,) = FeatureStore.open(tmp_path / "S").failures().to_pylist()
    assert row["fingerprint"] == the_space(tmp_path / "S").fingerprint
    assert [failure.path for failure in go(photo_folder, tmp_path / "S").failures] == [str(target)]


@pytest.mark.usefixtures("in_this_process")
def test_every_copy_of_a_photo_that_gets_no_vector_is_listed_at_once(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(rgb: np.ndarray) -> np.ndarray:
        return np.full_like(statistics(rgb), np.nan if rgb[0, 0, 0] == first else 0)

    target = photo_folder / "series-2" / "IMG_2.png"
    first = decode_photo(target.read_bytes()).rgb[0, 0, 0]
    copies = [photo_folder / "a.png", target, photo_folder / "z.png"]
    for copy in (copies[0], copies[2]):
        shutil.copy(target, copy)
    monkeypatch.setattr("photorank.extractors.iqa.statistics", bad)
    report = go(photo_folder, tmp_path / "S")
    assert sorted(failure.path for failure in report.failures) == sorted(map(str, copies))
    assert {(failure.stage, failure.features) for failure in report.failures} == {("iqa", ("iqa",))}
    assert go(photo_folder, tmp_path / "S").failures == report.failures


def many_photos(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        make_picture(number, 96, 72).save(folder / f"{number:03d}.png", compress_level=0)


def test_after_any_kill_the_next_runs_end_with_the_rows_of_an_undisturbed_one(tmp_path: Path) -> None:
    """20 SIGKILLs; at least 5 are shown to land between the first byte of a segment and its commit."""
    many_photos(tmp_path / "p", 60)
    config = tmp_path / "small.yaml"
    config.write_text("commit_rows: 3\nworkers: 1\n")
    command = [sys.executable, "-m", "photorank", "extract", tmp_path / "p", "--config", config, "--store"]
    subprocess.run([*command, tmp_path / "undisturbed"], check=True, capture_output=True)
    store, within, kills = tmp_path / "killed", 0, 0
    while kills < 20:
        if kills % 4 == 0 and store.exists():  # so that there is always work left in which to be killed
            shutil.rmtree(store)
        before = open_segments(store)
        with subprocess.Popen([*command, store], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + (60 if kills % 4 else 0.4 + 0.1 * kills)
            try:
                while process.poll() is None and time.monotonic() < deadline and not open_segments(store) - before:
                    time.sleep(0.0002)
                assert process.poll() is None, "the run ended before it could be killed"
            finally:
                process.kill()
        kills += 1
        within += bool(open_segments(store) - before)
    done = subprocess.run([*command, store], check=True, capture_output=True, text=True)
    assert "60 rows" in done.stdout
    print(f"{kills} kills, {within} between the first byte of a segment and its commit")
    assert within >= 5
    keys, rows = the_space(tmp_path / "undisturbed").load()
    killed = the_space(store)
    assert len(killed) == len(keys)
    np.testing.assert_array_equal(killed.load(keys)[1], rows)
    assert FeatureStore.open(store).verify() == []
    for table in ("files", "photos"):
        one, other = (getattr(FeatureStore.open(path), table)() for path in (tmp_path / "undisturbed", store))
        assert sorted(map(str, one.to_pylist())) == sorted(map(str, other.to_pylist()))


def open_segments(store: Path) -> set[str]:
    """Segments that have bytes but no commit record yet."""
    found = set()
    for space in store.glob("spaces/[!.]*"):
        for segment in (space / "vectors").glob("*-*"):
            # os.walk and not rglob: the run may be removing what is looked at.
            begun = any(files for _, _, files in os.walk(segment))
            if begun and not (space / "commits" / f"{segment.name}.parquet").exists():
                found.add(segment.name)
    return found


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_ends_cleanly_and_says_what_is_kept(tmp_path: Path) -> None:
    many_photos(tmp_path / "p", 400)
    config = tmp_path / "small.yaml"
    config.write_text("commit_rows: 3\nworkers: 1\n")
    store = tmp_path / "S"
    command = [sys.executable, "-m", "photorank", "extract", tmp_path / "p", "--config", config, "--store", store]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(store.glob("spaces/[!.]*/commits/[!.]*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the vectors computed so far are kept" in stderr
    assert "Traceback" not in stderr
    assert 0 < len(the_space(store)) < 400
    assert FeatureStore.open(store).verify() == []
