"""Everything that can be done to a store, in any order, killed anywhere, against a plain dict."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from photorank.errors import MissingKeyError, StoreError
from photorank.store import FeatureStore, FileRow
from tests.store.helpers import contents, make_space, some_keys
from tests.store.killing import run_killed

POOL = some_keys(24)
POOL[8:16, :8] = POOL[0, :8]  # equal first bytes

numbers = st.lists(st.integers(0, 23), max_size=10, unique=True)
kills = st.none() | st.integers(0, 12) | st.integers(0, 60)


class StoreAgainstDict(RuleBasedStateMachine):
    """`model`: the space's rows by key in store order; `seen`: the files table by path."""

    @initialize(chunk_bytes=st.sampled_from([24, 60, 32 << 20]), small_bytes=st.sampled_from([40, 256 << 20]))
    def start(self, chunk_bytes: int, small_bytes: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("photorank.store.arrays.CHUNK_BYTES", chunk_bytes)
        self.patch.setattr("photorank.store.reading._THREADS_PAY", chunk_bytes)
        self.patch.setattr("photorank.store.reading._BLOCK_BYTES", chunk_bytes)
        self.patch.setattr("photorank.store.compaction.SMALL_BYTES", small_bytes)
        self.patch.setattr("photorank.store.removal.ABANDONED_SECONDS", 0.0)
        self.folder = tempfile.TemporaryDirectory()
        self.store = FeatureStore.create(self.folder.name)
        self.space = make_space(self.store)
        self.model: dict[bytes, tuple[float, ...]] = {}
        self.seen: dict[bytes, bytes] = {}
        self.value = 0.0

    def attempt(self, operation: Callable[[], object], kill: int | None) -> bool:
        """Do it; whether it was killed. What was opened before the kill is of no use any more."""
        if kill is None:
            operation()
            return False
        killed = run_killed(self.folder.name, operation, kill)
        if killed:
            self.store = FeatureStore.open(self.folder.name)
            self.space = make_space(self.store)
        return killed

    @rule(numbers=numbers, kill=kills, by_new=st.booleans())
    def append(self, numbers: list[int], kill: int | None, by_new: bool) -> None:
        rows = (self.value + np.arange(len(numbers) * 3, dtype=np.float32)).reshape(-1, 3)
        self.value += rows.size
        space = make_space(FeatureStore.open(self.folder.name)) if by_new else self.space
        after = dict(self.model)
        for number, row in zip(numbers, rows, strict=True):
            after.setdefault(POOL[number].tobytes(), tuple(row.tolist()))
        if not self.attempt(lambda: space.append(POOL[numbers], rows), kill) or contents(self.space) == after:
            self.model = after

    @rule(numbers=numbers, kill=kills)
    def add_files(self, numbers: list[int], kill: int | None) -> None:
        after = self.seen | {b"/%d" % number: POOL[(number * 7 + len(self.seen)) % 24].tobytes() for number in numbers}
        rows = [FileRow(b"/%d" % number, 1, 1, after[b"/%d" % number]) for number in numbers]
        if not self.attempt(lambda: self.store.add_files(rows), kill) or self.files() == after:
            self.seen = after

    @rule(kill=kills)
    def compact(self, kill: int | None) -> None:
        self.attempt(self.store.compact, kill)

    @rule(kill=kills)
    def gc(self, kill: int | None) -> None:
        self.attempt(lambda: self.store.gc(older_than=0), kill)

    @rule(numbers=numbers, kill=kills)
    def forget(self, numbers: list[int], kill: int | None) -> None:
        keys = POOL[numbers]
        if self.attempt(lambda: self.store.forget(keys), kill):
            self.store.forget(keys)
        gone = {key.tobytes() for key in keys}
        self.model = {key: row for key, row in self.model.items() if key not in gone}
        self.seen = {path: key for path, key in self.seen.items() if key not in gone}

    @rule(kill=kills)
    def remove_space(self, kill: int | None) -> None:
        old = self.space
        if self.attempt(lambda: self.store.remove_space("clip"), kill):
            if contents(self.space) == self.model:
                return
        else:
            with pytest.raises(StoreError, match="was removed"):
                old.refresh()
            self.space = make_space(self.store)
        self.model = {}

    @rule()
    def reopen(self) -> None:
        self.store = FeatureStore.open(self.folder.name)
        self.space = make_space(self.store)

    @rule()
    def verify(self) -> None:
        assert self.store.verify() == []

    @rule(numbers=st.lists(st.integers(0, 23), max_size=30), verify=st.booleans())
    def load(self, numbers: list[int], verify: bool) -> None:
        self.space.refresh()
        asked = POOL[numbers]
        absent = [key.tobytes() not in self.model for key in asked]
        assert self.space.missing(asked).tolist() == absent
        if any(absent):
            with pytest.raises(MissingKeyError, match=asked[absent.index(True)].tobytes().hex()):
                self.space.load(asked)
        asked = asked[~np.array(absent, bool)]
        keys, rows = self.space.load(asked, verify=verify)
        assert (keys == asked).all()
        assert [tuple(row.tolist()) for row in rows] == [self.model[key.tobytes()] for key in asked]
        batches = list(self.space.iter_batches(4, asked))
        assert [len(part) for part, _ in batches] == [4] * (len(asked) // 4) + [len(asked) % 4] * (len(asked) % 4 > 0)
        assert np.array_equal(np.concatenate([np.empty((0, 3)), *(part for _, part in batches)]), rows)

    @rule()
    def load_with_an_old_view(self) -> None:
        """What was seen before a compaction and gc is still what is read."""
        reader = FeatureStore.open(self.folder.name).space("clip")
        assert list(contents(reader).items()) == list(self.model.items())
        self.store.compact()
        self.store.gc(older_than=0)
        assert list(contents(reader).items()) == list(self.model.items())

    @invariant()
    def all_is_there_in_store_order(self) -> None:
        if hasattr(self, "model"):
            self.space.refresh()
            assert list(contents(self.space).items()) == list(self.model.items())
            assert self.space.keys().tobytes() == b"".join(self.model)
            assert self.files() == self.seen

    def files(self) -> dict[bytes, bytes]:
        return {row["path"]: row["key"] for row in self.store.files().to_pylist()}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            assert self.store.verify() == []
            self.folder.cleanup()
            self.patch.undo()


TestStoreAgainstDict = StoreAgainstDict.TestCase
TestStoreAgainstDict.settings = settings(
    max_examples=80, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
