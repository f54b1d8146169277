"""Photos at training size, kept in one HDF5 file between epochs and trainings; no kill and no power cut spoils it.

    NAME@FINGERPRINT/      a group for each preprocessing, which its attribute `spec` says as JSON
      0, 1, ...            a group for the photos that came together
        keys               (n, 32) uint8
        pixels             (n, size, size, 3) uint8; zeros where a row is not filled yet
        checks             (n,) uint32: the CRC-32 of a row's key and pixels; 0: not filled yet

HDF5's own structure is written only while the file has another name, before it is renamed into place (for photos or a
preprocessing that it lacks it is copied first). After that the rows, whose places in the file are fixed by then, are
written past the library, so there is no structure that a kill could leave half written. A row counts if its check is
right, in whatever order the bytes came to the disk. Whoever fills it writes the same bytes, so several processes may.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import shutil
import threading
import zlib
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import StoreError
from photorank.store import fingerprint
from photorank.store.durable import names_in, sync_folder, write_all

log = logging.getLogger(__name__)

_ABOUT = "photorank pixel cache 1"
_CHECK = np.dtype("<u4")
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class PixelCache:
    """One preprocessing's pixels in a cache file. Safe in several threads and processes."""

    def __init__(self, path: Path, name: str, spec: Mapping[str, Any], keys: NDArray[np.uint8], size: int) -> None:
        """Make or extend the file so that it has a row for each of `keys` (N, 32), unless another process has it open
        that did so: then rows are used and filled that are there, or come to be there by the next `refresh`. A file
        that may not be written is read, and what it lacks is told once.

        `name` is for people, `spec` is what the pixels depend on. StoreError where the file is something else, is
        damaged, or is not there and cannot be made.
        """
        from filelock import FileLock

        self._path, self._shape, self._lock = path, (size, size, 3), threading.Lock()
        self._group, self._spec = f"{name}@{fingerprint(spec)}", spec
        self._file: FileIO | None = None
        self._full = False
        self._mode = "r+"
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._owned = FileLock(path.with_name(f"{path.name}.lock"))
        with self._explained():
            self._extends = self._take()
            try:
                self._open(keys)
            except BaseException:
                self.close()
                raise

    def read(self, key: bytes, row: NDArray[np.uint8]) -> bool:
        """Whether the photo is there: then `row` (size, size, 3), C-contiguous, is filled."""
        with self._explained(), self._lock:
            places = self._rows.get(key)
            if places is None or self._file is None:
                return False
            self._file.seek(places[1])
            check = int.from_bytes(self._file.read(_CHECK.itemsize), "little")
            if not check:
                return False
            self._file.seek(places[0])
            self._file.readinto(row.data)
        return check == _check(key, row)

    def write(self, key: bytes, row: NDArray[np.uint8]) -> None:
        """Keep a photo, if it has a row."""
        with self._lock:
            places = self._rows.get(key)
            if self._full or places is None or self._file is None or self._mode == "r":
                return
            try:
                for place, data in zip(places, (row.tobytes(), _check(key, row).to_bytes(4, "little")), strict=True):
                    self._file.seek(place)
                    write_all(self._file, data)
            except OSError as error:  # a cache saves time; a full disk is no reason to end a training
                log.warning("the cache %s is not filled further: %s", self._path, error.strerror or error)
                self._full = True

    def refresh(self) -> None:
        """Look for what another process has made of the file since it was opened."""
        if not self._extends:
            with self._explained(), self._lock:
                self._read_index()

    def close(self) -> None:
        """Let go of the file, and let others extend it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._owned.release()

    def _take(self) -> bool:
        """Whether this process is the one that extends the file."""
        from filelock import Timeout

        try:
            self._owned.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            if error.errno in _READ_ONLY and self._path.exists():
                return False
            raise
        return True

    def _open(self, keys: NDArray[np.uint8]) -> None:
        self._read_index()
        each_key = dict.fromkeys(key.tobytes() for key in keys)
        lacking = [key for key in each_key if key not in self._rows]
        if self._mode == "r":
            self._tell_lacking(len(lacking) + sum(not self._is_filled(key) for key in each_key if key in self._rows))
        elif self._extends and lacking:
            self._extend(np.frombuffer(b"".join(lacking), np.uint8).reshape(-1, 32))
            self._read_index()

    def _tell_lacking(self, photos: int) -> None:
        if photos:
            log.warning(
                "the cache %s may not be written and lacks %d of these photos, which are decoded each time; copy it to "
                "where it may, and it is filled", self._path, photos,
            )  # fmt: skip

    def _is_filled(self, key: bytes) -> bool:
        """Of a key that has a row."""
        assert self._file is not None
        self._file.seek(self._rows[key][1])
        return any(self._file.read(_CHECK.itemsize))

    def _handle(self) -> FileIO:
        """The file, opened for no more than is allowed."""
        try:
            return FileIO(self._path, self._mode)
        except OSError as error:
            if error.errno not in _READ_ONLY or self._mode == "r":
                raise
        self._mode = "r"
        return FileIO(self._path, self._mode)

    def _read_index(self) -> None:
        """Where each photo's row is; none where there is no file yet."""
        import h5py

        if not self._path.exists():
            return
        if self._file is not None:
            self._file.close()
        # Read and written by one handle: what is renamed into place meanwhile has other places for its rows.
        self._file, self._rows = self._handle(), {}
        with h5py.File(self._file, "r") as file:
            if file.attrs.get("about") != _ABOUT:
                raise StoreError(f"{self._path} is an HDF5 file of something else; name another file for the cache")
            for part in file[self._group].values() if self._group in file else ():
                pixels, checks = (part[name].id.get_offset() for name in ("pixels", "checks"))
                if pixels is None or checks is None or part["pixels"].shape[1:] != self._shape:
                    raise StoreError(f"{self._path} was rewritten by another program; remove it, it is made again")
                size = int(np.prod(self._shape))
                for number, key in enumerate(part["keys"][:]):
                    self._rows[key.tobytes()] = pixels + number * size, checks + number * _CHECK.itemsize

    def _extend(self, keys: NDArray[np.uint8]) -> None:
        """Put a file in place that has empty rows for these keys too."""
        import h5py

        name = self._path.name
        for left in names_in(self._path.parent):
            if left.startswith(f".{name}.") and left.endswith(".tmp"):  # of a process that was killed here
                self._path.with_name(left).unlink()
        temporary = self._path.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            if self._file is not None:
                self._file.close()
                shutil.copyfile(self._path, temporary)
            with h5py.File(temporary, "a") as file:
                file.attrs["about"] = _ABOUT
                group = file.require_group(self._group)
                group.attrs["spec"] = json.dumps(dict(self._spec))
                part = group.create_group(str(len(group)))
                part["keys"] = keys
                _allocate(part, "pixels", (len(keys), *self._shape), np.dtype(np.uint8))
                _allocate(part, "checks", (len(keys),), _CHECK)
            with temporary.open("r+b") as written:
                os.fsync(written.fileno())
            temporary.replace(self._path)
            sync_folder(self._path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, RuntimeError) as error:  # h5py's, for a damaged file
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise StoreError(
                f"the cache {self._path} cannot be used ({reason}); name another file, or remove it: it is made again"
            ) from error


def _allocate(part: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """A dataset whose rows have their places in the file from the start; it reads as zeros, without taking room yet."""
    from h5py import h5d, h5p

    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_layout(h5d.CONTIGUOUS)
    layout.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5d.FILL_TIME_NEVER)
    part.create_dataset(name, shape, dtype, dcpl=layout)


def _check(key: bytes, row: NDArray[np.uint8]) -> int:
    return zlib.crc32(row.data, zlib.crc32(key)) or 1
