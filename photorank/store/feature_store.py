"""The store as a whole: a folder, its spaces and its tables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from photorank.errors import DamagedStoreError, StoreError
from photorank.photos.thumbnails import Thumbnails
from photorank.store import tables
from photorank.store.compaction import compact_space, compact_table, forget_in_space, forget_in_table
from photorank.store.durable import make_folder, names_in, write_atomically, writing
from photorank.store.group import Group, check_kind, create_group
from photorank.store.identity import check_space_name, fingerprint, plain_json, split_space_folder
from photorank.store.keys import Keys, as_keys
from photorank.store.removal import (
    Removed,
    alone,
    collect_leftovers,
    collect_space,
    collect_table,
    remove_space,
)
from photorank.store.space import Space
from photorank.store.tables import FailureRow, FileRow, PhotoRow
from photorank.store.verify import verify_space, verify_table

FORMAT = 1
_ABOUT = "photorank.json"
_ABOUT_BYTES = json.dumps({"format": FORMAT}).encode() + b"\n"


class FeatureStore:
    """A feature store. Open it with `open` or `create`. Nothing is locked: any number of processes may read and append.

    Attribute: `path`, its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<FeatureStore {self.path}>"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FeatureStore:
        """Open the store at the folder. StoreError when there is none, or one of a newer format."""
        path = Path(path)
        _check_about(path)
        return cls(path)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> FeatureStore:
        """Make a store at the folder, or open the one that is there. StoreError when the folder holds other things."""
        path = Path(path)
        if (path / _ABOUT).exists():
            return cls.open(path)
        if path.exists() and not path.is_dir():
            raise StoreError(f"{path} is a file; a feature store is a folder.")
        if any(name[0] != "." for name in names_in(path)):
            raise StoreError(f"{path} is no feature store and not empty; give a new or an empty folder.")
        with writing("A new feature store", path):
            make_folder(path)
            write_atomically(path / _ABOUT, _ABOUT_BYTES)
        return cls(path)

    def spaces(self) -> list[Space]:
        """All feature spaces, by name, then fingerprint."""
        found = []
        for folder in self._space_folders():
            try:
                found.append(Space(self._spaces / folder))
            except DamagedStoreError:
                if (self._spaces / folder).exists():  # else it was removed just now
                    raise
        return found

    def space(self, ref: str) -> Space:
        """The space called `name`, `name@fingerprint` or `name@` with the fingerprint's first digits. StoreError that
        names what there is when it is none or several."""
        name, _, digits = ref.partition("@")
        folders = self._space_folders()
        found = [folder for folder in folders if folder.startswith(f"{name}@{digits}")]
        if len(found) == 1:
            return Space(self._spaces / found[0])
        if found:
            raise StoreError(f"{ref!r} could be {', '.join(found)}; say more of the fingerprint.")
        known = f"it has {', '.join(folders)}" if folders else "it has no spaces yet"
        raise StoreError(f"The store {self.path} has no space {ref!r}; {known}.")

    def find_space(self, name: str, spec: Mapping[str, Any]) -> Space | None:
        """The space of that name and spec, if there is one."""
        folder = self._spaces / f"{check_space_name(name)}@{fingerprint(spec)}"
        return Space(folder) if folder.is_dir() else None

    def create_space(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        dim: int,
        dtype: Literal["float16", "float32"],
        role: Literal["visual", "statistic"],
        provenance: Mapping[str, Any] | None = None,
    ) -> Space:
        """The space of that name and spec, made when there is none. StoreError when the one that is there has another
        dim, dtype or role; its provenance stays that of its making."""
        check_kind(role, dim, dtype)
        space = self.find_space(name, spec)
        if space is None:
            group = Group(name, fingerprint(spec), plain_json(spec), role, plain_json(provenance or {}), dim, dtype)
            with writing(f"The space {name}", self.path):
                space = Space(create_group(self._spaces, group))
        if (space.dim, space.dtype.name, space.role) != (dim, dtype, role):
            raise StoreError(
                f"The space {name}@{space.fingerprint} holds {space.dim} {space.dtype.name} ({space.role}), "
                f"not {dim} {dtype} ({role}), although the spec is the same: the spec leaves something out."
            )
        return space

    def add_photos(self, rows: Sequence[PhotoRow]) -> None:
        """Commit what is true of photos. Of several rows for one key the first ever written counts."""
        tables.add_rows(self.path, tables.PHOTOS, rows)

    def add_files(self, rows: Sequence[FileRow]) -> None:
        """Commit what was seen where. Of several rows for one path the last written counts."""
        tables.add_rows(self.path, tables.FILES, rows)

    def add_failures(self, rows: Sequence[FailureRow]) -> None:
        """Commit what went wrong. Of several rows for one path and fingerprint the last written counts."""
        tables.add_rows(self.path, tables.FAILURES, rows)

    def photos(self) -> pa.Table:
        """One row a key: key binary(32), width int32, height int32, format string, orientation int8."""
        return tables.read_rows(self.path, tables.PHOTOS)

    def files(self, *, everything: bool = False) -> pa.Table:
        """One row a path: path binary, size int64 (bytes), mtime_ns int64, key binary(32), taken_at and camera string
        or null. With `everything`, all rows that are on the disk, in the order in which they count: several a path, and
        also those that a `forget` was killed over."""
        if everything:
            return tables.read_everything(self.path, tables.FILES)
        return tables.read_rows(self.path, tables.FILES)

    def failures(self) -> pa.Table:
        """One row a path and fingerprint: path binary, size int64 (bytes), mtime_ns int64, key binary(32) or null,
        fingerprint, stage, error and version string, at timestamp(us, UTC)."""
        return tables.read_rows(self.path, tables.FAILURES)

    def verify(self) -> list[str]:
        """What is wrong with the store's files, in words; every committed byte is read. Empty when all is well."""
        problems = []
        try:
            if _check_about(self.path) != _ABOUT_BYTES:
                problems.append(f"{self.path / _ABOUT} is not as it was written.")
        except StoreError as error:
            problems.append(str(error))
        for kind in tables.TABLES:
            problems += verify_table(self.path / kind.folder)
        for folder in self._space_folders(named_well=False):
            if split_space_folder(folder) is None:
                problems.append(f"{self._spaces / folder} is no space: its name is not <name>@<fingerprint>.")
            else:
                problems += verify_space(self._spaces / folder)
        return problems

    def compact(self, ref: str | None = None) -> dict[str, int]:
        """Merge neighbouring small segments, of one space or of all, and the files of each table. Returns how many were
        merged, by `name@fingerprint` and by table. What was replaced stays until `gc`."""
        with alone(self.path):
            spaces = self.spaces() if ref is None else [self.space(ref)]
            merged = {space.path.name: compact_space(space) for space in spaces}
            kinds = tables.TABLES if ref is None else ()
            return merged | {kind.folder: compact_table(self.path, kind) for kind in kinds}

    def gc(self, older_than: float = 24 * 3600) -> Removed:
        """Delete what was replaced more than so many seconds ago, and what killed writers left behind (no less than an
        hour ago). A reader that still has what is deleted sees what replaced it."""
        with alone(self.path), writing("A deletion", self.path):
            removed = collect_leftovers(self.path, older_than)
            for space in self._space_folders():
                removed += collect_space(self._spaces / space, older_than)
            for kind in tables.TABLES:
                removed += collect_table(self.path, kind, older_than)
            return removed

    def forget(self, keys: Keys, paths: Iterable[bytes] = ()) -> dict[str, int]:
        """Delete photos: their vectors in all spaces, their thumbnails, and all rows of the tables with these keys or
        `paths` (`os.fsencode` of them). On return they are on the disk no more, but for what a writer that was killed
        left behind without keys, which goes with `gc`. Returns how many vectors went, by `name@fingerprint`.

        Every segment with one of them is written anew. After a crash the same call goes on."""
        different = np.unique(as_keys(keys), axis=0)
        paths, dropped = list(paths), {}
        with alone(self.path), writing("A deletion", self.path):
            for space in self.spaces():
                dropped[space.path.name] = forget_in_space(space, different)
            Thumbnails(self.path).forget(key.tobytes() for key in different)
            for kind in (tables.PHOTOS, tables.FAILURES, tables.FILES):  # the last one tells which photo was where
                forget_in_table(self.path, kind, different, paths)
        return dropped

    def remove_space(self, ref: str) -> int:
        """Delete a space and all its vectors; how many bytes that were. StoreError as of `space`."""
        with alone(self.path):
            return remove_space(self.space(ref).path)

    @property
    def _spaces(self) -> Path:
        return self.path / "spaces"

    def _space_folders(self, *, named_well: bool = True) -> list[str]:
        return [
            name for name in names_in(self._spaces) if name[0] != "." and (not named_well or split_space_folder(name))
        ]


def _check_about(path: Path) -> bytes:
    """The bytes of the store's photorank.json; StoreError when this version cannot read the store."""
    try:
        data = (path / _ABOUT).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"{path} is no feature store (it has no {_ABOUT}); `photorank extract PHOTOS --store {path}` makes one."
        ) from None
    try:
        found = json.loads(data)["format"]
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise ValueError(found)
    except (ValueError, KeyError, TypeError):
        raise DamagedStoreError(f"{path / _ABOUT} is damaged: it does not name a format.") from None
    if found > FORMAT:
        raise StoreError(
            f"The store {path} has format {found}; this photorank reads format {FORMAT}. Upgrade photorank to read it."
        )
    return data
