"""Fewer, larger segments, and segments without what is to be forgotten.

Either way a new segment is written whose record names those that it replaces: one rename, and readers see the one or
the others. It holds only rows that counted, and its id comes just after the first of those replaced, so of the rows for
one key the same one counts before and after, and the store order stays. The records that it replaces are then put aside
under hidden names, so that nobody reads them in vain; `removal` deletes their segments.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from photorank.store import tables
from photorank.store.commits import Commit, NewArray, commit_segment, put_aside, read_commit, read_records
from photorank.store.durable import names_in, writing
from photorank.store.identity import JSONDict, canonical_json, segment_id_after
from photorank.store.keys import KEY_BYTES, KeyArray, KeyIndex
from photorank.store.removal import put_aside_now, remove_segments, remove_table_files, unmark
from photorank.store.space import Space
from photorank.store.tables import TableKind
from photorank.store.view import Segments, View, visible

SMALL_BYTES = 256 << 20
"""Segments with fewer bytes of rows are merged with their neighbours; larger ones load as fast as they ever will."""

_NO_KEYS = np.empty((0, KEY_BYTES), np.uint8)


def compact_space(space: Space) -> int:
    """Merge neighbouring small segments of the space; how many there were. DamagedStoreError when a checksum of what is
    read does not match: nothing is merged then that was not intact."""
    records = read_records(space.path / "commits")
    view = View(visible(records), Segments(space.path / "vectors", space.dim, space.dtype))
    merged = 0
    for run in _small_neighbours(view.commits, space.dim * space.dtype.itemsize):
        batches = _batches(run)
        provenance: JSONDict = {"operation": "compact", **({"batches": batches} if batches else {})}
        _rewrite(space, view, run, _NO_KEYS, provenance)
        merged += len(run)
    return merged


def forget_in_space(space: Space, keys: KeyArray) -> int:
    """Delete the vectors of these keys, one segment after the other; how many there were."""
    commits, index = space.path / "commits", KeyIndex(keys)
    records = read_records(commits)
    view = View(visible(records), Segments(space.path / "vectors", space.dim, space.dtype))
    aside = {segment: read_commit(path, segment) for segment, path in put_aside(commits).items()}
    hidden = {segment: commit for segment, commit in (aside | records).items() if segment not in view.segments}
    remove_segments(space.path, [each for each, commit in hidden.items() if (index.find(commit.keys) >= 0).any()])
    view.read(np.empty(0, np.int64), verify=False)  # opens every segment, while all of them are there
    for commit in view.commits:
        if (index.find(commit.keys) >= 0).any():
            _rewrite(space, view, [commit], keys, {"operation": "forget"})
            remove_segments(space.path, [commit.segment])
    return int((view.index.find(keys) >= 0).sum())


def compact_table(store: Path, kind: TableKind) -> int:
    """Merge all files of a table into one; how many there were."""
    files = tables.read_files(store, kind)
    shown = tables.visible_files(files)
    if len(shown) < 2:
        return 0
    _replace_files(store, kind, shown, tables.visible_rows(files, kind), list(files))
    return len(shown)


def forget_in_table(store: Path, kind: TableKind, keys: KeyArray, paths: Iterable[bytes]) -> None:
    """Delete the table's rows of these keys and paths."""
    folder, files = store / kind.folder, tables.read_files(store, kind)
    named = pa.array(list(paths), pa.binary())
    aside = {segment: tables.read_file(path, kind) for segment, path in put_aside(folder).items()}
    holding = [seg for seg, file in (aside | files).items() if _rows_of(file.rows, keys, named).any()]
    shown = tables.visible_files(files)
    if set(shown) & set(holding):
        rows = tables.visible_rows(files, kind)
        kept = rows.filter(pa.array(~_rows_of(rows, keys, named)))
        _replace_files(store, kind, shown, kept, list(files))
    remove_table_files(folder, holding)


def _small_neighbours(commits: list[Commit], row_bytes: int) -> list[list[Commit]]:
    """Runs of two and more small segments with no large one between them."""
    runs: list[list[Commit]] = [[]]
    for commit in commits:
        if len(commit.keys) * row_bytes < SMALL_BYTES:
            runs[-1].append(commit)
        else:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _batches(run: list[Commit]) -> list[JSONDict]:
    """The different things that were particular to the batches of the segments, in order."""
    found: dict[bytes, JSONDict] = {}
    for commit in run:
        inside = commit.provenance.get("batches", [commit.provenance])
        for batch in inside:
            plain = {key: value for key, value in batch.items() if key not in ("at", "operation")}
            if plain:
                found.setdefault(canonical_json(plain), plain)
    return list(found.values())


def _rewrite(space: Space, view: View, run: list[Commit], drop: KeyArray, provenance: JSONDict) -> None:
    """Commit one segment with the rows of the run that count, but for those of the keys to drop."""
    counting = view.index.first_positions()
    numbers = [view.segments.index(commit.segment) for commit in run]
    first, stop = np.searchsorted(counting, (view.starts[numbers[0]], view.starts[numbers[-1] + 1]))
    positions = counting[first:stop]
    positions = positions[KeyIndex(drop).find(view.keys[positions]) < 0]
    segment = segment_id_after(
        run[0].segment, lambda new: any(new in name for name in names_in(space.path / "commits"))
    )
    array = NewArray(
        space.dim, space.dtype, lambda start, stop: view.read(positions[start:stop], verify=True)
    )  # checked, so that damage never gets a checksum of its own
    record = {**provenance, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    replaced = [commit.segment for commit in run]
    with writing(f"A segment of {len(positions)} vectors", space.path):
        commit_segment(space.path, segment, view.keys[positions], array, record, replaced)
        put_aside_now(space.path / "commits", replaced)


def _replace_files(store: Path, kind: TableKind, shown: list[str], rows: pa.Table, replaces: list[str]) -> None:
    folder = store / kind.folder
    beside = shown[0] if kind.which == "first" else shown[-1]
    segment = segment_id_after(beside, lambda new: any(new in name for name in names_in(folder)))
    with writing(f"A file of {len(rows)} rows", folder):
        tables.write_file(folder, segment, rows, replaces)
        unmark(folder, replaces)
        put_aside_now(folder, replaces)


def _rows_of(rows: pa.Table, keys: KeyArray, paths: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows are of these keys or paths: (n,) bool."""
    wanted = pa.array([key.tobytes() for key in keys], pa.binary(KEY_BYTES))
    found = pc.is_in(rows["key"], wanted)
    if "path" in rows.column_names:
        found = pc.or_(found, pc.is_in(rows["path"], paths))
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]] = found.to_numpy()
    return mask
