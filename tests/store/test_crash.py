"""Killed, or without power, at any file operation: the store is as before or as after, never half."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from photorank.errors import StoreError
from photorank.store import FailureRow, FeatureStore, FileRow, PhotoRow, removal
from tests.store import crash_driver
from tests.store.helpers import contents, make_space, some_keys, some_rows
from tests.store.power import KEPT, Disk

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and names files by /proc/self/fd")


@pytest.fixture(autouse=True)
def killed_writers_are_known_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "ABANDONED_SECONDS", 0.0)


def base_store(path: Path) -> FeatureStore:
    """Keys 0 to 3 in two overlapping segments, and in two files of each table."""
    store = FeatureStore.create(path)
    space, keys = make_space(store), some_keys(9)
    for number, part in enumerate((keys[:3], keys[1:4])):
        space.append(part, some_rows(3, seed=number))
        store.add_photos([PhotoRow(key.tobytes(), 1, 1, "PNG", 1) for key in part])
        store.add_files([FileRow(b"/" + key[:1].tobytes(), 1, number, key.tobytes()) for key in part])
        store.add_failures([FailureRow(b"/x", 1, 1, part[1].tobytes(), "", "decode", str(number), "1")])
    return store


def littered_store(path: Path) -> FeatureStore:
    """The same with all that `gc` deletes: what was replaced, and what killed writers left behind."""
    store = base_store(path)
    store.compact()
    space = store.space("clip")
    segment = "ffffffffffff0000-00000000"
    (space.path / "vectors" / segment).mkdir()
    for left in (space.path / "commits" / f".{segment}.tmp", space.path / "vectors" / segment / "c.0.0",
                 store.path / "photos" / f".{segment}.tmp", store.path / "photos" / f".{segment}.mark"):  # fmt: skip
        left.write_bytes(b"12")
    (path / "spaces" / f".{space.path.name}.00000000.tmp" / "vectors").mkdir(parents=True)
    (path / "spaces" / ".other@0123456789abcdef.1.removed" / "commits").mkdir(parents=True)
    return store


def visible(store: FeatureStore) -> dict[str, Any]:
    """Everything that a reader sees; it is an error if anything is damaged or half there."""
    assert store.verify() == []
    photos = {row["key"]: row["width"] for row in store.photos().to_pylist()}
    files = {row["path"]: (row["key"], row["mtime_ns"]) for row in store.files().to_pylist()}
    failures = {row["key"]: row["error"] for row in store.failures().to_pylist()}
    spaces = {space.name: contents(space) for space in store.spaces()}
    return {"photos": photos, "files": files, "failures": failures, "spaces": spaces}


def go_on(store: FeatureStore) -> None:
    """Write on after the crash, twice: what was interrupted, and something new."""
    for operation in ("append", "add_photos", "create_space"):
        crash_driver.OPERATIONS[operation](store)
    store.space("clip").append(some_keys(12)[9:], some_rows(3, seed=2))
    store.add_photos([PhotoRow(some_keys(12)[9].tobytes(), 3, 3, "PNG", 1)])
    seen = visible(store)
    assert set(seen["spaces"]["clip"]) == {key.tobytes() for key in some_keys(12)}
    assert list(seen["photos"].values()) == [1] * 4 + [2] * 5 + [3]
    assert seen["spaces"]["new"] == {}


def nothing_is_left_lying(store: FeatureStore) -> bool:
    return not [
        path for path in store.path.rglob(".*") if path.suffix not in (".mark", ".lock") and path.name != ".lock"
    ]


@dataclass
class Crashes:
    """What `crash_driver` did: `states[k]` after the kill at event k of `log`; the last one was not killed."""

    folder: Path
    log: list[list[str]]
    before: dict[str, Any]
    states: list[dict[str, Any]]

    @property
    def after(self) -> dict[str, Any]:
        return self.states[-1]

    def stores(self, step: int = 1) -> list[FeatureStore]:
        return [FeatureStore.open(self.folder / str(number + 1)) for number in range(0, len(self.states), step)]


def crash(folder: Path, operation: str) -> Crashes:
    """Kill the operation at each of its events."""
    base = (littered_store if operation == "gc" else base_store)(folder / "base")
    before, work = visible(base), folder / "work"
    work.mkdir()
    driver = [sys.executable, "-m", "tests.store.crash_driver", base.path, work, operation]
    subprocess.run(driver, check=True, cwd=Path(__file__).parents[2])
    log = json.loads((work / "log.json").read_text())
    states = [visible(FeatureStore.open(work / str(number + 1))) for number in range(len(log) + 1)]
    kinds = {kind: sum(entry[0] == kind for entry in log) for kind in sorted({entry[0] for entry in log})}
    print(f"{operation}: killed at {len(log)} points: {kinds}")
    return Crashes(work, log, before, states)


def power_cuts(crashes: Crashes, base: Path, folder: Path) -> Iterator[tuple[list[str], FeatureStore]]:
    """Every state after a power cut: the event before which it came, and the store."""
    disk, count, changed = Disk(base), 0, True
    for event in [*crashes.log, ["end", "."]]:
        # The log names what is about to happen (an fsync: what has), so here all before `event` has happened.
        for kept in KEPT if changed or event[0] == "end" else ():
            disk.write_what_is_left(folder, kept=kept)
            yield event, FeatureStore.open(folder)
            shutil.rmtree(folder)
            count += 1
        disk.happen(*event)
        changed = event[0] not in ("before write", "write", "before fsync")  # these leave what a power cut leaves
    print(f"{count} states after a power cut")


@pytest.mark.parametrize("operation", ["append", "add_photos", "create_space", "remove_space"])
def test_killed_it_did_all_or_nothing(tmp_path: Path, operation: str) -> None:
    crashes = crash(tmp_path, operation)
    before, after = crashes.before, crashes.after
    assert before != after
    changes = [number for number, state in enumerate(crashes.states) if state == after]
    assert all(state in (before, after) for state in crashes.states)
    assert changes == list(range(changes[0], len(crashes.states))), "once committed it stays so"
    assert crashes.log[changes[0] - 1][0] == "os.rename", "the commit is a rename"
    if operation == "remove_space":
        for store in crashes.stores():
            crash_driver.remove_space(store)
            store.gc(older_than=0)
            assert visible(store) == after
            assert nothing_is_left_lying(store)
    else:
        for store in crashes.stores(1 if operation == "append" else 3):
            go_on(store)
    for event, store in power_cuts(crashes, tmp_path / "base", tmp_path / "lost"):
        assert visible(store) in ([after] if event[0] == "end" else [before, after]), event


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["compact", "gc"])
def test_killed_it_changed_nothing_that_is_seen(tmp_path: Path, operation: str) -> None:
    crashes = crash(tmp_path, operation)
    assert all(state == crashes.before for state in crashes.states)
    for store in crashes.stores():
        crash_driver.OPERATIONS[operation](store)
        store.gc(older_than=0)
        assert visible(store) == crashes.before
        assert nothing_is_left_lying(store)
        go_on(store)
    for _, store in power_cuts(crashes, tmp_path / "base", tmp_path / "lost"):
        assert visible(store) == crashes.before


@pytest.mark.slow
def test_killed_while_it_forgets(tmp_path: Path) -> None:
    """What is to be forgotten goes step by step and never comes back; the rest is never touched."""
    crashes = crash(tmp_path, "forget")
    forgotten = {key.tobytes() for key in some_keys(9)[1:3]}

    def rest(state: dict[str, Any]) -> dict[str, Any]:
        kept = {name: {k: v for k, v in rows.items() if k not in forgotten} for name, rows in state["spaces"].items()}
        photos = {key: width for key, width in state["photos"].items() if key not in forgotten}
        files = {path: row for path, row in state["files"].items() if row[0] not in forgotten}
        failures = {key: error for key, error in state["failures"].items() if key not in forgotten}
        return {"photos": photos, "files": files, "failures": failures, "spaces": kept}

    def size(state: dict[str, Any]) -> int:
        return sum(len(rows) for rows in (state["photos"], state["files"], state["failures"], state["spaces"]["clip"]))

    assert crashes.after == rest(crashes.before) != crashes.before
    assert all(rest(state) == crashes.after for state in crashes.states)
    sizes = [size(state) for state in crashes.states]
    assert sizes == sorted(sizes, reverse=True)
    secrets = [
        *forgotten,
        *(row.tobytes() for row in some_rows(3)[1:3]),
        *(r.tobytes() for r in some_rows(3, seed=1)[:2]),
    ]
    assert any(secret in path.read_bytes() for secret in secrets for path in crashes.folder.glob("1/**/c.*"))
    for store in crashes.stores():
        crash_driver.forget(store)
        assert visible(store) == crashes.after
        bytes_left = b"".join(path.read_bytes() for path in store.path.rglob("*") if path.is_file())
        assert not any(secret in bytes_left for secret in secrets), "not on the disk any more"
    for event, store in power_cuts(crashes, tmp_path / "base", tmp_path / "lost"):
        assert rest(visible(store)) == crashes.after, event


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
