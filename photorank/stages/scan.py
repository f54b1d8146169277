"""What is there to do: files found against what the store has seen, at the cost of a `stat` a file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from photorank import __version__
from photorank.config import ExtractConfig
from photorank.photos.files import FileKeys, PhotoFile, PhotoFiles
from photorank.photos.finding import FailedPath
from photorank.stages.children import DIED
from photorank.stages.filling import Filling
from photorank.stages.loading import GivenUp
from photorank.stages.pipeline import UNSEEN, Failure
from photorank.store import FeatureStore

Seen: TypeAlias = tuple[bytes, int, int]
"""Path, size, mtime_ns: what a file must still be to be taken for unchanged."""

_EXTRAS = {"heif": "pillow_heif", "raw": "rawpy"}
_PASSING = ("cannot be read (", "needs more memory than there is")
_LIMIT = re.compile(r"more than the limit of (\S+)$|was not loaded within (\S+) s$")
"""Ends the sentences of photos that `max_pixels` or `photo_seconds` refused, and holds what the setting was."""


@dataclass
class Scan:
    """Files sorted by what they need."""

    work: NDArray[np.intp]
    """Numbers of the files to be read, ascending: new, changed, or lacking a vector."""
    unfit: list[FailedPath]
    """Paths that are no photos to begin with, not yet recorded."""
    failures: list[Failure]
    """Failed in an earlier call of this version, unchanged since."""
    given_up: GivenUp
    """Features that failed then; the file may be among the work for others."""
    keys: FileKeys
    """Of the files that the store knows and that are unchanged."""
    unchanged: int
    """Files that need nothing."""


def scan(
    store: FeatureStore, spaces: Sequence[Filling], files: PhotoFiles, unfit: Sequence[FailedPath],
    config: ExtractConfig, retry_failed: bool = False,
) -> Scan:  # fmt: skip
    """Sort what was found by what it needs, without opening any file."""
    known = _known_keys(store)
    earlier = _Earlier({} if retry_failed else _known_failures(store, spaces, config), spaces)
    new_unfit = earlier.sort_unfit(unfit)
    work = np.zeros(len(files), bool)
    unchanged: list[tuple[int, bytes]] = []
    for number, file in enumerate(files):
        key = known.get(_seen(file))
        if key is None and earlier.is_known_to_fail(file):  # else it did well since, or before with other settings
            continue
        if key is not None:
            unchanged.append((number, key))
        else:  # nobody knows what it lacks
            tried = [earlier.is_to_be_tried(file, each) for each in range(len(spaces))]
            work[number] = any(tried)
    lacking = np.zeros(len(files), bool)
    keys = np.frombuffer(b"".join(key for _, key in unchanged), np.uint8).reshape(-1, 32)
    for each, space in enumerate(spaces):
        for at in np.flatnonzero(space.missing(keys)):
            number, _ = unchanged[at]
            lacking[number] |= earlier.is_to_be_tried(files[number], each)
    keys_of, rest = FileKeys(files, unchanged), len(unchanged) - int(lacking.sum())
    return Scan(np.flatnonzero(work | lacking), new_unfit, earlier.failures, earlier.given_up, keys_of, rest)


class _Earlier:
    """Failures of earlier calls: `failed` are all that count, `failures` those that were met among what was found."""

    def __init__(self, failed: dict[Seen, dict[str, Failure]], spaces: Sequence[Filling]) -> None:
        self._failed, self._spaces = failed, spaces
        self.failures: list[Failure] = []
        self.given_up: dict[str, set[int]] = {}

    def is_known_to_fail(self, file: PhotoFile) -> bool:
        """Whether it is not to be read at all, whatever is asked for."""
        failure = self._failed.get(_seen(file), {}).get("")
        if failure is not None:
            self.failures.append(failure)
        return failure is not None

    def is_to_be_tried(self, file: PhotoFile, number: int) -> bool:
        """Whether a file that lacks a vector of the space of this number is to be read for it."""
        space = self._spaces[number]
        failure = self._failed.get(_seen(file), {}).get(space.fingerprint)
        if failure is not None:
            self.failures.append(replace(failure, features=(space.feature.name,)))
            self.given_up.setdefault(file.path, set()).add(number)
        return failure is None

    def sort_unfit(self, unfit: Sequence[FailedPath]) -> list[FailedPath]:
        """Those that are not recorded already."""
        new: list[FailedPath] = []
        for path in unfit:
            failure = self._failed.get((os.fsencode(path.path), *UNSEEN), {}).get("")
            if failure is not None and failure.error == path.error:
                self.failures.append(failure)
            else:
                new.append(path)
        return new


def _seen(file: PhotoFile) -> Seen:
    return os.fsencode(file.path), file.size, file.mtime_ns


def _known_keys(store: FeatureStore) -> dict[Seen, bytes]:
    table = store.files()
    columns = [table[name].to_pylist() for name in ("path", "size", "mtime_ns", "key")]
    return {(path, size, mtime_ns): key for path, size, mtime_ns, key in zip(*columns, strict=True)}


def _known_failures(
    store: FeatureStore, spaces: Sequence[Filling], config: ExtractConfig
) -> dict[Seen, dict[str, Failure]]:
    """Failures that still count, by file and fingerprint ("" for all of them): of this version of photorank, for a
    cause that is there still, and of a process that died over several features only where all of these are asked for
    again."""
    table = store.failures()
    names = ("path", "size", "mtime_ns", "fingerprint", "stage", "error", "version", "at")
    rows = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    together: dict[tuple[bytes, datetime], set[str]] = {}
    for path, _, _, fingerprint, stage, *_, at in rows:
        if stage == DIED:
            together.setdefault((path, at), set()).add(fingerprint)
    asked, all_names = {space.fingerprint for space in spaces}, tuple(space.feature.name for space in spaces)
    found: dict[Seen, dict[str, Failure]] = {}
    for path, size, mtime_ns, fingerprint, stage, error, version, at in rows:
        stands = together.get((path, at), asked) <= asked and not _would_do_now(error, config)
        if version == __version__ and stands:
            failure = Failure(os.fsdecode(path), stage, error, all_names)
            found.setdefault((path, size, mtime_ns), {})[fingerprint] = failure
    return found


def _would_do_now(error: str, config: ExtractConfig) -> bool:
    """Whether a photo failed for want of an extra that was installed since, by a limit that is another now, or by what
    passes without a trace in size and mtime: rights, a share that is away, memory."""
    if error.startswith(_PASSING):
        return True
    limit = _LIMIT.search(error)
    if limit is not None:
        pixels, seconds = limit.groups()
        return bool(pixels != str(config.max_pixels) if pixels else seconds != f"{config.photo_seconds:g}")
    return any(f"photorank[{extra}]" in error and find_spec(module) is not None for extra, module in _EXTRAS.items())
