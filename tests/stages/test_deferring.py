"""A device computes one batch while the next is made ready, and what it computed is committed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from photorank.config import ExtractConfig
from photorank.extractors import Begun, Prepared
from photorank.extractors.device import Forward
from photorank.stages import filling
from photorank.stages.extract import ExtractReport, extract
from photorank.store import FeatureStore
from tests.conftest import make_picture

NET = {"kind": "cnn", "library": "timm", "model": "test_resnet", "weights": "random", "precision": "float32"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(10):
        make_picture(number).save(folder / f"{number}.jpg")
    return folder


def go(photos: Path, store: Path, **more: Any) -> ExtractReport:
    config = {"features": {"net": NET}, "device": "cpu", "batch_size": 4, "workers": 1, **more}
    return extract([photos], store, ExtractConfig.model_validate(config))


class Device:
    """The real network, behind a device that is at a batch until it is waited for."""

    def __init__(self, network: Forward, told: list[str], fails_at: int = -1) -> None:
        self.device, self._network, self._told, self._fails_at = "cpu", network, told, fails_at
        self._begun = 0

    def embed(self, prepared: Sequence[Prepared]) -> np.ndarray:
        raise AssertionError("batches are begun, and waited for later")

    def begin(self, prepared: Sequence[Prepared]) -> Begun:
        number, self._begun = self._begun, self._begun + 1
        self._told.append(f"begin {number}")

        def wait() -> tuple[np.ndarray, float, float]:
            self._told.append(f"end {number}")
            if number == self._fails_at:
                raise RuntimeError("CUDA error: unspecified launch failure")
            return self._network.begin(prepared)()

        return wait


def behind(monkeypatch: pytest.MonkeyPatch, fails_at: int = -1) -> list[str]:
    told: list[str] = []
    real = filling.build
    monkeypatch.setattr(filling, "build", lambda *asked: Device(real(*asked), told, fails_at))
    return told


def stored(store: Path) -> dict[bytes, np.ndarray]:
    keys, rows = FeatureStore.open(store).space("net").load()
    return dict(zip(map(bytes, keys), rows, strict=True))


def test_a_batch_is_begun_before_the_last_one_is_waited_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(photos, tmp_path / "at once")
    told = behind(monkeypatch)
    report = go(photos, tmp_path / "S")
    assert told == ["begin 0", "begin 1", "end 0", "begin 2", "end 1", "end 2"]
    assert report.phases is not None
    assert report.phases.seconds["embed net"] > 0
    wanted = stored(tmp_path / "at once")
    assert stored(tmp_path / "S").keys() == wanted.keys()
    for key, row in stored(tmp_path / "S").items():
        np.testing.assert_array_equal(row, wanted[key])


def test_a_commit_holds_what_the_device_is_at(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = behind(monkeypatch)
    go(photos, tmp_path / "S", commit_rows=1)  # of each photo
    assert told == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]


def test_a_device_that_fails_takes_only_its_batch_with_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        behind(failing, fails_at=2)
        with pytest.raises(RuntimeError, match="unspecified launch failure"):
            go(photos, tmp_path / "S")
    assert FeatureStore.open(tmp_path / "S").verify() == []
    assert len(stored(tmp_path / "S")) == 8
    assert list(go(photos, tmp_path / "S").rows.values()) == [10]
