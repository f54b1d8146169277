"""Photos loaded by other processes: whatever happens to one of these costs its own photo only."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from photorank.config import CnnConfig, ExtractConfig, IqaConfig
from photorank.errors import ConfigError
from photorank.extractors import Feature, describe
from photorank.photos import photo_key
from photorank.photos.finding import find_photos
from photorank.stages import child, loader
from photorank.stages.child import LoadOptions
from photorank.stages.extract import ExtractReport, extract
from photorank.stages.loader import Loaded
from photorank.stages.loading import LoaderPool
from photorank.store import FeatureStore
from tests.conftest import make_picture

OPTIONS = LoadOptions(max_pixels=10**8, processes=2, queued=4, photo_seconds=60)

# A child whose decoder does what it should not, on photos of such a name.
SPOILED = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
from photorank.stages import child, loader
really = loader.read_photo
def read_photo(path):
    name = os.path.basename(path)
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in name:
        os._exit(3)
    while "hang" in name:
        time.sleep(1)
    print("something that a library prints")
    return really(path)
loader.read_photo = read_photo
loader.main()
"""


# A child that takes two seconds of its own time for a photo.
SLOW = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
from photorank.stages import loader
really = loader.read_photo
def read_photo(path):
    open(path + ".begun", "w").close()
    for _ in range(20):
        time.sleep(0.1)
    return really(path)
loader.read_photo = read_photo
loader.main()
"""


def go(folder: Path, store: Path, **options: Any) -> ExtractReport:
    return extract([folder], store, ExtractConfig(**options))


def pool(features: list[Feature] | None = None, **options: Any) -> LoaderPool:
    given = {**OPTIONS.__dict__, **options}
    return LoaderPool(features or [describe("iqa", IqaConfig())], LoadOptions(**given))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_decoder_that_crashes_or_hangs_costs_its_own_photo_only(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("crash", "exit", "hang"):
        make_picture(7).save(photo_folder / f"{name}.png")
    monkeypatch.setattr(loader, "COMMAND", [sys.executable, "-c", SPOILED])
    report = go(photo_folder, tmp_path / "S", photo_seconds=2)
    assert {Path(failure.path).stem: failure.error for failure in report.failures} == {
        "crash": f"ended the process that loaded it (signal {signal.SIGSEGV.value})",
        "exit": "ended the process that loaded it (status 3)",
        "hang": "was given up: it was not loaded within 2 s",
    }
    assert list(report.rows.values()) == [6]
    monkeypatch.undo()
    again = go(photo_folder, tmp_path / "S", photo_seconds=2)
    assert (again.failures, again.phases) == (report.failures, None)
    longer = go(photo_folder, tmp_path / "S", photo_seconds=60)  # only for the one that took too long
    assert [Path(failure.path).stem for failure in longer.failures] == ["crash", "exit"]
    retried = extract([photo_folder], tmp_path / "S", ExtractConfig(), retry_failed=True)
    assert (retried.failures, list(retried.rows.values())) == ([], [7])


def test_where_no_process_can_be_started_photos_are_loaded_in_this_one(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loader, "COMMAND", [str(tmp_path / "nowhere")])
    assert list(go(photo_folder, tmp_path / "S").rows.values()) == [6]
    assert "no other can be started" in caplog.text
    monkeypatch.setattr(loader, "COMMAND", [sys.executable, "-c", "raise SystemExit(1)"])
    assert list(go(photo_folder, tmp_path / "T").rows.values()) == [6]
    one, other = (FeatureStore.open(tmp_path / name).space("iqa") for name in "ST")
    np.testing.assert_array_equal(one.load(other.keys())[1], other.load()[1])


def test_what_cannot_be_prepared_is_said_before_any_photo(photo_folder: Path) -> None:
    feature = describe("iqa", IqaConfig())
    feature.spec["statistics"]["version"] = 0
    files, _ = find_photos([photo_folder])
    with pytest.raises(ConfigError, match="of version 0"), pool([feature]) as broken:
        list(broken.load(files, lambda key: [0]))


def test_a_photo_that_one_extractor_refuses_is_done_by_the_others(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    make_picture(1, 4000, 1).save(tmp_path / "p" / "line.png")
    make_picture(2).save(tmp_path / "p" / "fine.png")
    features = {"cnn": CnnConfig(model="resnet18", weights="random", resize=20_000), "iqa": IqaConfig()}
    report = go(tmp_path / "p", tmp_path / "S", features=features, device="cpu", max_pixels=10**9)
    by_path = {(Path(each.path).name, each.stage): each.error for each in report.failures}
    assert set(by_path) == {("line.png", "cnn"), ("fine.png", "cnn")}
    assert "is too narrow to be resized" in by_path["line.png", "cnn"]
    assert {ref.split("@")[0]: rows for ref, rows in report.rows.items()} == {"cnn": 0, "iqa": 2}


def test_loading_waits_for_whoever_takes_the_photos(tmp_path: Path) -> None:
    for number in range(30):
        make_picture(number, 40, 30).save(tmp_path / f"{number:02d}.png")
    files, _ = find_photos([tmp_path])
    asked: list[bytes] = []

    def lacking(key: bytes) -> list[int]:
        asked.append(key)
        return [0]

    with pool(queued=4) as few:
        taken = few.load(files, lacking)
        next(taken)
        time.sleep(1.5)
        assert len(asked) <= 1 + 4 + 2  # taken, waiting, in the two processes
        assert len({file.path for file, _ in taken}) == 29
    assert len(asked) == 30


def test_no_photo_is_begun_while_loading_is_held(tmp_path: Path) -> None:
    for number in range(60):
        make_picture(number, 400, 300).save(tmp_path / f"{number:02d}.png")
    asked: list[bytes] = []
    files, _ = find_photos([tmp_path])
    with pool(queued=1000) as some:
        loaded = some.load(files, lambda key: asked.append(key) or [0])
        next(loaded)
        with some.hold():
            before = len(asked)
            time.sleep(1)
            assert before < 50  # else there was nothing to hold back
            assert len(asked) <= before + OPTIONS.processes  # those that had begun
        assert len(list(loaded)) == len(asked) - 1 == 59


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_time_in_which_all_stood_still_is_not_a_photos(photo_folder: Path) -> None:
    """Ctrl-Z, and on with it much later."""
    code = f"""
import sys
from photorank.config import IqaConfig
from photorank.extractors import describe
from photorank.photos.finding import find_photos
from photorank.stages import child, loader
from photorank.stages.child import LoadOptions
from photorank.stages.loading import LoaderPool
loader.COMMAND = [sys.executable, "-c", {SLOW!r}]
with LoaderPool([describe("iqa", IqaConfig())], LoadOptions(10**8, 2, 4, 4.0)) as pool:
    for file, loaded in pool.load(find_photos([{str(photo_folder)!r}])[0][:2], lambda key: [0]):
        print(loaded.failure, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(photo_folder.rglob("*.begun")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(6)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0].splitlines() == ["None", "None"]


def test_no_process_is_left_when_the_taker_fails(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    really = subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> Any:
        started.append(really(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(child.subprocess, "Popen", popen)
    files, _ = find_photos([photo_folder])
    with pytest.raises(RuntimeError, match="full"), pool() as some:
        for _ in some.load(files, lambda key: [0]):
            raise RuntimeError("full")
    with pytest.raises(ValueError, match="asked"), pool() as some:
        list(some.load(files, lambda key: (_ for _ in ()).throw(ValueError("asked"))))
    assert len(started) >= 2
    assert all(process.poll() is not None for process in started)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up in /proc")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    for number in range(200):
        make_picture(number, 200, 150).save(tmp_path / f"{number:03d}.png", compress_level=0)
    command = [sys.executable, "-m", "photorank", "extract", tmp_path, "--store", tmp_path / "S"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(children := children_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(children) >= 2
    process.kill()
    process.wait()
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


@given(
    st.lists(arrays(st.sampled_from([np.uint8, np.float32, np.int64]), array_shapes(min_side=0)), max_size=4),
    st.text(),
)
@settings(max_examples=60, deadline=None)
def test_messages_come_back_as_they_were(sent: list[np.ndarray], text: str) -> None:
    stream = io.BytesIO()
    for _ in range(2):
        loader.send(stream, {"text": text}, sent)
    stream.seek(0)
    for _ in range(2):
        header, got = loader.receive(stream)
        assert header == {"text": text}
        assert [(a.dtype, a.shape, a.tobytes()) for a in got] == [(a.dtype, a.shape, a.tobytes()) for a in sent]
    with pytest.raises(EOFError):
        loader.receive(stream)


def test_what_was_loaded_is_packed_whole(photo_folder: Path) -> None:
    path = photo_folder / "series-1" / "IMG_0.jpg"
    features = [describe("iqa", IqaConfig()), describe("cnn", CnnConfig(weights="random"))]
    loaded = loader.Loader(features, 10**8).load(str(path), lambda key: [0, 1])
    assert loaded.key == photo_key(path.read_bytes())
    assert [phase for phase, _, _ in loaded.spans] == ["read and hash", "decode", "prepare iqa", "prepare cnn"]
    assert loaded.photo == (160, 120, "JPEG", 1)
    header, sent = loader.pack(loaded)
    back = loader.unpack(loaded.key, json.loads(json.dumps(header)), sent)
    for name in ("key", "details", "photo", "failure", "refused", "spans"):
        assert getattr(back, name) == getattr(loaded, name)
    for number in (0, 1):
        np.testing.assert_array_equal(back.prepared[number][0], loaded.prepared[number][0])
    failed = loader.Loader(features, 10).load(str(path), lambda key: [0])
    assert failed.failure is not None
    assert failed.failure[0] == "decode"
    assert loader.unpack(None, json.loads(json.dumps(loader.pack(Loaded(failure=("a", "b")))[0])), []).failure == (
        "a",
        "b",
    )


def test_fast_and_exact_decoding_side_by_side(tmp_path: Path) -> None:
    """A feature that is content with fewer pixels gets them, and takes none from one that wants all."""
    make_picture(3, 3000, 2000).save(tmp_path / "big.jpg", quality=90)
    exact = describe("exact", CnnConfig(weights="random"))
    fast = Feature("fast", {**exact.spec, "decode": "fast"}, exact.role, exact.dtype)
    both = loader.Loader([fast, exact], 10**8).load(str(tmp_path / "big.jpg"), lambda key: [0, 1])
    assert [phase for phase, _, _ in both.spans].count("decode") == 2
    assert both.photo == (3000, 2000, "JPEG", 1)
    alone = loader.Loader([exact], 10**8).load(str(tmp_path / "big.jpg"), lambda key: [0])
    np.testing.assert_array_equal(both.prepared[1][0], alone.prepared[0][0])
    difference = np.abs(both.prepared[0][0].astype(int) - alone.prepared[0][0])
    assert 0 < difference.mean() < 2
    assert both.prepared[0][0].shape == (224, 224, 3)


TURNED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNED)
def test_fewer_pixels_are_cut_where_all_of_them_would_be(orientation: int, tmp_path: Path) -> None:
    """Also where the last row and column stand over the photo's edge: 1,601 and 2,259 pixels are no whole eighths."""
    exif, turn, upright = Image.Exif(), TURNED[orientation], make_picture(8, 2259, 1601)
    exif[0x0112] = orientation
    stored = upright if turn is None else upright.transpose(turn)
    stored.save(tmp_path / "a.jpg", quality=95, subsampling=0, exif=exif)
    features = [
        describe("exact", CnnConfig(weights="random", resize=224)),
        describe("fast", CnnConfig(weights="random", resize=224, decode="fast")),
    ]
    loaded = loader.Loader(features, 10**8).load(str(tmp_path / "a.jpg"), lambda key: [0, 1])
    exact, fast = (loaded.prepared[number][0].astype(int) for number in (0, 1))
    assert 0 < np.abs(exact - fast).mean() < 0.25  # without care for the edge 0.39 and more


def mixed_photos(folder: Path) -> dict[str, bool]:
    """Photos in a new folder: name → whether fewer pixels can be decoded of it."""
    folder.mkdir()
    make_picture(1, 1601, 1101).save(folder / "large.jpg", quality=90)
    make_picture(2, 1100, 1650).save(folder / "progressive.jpg", quality=85, progressive=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    make_picture(3, 1400, 1100).save(folder / "turned.jpg", quality=90, exif=exif)
    make_picture(4, 300, 200).save(folder / "small.jpg")
    make_picture(5, 1500, 1000).convert("L").save(folder / "grey.jpg")
    make_picture(6, 1500, 1000).save(folder / "large.png", compress_level=1)
    make_picture(7, 1500, 1000).save(folder / "large.webp", quality=90)
    few = {"large.jpg", "progressive.jpg", "turned.jpg"}
    return {path.name: path.name in few for path in folder.iterdir()}


def vectors_of(store: Path, name: str, keys: list[bytes]) -> np.ndarray:
    rows: np.ndarray = FeatureStore.open(store).space(name).load(keys)[1]
    return rows


@pytest.mark.slow
def test_a_vector_does_not_depend_on_what_else_was_asked_for(tmp_path: Path) -> None:
    """Features that decode fast and exactly, in one call, each alone, and one after the other: bit for bit."""
    can_be_fewer = mixed_photos(tmp_path / "p")
    keys = [photo_key((tmp_path / "p" / name).read_bytes()) for name in can_be_fewer]
    small = {"weights": "random", "precision": "float32"}
    features = {
        "fast": CnnConfig(model="resnet18", decode="fast", **small),  # type: ignore[arg-type]
        "exact": CnnConfig(model="resnet18", **small),  # type: ignore[arg-type]
        "fast-padded": CnnConfig(model="resnet18", decode="fast", preprocessing="paper", size=96, **small),  # type: ignore[arg-type]
        "fast-timm": CnnConfig(library="timm", model="test_vit", decode="fast", **small),  # type: ignore[arg-type]
        "iqa": IqaConfig(),
    }
    backwards = dict(reversed(features.items()))
    go(tmp_path / "p", tmp_path / "mixed", features=features, device="cpu", batch_size=4)
    go(tmp_path / "p", tmp_path / "backwards", features=backwards, device="cpu", batch_size=4)
    for name, feature in features.items():
        go(tmp_path / "p", tmp_path / "alone" / name, features={name: feature}, device="cpu", batch_size=4)
        go(tmp_path / "p", tmp_path / "one by one", features={name: feature}, device="cpu", batch_size=4)
        alone = vectors_of(tmp_path / "alone" / name, name, keys)
        for store in ("mixed", "backwards", "one by one"):
            np.testing.assert_array_equal(vectors_of(tmp_path / store, name, keys), alone, f"{name} {store}")
    spaces = {space.name: space.spec for space in FeatureStore.open(tmp_path / "mixed").spaces()}
    assert {name: spec["decode"] for name, spec in spaces.items()} == {
        "fast": "fast", "exact": "exact", "fast-padded": "fast", "fast-timm": "fast", "iqa": "exact",
    }  # fmt: skip
    exact, fast = (vectors_of(tmp_path / "mixed", name, keys) for name in ("exact", "fast"))
    differ = dict(zip(can_be_fewer, (exact != fast).any(1).tolist(), strict=True))
    assert differ == can_be_fewer
    lengths = np.linalg.norm(exact.astype(float), axis=1) * np.linalg.norm(fast.astype(float), axis=1)
    assert ((exact.astype(float) * fast).sum(1) / lengths).min() > 0.999


def test_models_of_empty_spaces_are_built_while_the_processes_start(photo_folder: Path, tmp_path: Path) -> None:
    features = {"cnn": CnnConfig(model="resnet18", weights="random"), "iqa": IqaConfig()}

    def first(name: str, trace: Path) -> float:
        events = json.loads(trace.read_text())
        return min(float(event["ts"]) for event in events if event["name"] == name)

    config, trace = ExtractConfig(features=features, device="cpu"), tmp_path / "trace.json"
    extract([photo_folder], tmp_path / "S", config, profile=trace)
    assert first("build cnn", trace) < first("read and hash", trace)
    make_picture(9).save(photo_folder / "another.png")
    extract([photo_folder], tmp_path / "S", config, profile=trace)  # of a space with vectors this could be a copy
    assert first("build cnn", trace) > first("read and hash", trace)
    (photo_folder / "copy.png").write_bytes((photo_folder / "another.png").read_bytes())
    report = extract([photo_folder], tmp_path / "S", config)
    assert report.phases is not None
    assert "build cnn" not in report.phases.seconds


def test_the_profile_is_a_trace_of_all_phases(photo_folder: Path, tmp_path: Path) -> None:
    report = extract([photo_folder], tmp_path / "S", ExtractConfig(workers=2), profile=tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())
    assert {event["ph"] for event in events} == {"X", "M"}
    lanes = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert lanes - {"loading 1", "loading 2"} == {"models", "writing"}
    spans = sorted((event["tid"], event["ts"], event["ts"] + event["dur"]) for event in events if event["ph"] == "X")
    overlaps = [
        (one, other) for one, other in itertools.pairwise(spans) if one[0] == other[0] and other[1] < one[2] - 1
    ]
    assert not overlaps, "what is done at once is drawn in rows of its own"
    counts = {name: sum(event["name"] == name for event in events) for name in ("read and hash", "decode", "write")}
    assert counts["read and hash"] == counts["decode"] == 6
    assert counts["write"] >= 1
    assert report.phases is not None
    assert set(report.phases.seconds) == {"read and hash", "decode", "prepare iqa", "build iqa", "embed iqa", "write"}
    assert all(0 <= share <= 1.05 for share in report.phases.busy.values())
    assert extract([photo_folder], tmp_path / "S", ExtractConfig()).phases is None
    with pytest.raises(ConfigError, match=r"the profile .* cannot be written"):
        extract([photo_folder], tmp_path / "S", ExtractConfig(), profile=tmp_path / "no" / "trace.json")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(160, 120), (161, 119), (17, 33), (1, 1), (8, 300)])
def test_quick_decoding_gives_pillows_pixels(subsampling: int, progressive: bool, size: tuple[int, int]) -> None:
    from photorank.photos import decode_photo

    for quality in (30, 95):
        file = io.BytesIO()
        make_picture(1, *size).save(
            file, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive, restart_marker_blocks=4
        )
        with Image.open(file) as image:
            np.testing.assert_array_equal(decode_photo(file.getvalue()).rgb, np.asarray(image))
