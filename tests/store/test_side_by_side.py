"""Several processes on one store, a store that may not be written, and a disk that is full."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from photorank.errors import StoreError
from photorank.store import FeatureStore, FileRow, PhotoRow, Space
from photorank.store.removal import ABANDONED_SECONDS, alone
from tests.store.helpers import contents, make_space, small_store, some_keys, some_rows

ROOT = Path(__file__).parents[2]
BATCHES, BATCH = 6, 50

WRITER = f"""
import sys, numpy as np
from photorank.store import FeatureStore, FileRow
from tests.store.helpers import make_space, some_keys
number = int(sys.argv[2])
sys.stdin.readline()
store = FeatureStore.create(sys.argv[1])
space = make_space(store)
keys = some_keys({BATCHES * BATCH})
order = np.random.default_rng(number).permutation({BATCHES})
for batch in order:
    part = keys[batch * {BATCH} : (batch + 1) * {BATCH}]
    space.append(part, np.full(({BATCH}, 3), number * 100 + batch, np.float32))
    store.add_files([FileRow(b"%d" % batch, number, 0, key.tobytes()) for key in part])
"""


def test_writers_and_a_reader_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, str(number)], stdin=subprocess.PIPE, cwd=ROOT)
        for number in (1, 2)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    looks = 0
    while any(writer.poll() is None for writer in writers):
        if (path / "photorank.json").exists():
            store = FeatureStore.open(path)
            assert store.verify() == []
            for space in store.spaces():
                looks += 1
                assert all(
                    set(row) <= {100.0 * n + b for n in (1, 2) for b in range(BATCHES)} for row in rows_of(space)
                )
                assert len(space) % BATCH == 0, "half a commit is visible"
    assert [writer.wait() for writer in writers] == [0, 0]
    assert looks

    store = FeatureStore.open(path)
    (space,) = store.spaces()
    assert store.verify() == []
    assert len(list((space.path / "commits").iterdir())) == 2 * BATCHES
    held = contents(space)
    keys = some_keys(BATCHES * BATCH)
    assert set(held) == {key.tobytes() for key in keys}
    for batch in range(BATCHES):  # each batch is that of one writer, as a whole
        values = {held[key.tobytes()] for key in keys[batch * BATCH : (batch + 1) * BATCH]}
        assert values in ({(100.0 + batch,) * 3}, {(200.0 + batch,) * 3})
    assert store.files().num_rows == BATCHES
    assert [path.name for path in (path / "spaces").iterdir()] == [space.path.name], "nothing temporary is left"


KEEPER = """
import sys
from photorank.errors import StoreError
from photorank.store import FeatureStore
print("ready", flush=True)
while True:
    store = FeatureStore.open(sys.argv[1])
    store.compact()
    store.gc(older_than=0)
"""


def test_readers_while_batches_come_and_segments_go(tmp_path: Path) -> None:
    """Two processes write, one compacts and deletes without waiting, and whoever reads sees whole commits only."""
    store = FeatureStore.create(tmp_path / "store")
    make_space(store)
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER, store.path], stdout=subprocess.PIPE, cwd=ROOT)
    assert keeper.stdout is not None
    keeper.stdout.readline()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, store.path, str(number)], stdin=subprocess.PIPE, cwd=ROOT)
        for number in (1, 2)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    reader = FeatureStore.open(store.path).space("clip")  # keeps what it once saw, whatever happens to it
    last, looks = 0, 0
    try:
        while any(writer.poll() is None for writer in writers) or looks < 40:
            looks += 1
            if looks % 3 == 0:
                reader.refresh()
            keys, rows = reader.load(verify=True)
            assert len(keys) % BATCH == 0, "half a commit is visible"
            assert len(keys) >= last, "what was committed is not seen any more"
            last = len(keys)
            assert set(rows.ravel().tolist()) <= {100.0 * n + b for n in (1, 2) for b in range(BATCHES)}
            if len(keys):
                assert (reader.load(keys[::-7], verify=True)[0] == keys[::-7]).all()
            assert store.verify() == []
            assert store.files().num_rows <= BATCHES
    finally:
        keeper.kill()
        keeper.wait()
    keeper.stdout.close()
    assert [writer.wait() for writer in writers] == [0, 0]
    store.compact()
    store.gc(older_than=0)
    assert store.verify() == []
    (space,) = store.spaces()
    assert set(contents(space)) == {key.tobytes() for key in some_keys(BATCHES * BATCH)}
    (record,) = (space.path / "commits").glob("[!.]*")
    assert store.files().num_rows == BATCHES
    # The keeper may have been killed over a segment. Its intent says so, and it goes once it is an hour old.
    unfinished = [path for path in (space.path / "commits").iterdir() if path != record]
    segments = {path.name for path in (space.path / "vectors").glob("*-*")} - {record.stem}
    assert len(unfinished) <= 1, "nothing else is left"
    assert segments <= {path.name[1:].removesuffix(".tmp") for path in unfinished}
    for path in (*unfinished, *(space.path / "vectors" / segment for segment in segments)):
        long_ago = path.stat().st_mtime - 2 * ABANDONED_SECONDS
        os.utime(path, (long_ago, long_ago))
    store.gc(older_than=0)
    assert list((space.path / "commits").iterdir()) == [record]
    assert [path.name for path in (space.path / "vectors").glob("*-*")] == [record.stem]
    assert set(contents(space)) == {key.tobytes() for key in some_keys(BATCHES * BATCH)}


def test_one_at_a_time_deletes(tmp_path: Path) -> None:
    """A lock that a killed process held is free again."""
    store = small_store(tmp_path / "store")
    program = "import sys, time; from pathlib import Path; from photorank.store.removal import alone\n"
    program += "with alone(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", program, store.path], stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout is not None
    holder.stdout.readline()
    key = store.space("clip").keys()[:1]
    message = r"Another compact, gc, forget or rm-space is at work on .*; run this one when it is done"
    attempts = (store.compact, store.gc, lambda: store.forget(key), lambda: store.remove_space("clip"))
    for attempt in attempts:
        with pytest.raises(StoreError, match=message):
            attempt()
    store.space("clip").append(some_keys(1, seed=3), some_rows(1))  # nobody who adds has to wait
    holder.kill()
    holder.wait()
    holder.stdout.close()
    for attempt in attempts:
        attempt()
    assert store.spaces() == []


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_one_at_a_time_deletes_on_a_file_system_without_locks_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    store = small_store(tmp_path / "store")
    monkeypatch.setattr("fcntl.flock", flock)
    with alone(store.path), pytest.raises(StoreError, match="is at work on"):
        store.compact()
    store.compact()
    assert store.verify() == []


def rows_of(space: Space) -> list[tuple[float, ...]]:
    return list(contents(space).values())


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "tmpfs"
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or not sys.platform.startswith("linux"):
        pytest.skip("no `mount` here")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_harmless(tmpfs: Path) -> None:
    store = FeatureStore.create(tmpfs / "store")
    space = make_space(store, dim=512)
    space.append(some_keys(100), some_rows(100, 512))
    keys, rows = some_keys(1000, seed=1), some_rows(1000, 512)
    files = sorted(tmpfs.rglob("*"))
    for _ in range(2):
        with pytest.raises(
            StoreError, match=r"A batch of 1000 vectors .* the disk is full; .* committed before is kept"
        ):
            space.append(keys, rows)
        assert sorted(tmpfs.rglob("*")) == files
    many = [FileRow(b"/photos/%06d.jpg" % i, i, i, keys[0].tobytes()) for i in range(20_000)]
    with pytest.raises(StoreError, match=r"A batch of 20000 rows .* the disk is full"):
        store.add_files(many)
    assert store.verify() == []
    assert store.files().num_rows == 0
    assert (FeatureStore.open(store.path).space("clip").load()[1] == some_rows(100, 512)).all()
    space.append(keys[:10], rows[:10])
    assert len(space) == 110


def test_a_full_disk_while_compacting_is_said_and_harmless(tmpfs: Path) -> None:
    store = FeatureStore.create(tmpfs / "store")
    space, keys, rows = make_space(store, dim=512), some_keys(300), some_rows(300, 512)
    for start in range(0, 300, 100):
        space.append(keys[start : start + 100], rows[start : start + 100])
    files = sorted(path for path in tmpfs.rglob("*") if path.name != ".lock")
    full = r"A segment of \d+ vectors could not be written .* the disk is full; .* committed before is kept"
    (tmpfs / "other").write_bytes(b"x" * (200 << 10))
    with pytest.raises(StoreError, match=full):
        store.compact()
    (tmpfs / "other").unlink()
    assert sorted(path for path in tmpfs.rglob("*") if path.name != ".lock") == files
    assert store.verify() == []
    assert (FeatureStore.open(store.path).space("clip").load(keys)[1] == rows).all()

    (tmpfs / "other").write_bytes(b"x" * (310 << 10))
    with pytest.raises(StoreError, match=full):
        store.forget(keys[[1, 101]])  # each segment takes 200 KiB
    (tmpfs / "other").unlink()
    assert store.verify() == []
    store.forget(keys[[1, 101]])
    kept = np.delete(np.arange(300), [1, 101])
    assert (FeatureStore.open(store.path).space("clip").load(keys[kept])[1] == rows[kept]).all()
    assert len(FeatureStore.open(store.path).space("clip")) == 298


def reading_works(path: Path) -> None:
    store = FeatureStore.open(path)
    space = store.space("clip")
    assert len(space) == 4
    assert not space.missing(space.keys()).any()
    assert space.load(verify=True)[1].shape == (4, 3)
    assert make_space(store).nbytes > 0
    assert [table.num_rows for table in (store.photos(), store.files(), store.failures())] == [1, 1, 1]
    assert store.verify() == []
    writes: list[Callable[[], object]] = [
        lambda: space.append(some_keys(1, seed=5), np.zeros((1, 3), np.float32)),
        lambda: store.add_photos([PhotoRow(b"x" * 32, 1, 1, "PNG", 1)]),
        lambda: make_space(store, name="other"),
        store.compact,
        store.gc,
        lambda: store.forget(some_keys(1)),
        lambda: store.remove_space("clip"),
    ]
    for write in writes:
        with pytest.raises(StoreError, match=r"could not be written to .*(Read-only|Permission denied)"):
            write()


def test_a_read_only_file_system(tmpfs: Path) -> None:
    small_store(tmpfs / "store")
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)
    reading_works(tmpfs / "store")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_store_of_somebody_else() -> None:
    """Permissions bind an ordinary user only, so root runs it as one."""
    with tempfile.TemporaryDirectory() as made:  # pytest keeps its folders to its own user
        Path(made).chmod(0o755)
        read_as_an_ordinary_user(small_store(Path(made) / "store"))


def read_as_an_ordinary_user(store: FeatureStore) -> None:
    for path in [store.path, *store.path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if os.geteuid() != 0:
            reading_works(store.path)
            return
        # What is imported later: the interpreter may lie where that user cannot read.
        program = "import os, sys, pathlib, filelock, pandas, pyarrow.compute, zarr.codecs, zarr.storage; "
        program += "import tests.store.test_side_by_side as t; os.seteuid(65534); "
        program += "t.reading_works(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", program, store.path], check=True, cwd=ROOT)
    finally:
        for path in [store.path, *store.path.rglob("*")]:
            path.chmod(0o755)
