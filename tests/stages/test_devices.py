"""Several devices: the same vectors as on one, and an end that is told. (Two processes on the processor stand in.)"""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from photorank.config import CnnConfig, ExtractConfig, IqaConfig
from photorank.errors import ConfigError, PhotorankError
from photorank.extractors import Resized
from photorank.extractors.device import Forward, resolve_devices
from photorank.photos.preprocessing import Preprocessing
from photorank.stages import devices
from photorank.stages.extract import ExtractReport, extract
from photorank.store import FeatureStore
from tests.conftest import make_picture

NETWORK = CnnConfig(model="resnet18", weights="random", precision="float32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(11):
        make_picture(number).save(tmp_path / "photos" / f"{number:02d}.png")
    return tmp_path / "photos"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes of devices."""
    made: list[subprocess.Popen[bytes]] = []
    really = devices._start
    monkeypatch.setattr(devices, "_start", lambda: made.append(really()) or made[-1])
    return made


def go(photos: Path, store: Path, device: str, profile: Path | None = None, **features: Any) -> ExtractReport:
    config = ExtractConfig(features=features or {"net": NETWORK}, device=device, batch_size=2)
    return extract([photos], store, config, profile=profile)


def test_vectors_are_those_of_one_device(photos: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    features = {
        "net": NETWORK,
        "other": CnnConfig(model="resnet18", layer="layer2", weights="random"),
        "iqa": IqaConfig(),
    }
    go(photos, tmp_path / "one", "cpu", **features)
    assert started == []
    report = go(photos, tmp_path / "two", "cpu,cpu", tmp_path / "trace.json", **features)
    assert len(started) == 2 and all(process.poll() is not None for process in started)
    assert report.failures == [] and list(report.computed.values()) == [11, 11, 11]
    assert report.phases is not None and report.phases.devices == 2
    one, two = (FeatureStore.open(tmp_path / name) for name in ("one", "two"))
    for space in one.spaces():
        same = next(each for each in two.spaces() if each.path.name == space.path.name)
        keys, rows = space.load()
        np.testing.assert_array_equal(same.load(keys)[1], rows)
    events = json.loads((tmp_path / "trace.json").read_text())
    builds = [event for event in events if event["name"] == "build net"]
    assert len(builds) == 2, "each device builds the model"
    assert {event["args"]["name"] for event in events if event["name"] == "thread_name"} >= {"models on cpu", "writing"}
    assert go(photos, tmp_path / "two", "cpu,cpu", **features).computed == dict.fromkeys(report.computed, 0)
    assert len(started) == 2, "nothing to do starts nothing"


@pytest.mark.parametrize("device", ["meta", "vulkan", "hpu", "nowhere"])
def test_what_is_no_device_here_is_a_sentence(device: str) -> None:
    with pytest.raises(ConfigError, match=f"the device '{device}' is not to be had here; use --device cpu or auto"):
        resolve_devices(device)


def test_a_device_that_is_not_there_is_told(
    photos: Path, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    with pytest.raises(PhotorankError, match="the device 'cuda:77' is not to be had here"):
        go(photos, tmp_path / "S", "cpu,cuda:77")
    assert len(started) == 2 and all(process.poll() is not None for process in started)
    assert len(FeatureStore.open(tmp_path / "S").files()) > 0
    assert list(go(photos, tmp_path / "S", "cpu").rows.values()) == [11]


SPOILED = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
from photorank.stages import devices
begun = 0
really = devices.begin
def begin(*given):
    global begun
    begun += 1
    if begun == 3:
        os._exit(9)
    return really(*given)
devices.begin = begin
devices.main()
"""

WATCHED = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
from photorank.stages import devices
really = devices.begin
def begin(*given):
    told("begin")
    wait = really(*given)
    def ended():
        told("end")
        return wait()
    return ended
def told(what):
    with open(FOLDER + f"/{os.getpid()}", "a") as file:
        print(what, file=file)
devices.begin = begin
devices.main()
"""


def test_a_device_has_begun_on_a_batch_before_the_last_one_is_fetched(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told").mkdir()
    monkeypatch.setattr(devices, "_START", WATCHED.replace("FOLDER", repr(str(tmp_path / "told"))))
    assert list(go(photos, tmp_path / "S", "cpu,cpu").rows.values()) == [11]
    told = [file.read_text().split() for file in (tmp_path / "told").iterdir()]
    assert sum(each.count("begin") for each in told) == sum(each.count("end") for each in told) == 6
    # By the time that a process had started, two batches were at hand for it.
    assert any(each[:3] == ["begin", "begin", "end"] for each in told)


def test_a_process_that_ends_loses_no_more_than_what_was_not_committed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as spoiled:
        spoiled.setattr(devices, "_START", SPOILED)
        with pytest.raises(PhotorankError, match=r"computed net on cpu ended \(status 9\); the same call goes on"):
            go(photos, tmp_path / "S", "cpu,cpu")
    store = FeatureStore.open(tmp_path / "S")
    assert store.verify() == []
    assert 0 < sum(len(space) for space in store.spaces()) < 11
    assert list(go(photos, tmp_path / "S", "cpu,cpu").rows.values()) == [11]


def test_auto_is_every_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_devices("cpu") == ["cpu"]
    assert resolve_devices("cuda:0, cuda:2") == ["cuda:0", "cuda:2"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert resolve_devices("auto") == ["cuda:0", "cuda:1", "cuda:2"]


def test_a_batch_that_memory_does_not_hold_is_a_sentence() -> None:
    def network(batch: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    spec = {"precision": "float32", "preprocessing": {"mean": [0.0] * 3, "std": [1.0] * 3}}
    prepare = Resized(Preprocessing("squash", (4, 4), (4, 4)))
    with pytest.raises(ConfigError, match=r"memory of cpu does not hold a batch of 8 photos; .* say --batch-size 4"):
        Forward(network, spec, prepare, "cpu", 8).embed([(np.zeros((4, 4, 3), np.uint8),)])
