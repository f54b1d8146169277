"""What is there to do: files found against what the store has seen, at the cost of a `stat` a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

from photorank import __version__
from photorank.photos.finding import FailedPath, PhotoFile
from photorank.stages.filling import Filling
from photorank.stages.pipeline import UNSEEN, Failure
from photorank.store import FeatureStore

_EXTRAS = {"heif": "pillow_heif", "raw": "rawpy"}


@dataclass
class Scan:
    """Files sorted by what they need."""

    work: list[PhotoFile] = field(default_factory=list)
    """To be read: new, changed, or lacking a vector."""
    unfit: list[FailedPath] = field(default_factory=list)
    """Paths that are no photos to begin with, not yet recorded."""
    failures: list[Failure] = field(default_factory=list)
    """Failed in an earlier call of this version, unchanged since."""
    keys: dict[str, bytes] = field(default_factory=dict)
    """Path → key of the files that the store knows and that are unchanged."""
    unchanged: int = 0
    """Files that need nothing."""


def scan(
    store: FeatureStore, spaces: Sequence[Filling], files: Sequence[PhotoFile], unfit: Sequence[FailedPath],
    retry_failed: bool,
) -> Scan:  # fmt: skip
    """Sort what was found by what it needs, without opening any file."""
    result = Scan()
    known = _known_keys(store)
    failed = {} if retry_failed else _known_failures(store)
    for path in unfit:
        recorded = failed.get((os.fsencode(path.path), *UNSEEN), {}).get("")
        if recorded is not None and recorded.error == path.error:
            result.failures.append(recorded)
        else:
            result.unfit.append(path)
    unchanged: list[tuple[PhotoFile, bytes]] = []
    for file in files:
        earlier = failed.get((os.fsencode(file.path), file.size, file.mtime_ns), {})
        if "" in earlier:
            result.failures.append(earlier[""])
            continue
        key = known.get((os.fsencode(file.path), file.size, file.mtime_ns))
        if key is None:
            result.work.append(file)
        else:
            unchanged.append((file, key))
    result.keys = {file.path: key for file, key in unchanged}
    lacking = np.zeros(len(unchanged), bool)
    keys = np.frombuffer(b"".join(key for _, key in unchanged), np.uint8).reshape(-1, 32)
    for space in spaces:
        lacks = space.missing(keys)
        for at in np.flatnonzero(lacks):
            file, _ = unchanged[at]
            failure = failed.get((os.fsencode(file.path), file.size, file.mtime_ns), {}).get(space.fingerprint)
            if failure is not None:
                result.failures.append(failure)
                lacks[at] = False
        lacking |= lacks
    result.work += [file for (file, _), lacks in zip(unchanged, lacking, strict=True) if lacks]
    result.work.sort(key=lambda file: file.path)
    result.unchanged = len(unchanged) - int(lacking.sum())
    return result


Seen = tuple[bytes, int, int]
"""Path, size, mtime_ns: what a file must still be to be taken for unchanged."""


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
