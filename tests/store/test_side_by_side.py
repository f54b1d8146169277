"""Several processes on one store, a store that may not be written, and a disk that is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from photorank.errors import StoreError
from photorank.store import FeatureStore, FileRow, PhotoRow, Space
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
    ]
    for write in writes:
        with pytest.raises(StoreError, match=r"could not be written to .*(Read-only|Permission denied)"):
            write()


def test_a_read_only_file_system(tmpfs: Path) -> None:
    small_store(tmpfs / "store")
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)
    reading_works(tmpfs / "store")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_store_of_somebody_else(tmp_path: Path) -> None:
    """Permissions bind an ordinary user only, so root runs it as one."""
    store = small_store(tmp_path / "store")
    for path in [store.path, *store.path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if os.geteuid() != 0:
            reading_works(store.path)
            return
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
        # What is imported later: the interpreter may lie where that user cannot read.
        program = "import os, sys, pathlib, pandas, pyarrow.compute, zarr.codecs, zarr.storage; "
        program += "import tests.store.test_side_by_side as t; os.seteuid(65534); "
        program += "t.reading_works(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", program, store.path], check=True, cwd=ROOT)
    finally:
        for path in [store.path, *store.path.rglob("*")]:
            path.chmod(0o755)
