"""What is there to do: files found against what the store has seen, at the cost of a `stat` a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from photorank import __version__
from photorank.photos.files import FileKeys, PhotoFile, PhotoFiles
from photorank.photos.finding import FailedPath
from photorank.stages.filling import Filling
from photorank.stages.pipeline import UNSEEN, Failure
from photorank.store import FeatureStore

Seen: TypeAlias = tuple[bytes, int, int]
"""Path, size, mtime_ns: what a file must still be to be taken for unchanged."""

_EXTRAS = {"heif": "pillow_heif", "raw": "rawpy"}


@dataclass
class Scan:
    """Files sorted by what they need."""

    work: NDArray[np.intp]
    """Numbers of the files to be read, ascending: new, changed, or lacking a vector."""
    unfit: list[FailedPath]
    """Paths that are no photos to begin with, not yet recorded."""
    failures: list[Failure]
    """Failed in an earlier call of this version, unchanged since."""
    keys: FileKeys
    """Of the files that the store knows and that are unchanged."""
    unchanged: int
    """Files that need nothing."""


def scan(
    store: FeatureStore, spaces: Sequence[Filling], files: PhotoFiles, unfit: Sequence[FailedPath], retry_failed: bool
) -> Scan:
    """Sort what was found by what it needs, without opening any file."""
    known = _known_keys(store)
    failed = {} if retry_failed else _known_failures(store)
    failures, new_unfit = _sort_unfit(unfit, failed)
    work = np.zeros(len(files), bool)
    unchanged: list[tuple[int, bytes]] = []
    for number, file in enumerate(files):
        earlier = failed.get(_seen(file), {})
        if "" in earlier:
            failures.append(earlier[""])
            continue
        key = known.get(_seen(file))
        if key is None:
            work[number] = True
        else:
            unchanged.append((number, key))
    lacking = np.zeros(len(files), bool)
    keys = np.frombuffer(b"".join(key for _, key in unchanged), np.uint8).reshape(-1, 32)
    for space in spaces:
        for at in np.flatnonzero(space.missing(keys)):
            number, _ = unchanged[at]
            failure = failed.get(_seen(files[number]), {}).get(space.fingerprint)
            if failure is not None:
                failures.append(failure)
            else:
                lacking[number] = True
    keys_of = FileKeys(files, unchanged)
    return Scan(np.flatnonzero(work | lacking), new_unfit, failures, keys_of, len(unchanged) - int(lacking.sum()))


def _sort_unfit(
    unfit: Sequence[FailedPath], failed: dict[Seen, dict[str, Failure]]
) -> tuple[list[Failure], list[FailedPath]]:
    """Those that are recorded already, and those that are not."""
    recorded: list[Failure] = []
    new: list[FailedPath] = []
    for path in unfit:
        earlier = failed.get((os.fsencode(path.path), *UNSEEN), {}).get("")
        if earlier is not None and earlier.error == path.error:
            recorded.append(earlier)
        else:
            new.append(path)
    return recorded, new


def _seen(file: PhotoFile) -> Seen:
    return os.fsencode(file.path), file.size, file.mtime_ns


def _known_keys(store: FeatureStore) -> dict[Seen, bytes]:
    table = store.files()
    columns = [table[name].to_pylist() for name in ("path", "size", "mtime_ns", "key")]
    return {(path, size, mtime_ns): key for path, size, mtime_ns, key in zip(*columns, strict=True)}


def _known_failures(store: FeatureStore) -> dict[Seen, dict[str, Failure]]:
    """Failures of this version of photorank, by file and fingerprint ("" for all of them)."""
    table = store.failures()
    names = ("path", "size", "mtime_ns", "fingerprint", "stage", "error", "version")
    found: dict[Seen, dict[str, Failure]] = {}
    for path, size, mtime_ns, fingerprint, stage, error, version in zip(
        *(table[name].to_pylist() for name in names), strict=True
    ):
        if version == __version__ and not _would_do_now(error):
            failure = Failure(os.fsdecode(path), stage, error)
            found.setdefault((path, size, mtime_ns), {})[fingerprint] = failure
    return found


def _would_do_now(error: str) -> bool:
    """Whether a photo failed for want of an extra that was installed since."""
    return any(f"photorank[{extra}]" in error and find_spec(module) is not None for extra, module in _EXTRAS.items())
