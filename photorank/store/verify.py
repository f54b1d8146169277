"""Finding damage: every byte that was committed is read and compared with its digest."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from photorank.errors import DamagedStoreError, StoreError
from photorank.store.commits import Commit, file_digest, list_segments, read_commit
from photorank.store.durable import names_in
from photorank.store.group import read_group
from photorank.store.identity import is_segment_id
from photorank.store.sealed import check_sealed


def verify_space(path: Path) -> list[str]:
    """What is wrong with the space in the folder, in words. Empty when all is well, or when the space was removed."""
    problems = _verify_space(path)
    return problems if path.exists() else []


def _verify_space(path: Path) -> list[str]:
    problems = []
    try:
        read_group(path)
    except StoreError as error:
        problems.append(str(error))
    # Listed before the records are: what is committed meanwhile must not look like a segment without a record.
    segments = _segment_folders(path / "vectors")
    commits = []
    for segment in list_segments(path / "commits"):
        try:
            commits.append(read_commit(path / "commits" / f"{segment}.parquet", segment))
        except StoreError as error:
            if (path / "commits" / f"{segment}.parquet").exists():  # else it is being deleted
                problems.append(str(error))
    problems += _foreign(path / "commits")
    for segment in segments:
        # An intent becomes the record, and that the mark of what is being deleted, by one rename each: whoever misses
        # the first sees the next.
        names = (f".{segment}.tmp", f"{segment}.parquet", f".{segment}.replaced", f".{segment}.gone")
        if not any((path / "commits" / name).exists() for name in names) and (path / "vectors" / segment).exists():
            problems.append(f"{path / 'commits' / names[1]} is missing: the vectors of its segment are not seen.")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for commit, found in zip(
            commits, pool.map(lambda each: _verify_segment(path / "vectors", each), commits), strict=True
        ):
            if found and (path / "commits" / f"{commit.segment}.parquet").exists():
                problems += found
    return problems


def verify_table(folder: Path) -> list[str]:
    """What is wrong with the sealed files of one table, in words. Empty when all is well."""
    problems = []
    for segment in list_segments(folder):
        path = folder / f"{segment}.parquet"
        try:
            check_sealed(path, path.read_bytes())
        except FileNotFoundError:
            pass  # it is being deleted, or `_lost` finds that it was lost
        except DamagedStoreError as error:
            problems.append(str(error))
    return problems + _lost(folder) + _foreign(folder)


def marker_of(folder: Path, segment: str) -> Path:
    """The empty file that is made beside a table's file just before it is put in place, so that its loss is noticed."""
    return folder / f".{segment}.mark"


def _lost(folder: Path) -> list[str]:
    """The table's files that were in place and are not any more."""
    lost = []
    for name in names_in(folder):
        segment = name.removeprefix(".").removesuffix(".mark")
        if is_segment_id(segment) and name == marker_of(folder, segment).name:
            names = (f".{segment}.tmp", f"{segment}.parquet")  # being written or there, in this order as above
            if not any((folder / each).exists() for each in names) and (folder / name).exists():  # its mark goes first
                lost.append(f"{folder / names[1]} is missing.")
    return lost


def _foreign(folder: Path) -> list[str]:
    """Files that the store did not name. Readers ignore them, so a renamed file would be a loss that nobody sees."""
    return [
        f"{folder / name} is no file of the store's."
        for name in names_in(folder)
        if name[0] != "." and not (name.endswith(".parquet") and is_segment_id(name.removesuffix(".parquet")))
    ]


def _segment_folders(vectors: Path) -> list[str]:
    return [name for name in names_in(vectors) if is_segment_id(name)]


def _verify_segment(vectors: Path, commit: Commit) -> list[str]:
    problems = []
    for name, digest in commit.files.items():
        path = vectors / name
        try:
            if file_digest(path) != digest:
                problems.append(f"{path} is damaged: its bytes are not those that were committed.")
        except FileNotFoundError:
            problems.append(f"{path} is missing.")
    for parent, _, names in os.walk(vectors / commit.segment):
        for name in names:
            path = Path(parent, name)
            if path.relative_to(vectors).as_posix() not in commit.files and name[0] != ".":
                problems.append(f"{path} is no file of its segment.")
    return problems
