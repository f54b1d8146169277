"""Killed, or without power, at any file operation: the store is as before or as after, never half."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from photorank.errors import StoreError
from photorank.store import FeatureStore, PhotoRow
from tests.store.helpers import contents, make_space, some_keys, some_rows
from tests.store.power import Disk

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and names files by /proc/self/fd")


def base_store(path: Path) -> FeatureStore:
    store = FeatureStore.create(path)
    make_space(store).append(some_keys(9)[:4], some_rows(4))
    store.add_photos([PhotoRow(key.tobytes(), 1, 1, "PNG", 1) for key in some_keys(9)[:4]])
    return store


def visible(store: FeatureStore) -> dict[str, Any]:
    """Everything that a reader sees; it is an error if anything is damaged or half there."""
    assert store.verify() == []
    photos = {row["key"]: row["width"] for row in store.photos().to_pylist()}
    return {"photos": photos, **{space.name: contents(space) for space in store.spaces()}}


def go_on(store: FeatureStore) -> None:
    """Write on after the crash, twice: what was interrupted, and something new."""
    from tests.store import crash_driver

    for operation in crash_driver.OPERATIONS.values():
        operation(store)
    store.space("clip").append(some_keys(12)[9:], some_rows(3, seed=2))
    store.add_photos([PhotoRow(some_keys(12)[9].tobytes(), 3, 3, "PNG", 1)])
    seen = visible(store)
    assert set(seen["clip"]) == {key.tobytes() for key in some_keys(12)}
    assert list(seen["photos"].values()) == [1] * 4 + [2] * 5 + [3]
    assert seen["new"] == {}


@pytest.mark.parametrize("operation", ["append", "add_photos", "create_space"])
def test_killed_at_every_file_operation(tmp_path: Path, operation: str) -> None:
    before = visible(base_store(tmp_path / "base"))
    work = tmp_path / "work"
    work.mkdir()
    driver = [sys.executable, "-m", "tests.store.crash_driver", tmp_path / "base", work, operation]
    subprocess.run(driver, check=True, cwd=Path(__file__).parents[2])
    log = json.loads((work / "log.json").read_text())
    kills = len(log)
    after = visible(FeatureStore.open(work / str(kills + 1)))
    assert before != after

    seen = [visible(FeatureStore.open(work / str(number))) for number in range(1, kills + 2)]
    changes = [number for number, state in enumerate(seen, start=1) if state == after]
    assert all(state in (before, after) for state in seen)
    assert changes == list(range(changes[0], kills + 2)), "once committed it stays so"
    assert log[changes[0] - 2][0] == "os.rename", "the commit is a rename"
    kinds = {kind: sum(entry[0] == kind for entry in log) for kind in sorted({entry[0] for entry in log})}
    print(f"{operation}: killed at {kills} points: {kinds}; the commit is number {changes[0] - 1}")
    for number in range(1, kills + 2, 1 if operation == "append" else 3):
        go_on(FeatureStore.open(work / str(number)))

    states = 0
    disk = Disk(tmp_path / "base")
    for event in [*log, ["end", "."]]:
        # The log names what is about to happen (an fsync: what has), so here all before `event` has happened.
        for all_names in (True, False):
            disk.write_what_is_left(tmp_path / "lost", all_names=all_names)
            state = visible(FeatureStore.open(tmp_path / "lost"))
            assert state in ([after] if event[0] == "end" else [before, after]), event
            shutil.rmtree(tmp_path / "lost")
            states += 1
        disk.happen(*event)
    print(f"{operation}: {states} states after a power cut")


@pytest.mark.parametrize("fails", ["fsync", "write"])
def test_an_error_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    store = base_store(tmp_path)
    files = sorted(tmp_path.rglob("*"))

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if fails == "fsync":
        real, calls = os.fsync, iter(range(1000))
        # The intent and its folder go through, then the segment's files do not.
        monkeypatch.setattr(os, "fsync", lambda fd: refuse() if next(calls) >= 2 else real(fd))
    else:
        monkeypatch.setattr("photorank.store.commits.write_array", refuse)
    with pytest.raises(StoreError, match=r"6 vectors could not .* the disk is full; .* committed before is kept"):
        store.space("clip").append(some_keys(9)[3:], some_rows(6))
    monkeypatch.undo()
    assert sorted(tmp_path.rglob("*")) == files
    assert store.verify() == []
