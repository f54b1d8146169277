"""Spaces as files that others read: HDF5, Parquet and NumPy; and back.

    hdf5     one file; a group `<name>@<fingerprint>` a space, with the datasets `keys` (N, 32) uint8 and `vectors`
             (N, dim), and the attribute `photorank`
    parquet  a folder; `<name>@<fingerprint>.parquet` a space, with the columns `key` binary(32) and `vector`, a
             fixed-size list, and `photorank` in the schema's metadata
    npy      a folder; `<name>@<fingerprint>.keys.npy` (N, 32) uint8, `.npy` (N, dim) and `.json` a space

What is called `photorank`, and the .json, is one JSON object: name, fingerprint, spec, role, provenance, dim, dtype.
"""

from __future__ import annotations

import functools
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from photorank.errors import DamagedStoreError, StoreError
from photorank.store.arrays import Rows
from photorank.store.durable import writing
from photorank.store.group import check_kind
from photorank.store.identity import JSONDict, check_space_name, fingerprint
from photorank.store.keys import KEY_BYTES, KeyArray, keys_from_arrow, keys_to_arrow
from photorank.store.space import Space

Format: TypeAlias = Literal["hdf5", "parquet", "npy"]
Batches: TypeAlias = Iterator[tuple[KeyArray, Rows]]

_ABOUT = "photorank"
_BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class ExportedSpace:
    """A space as `export` wrote it. `batches()` gives keys (n, 32) and vectors (n, dim), some at a time."""

    name: str
    spec: JSONDict
    role: Literal["visual", "statistic"]
    provenance: JSONDict
    dim: int
    dtype: Literal["float16", "float32"]
    rows: int
    batches: Callable[[], Batches]


def export_spaces(spaces: Sequence[Space], path: Path, form: Format) -> None:
    """Write the spaces to a new file (hdf5) or folder, which is there whole or not at all. Every checksum is verified.
    StoreError when something is there already or it cannot be written, DamagedStoreError for damaged vectors."""
    if path.exists():
        raise StoreError(f"{path} is there already; give another name or remove it.")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    writers = {"hdf5": _write_hdf5, "parquet": _write_parquet, "npy": _write_npy}
    try:
        with writing("The export", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            writers[form](spaces, temporary)
            temporary.rename(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def read_export(path: Path) -> list[ExportedSpace]:
    """The spaces in what `export_spaces` wrote (of a folder, single files too); none when it wrote something else.
    StoreError when a spec is not the one that its fingerprint names, or the vectors are not what is said of them."""
    if path.is_dir():
        return [space for each in sorted(path.iterdir()) if each.suffix != ".npy" for space in read_export(each)]
    if path.suffix in (".h5", ".hdf5"):
        return _read_hdf5(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix in (".json", ".npy") and path.with_suffix(".json").exists():
        return _read_npy(path.with_suffix(".json"))
    return []


def _about(space: Space) -> str:
    fields = ("name", "fingerprint", "spec", "role", "provenance", "dim")
    return json.dumps({**{name: getattr(space, name) for name in fields}, "dtype": space.dtype.name})


def _batches(space: Space) -> Batches:
    return space.iter_batches(max(1, _BATCH_BYTES // (space.dim * space.dtype.itemsize)), verify=True)


def _write_hdf5(spaces: Sequence[Space], path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for space in spaces:
            group, rows, at = file.create_group(space.path.name), len(space), 0
            group.attrs[_ABOUT] = _about(space)
            keys = group.create_dataset("keys", (rows, KEY_BYTES), np.uint8)
            vectors = group.create_dataset("vectors", (rows, space.dim), space.dtype)
            for some, values in _batches(space):
                keys[at : at + len(some)], vectors[at : at + len(some)] = some, values
                at += len(some)


def _write_parquet(spaces: Sequence[Space], path: Path) -> None:
    path.mkdir()
    for space in spaces:
        vector = pa.list_(pa.from_numpy_dtype(space.dtype), space.dim)
        columns = [pa.field("key", pa.binary(KEY_BYTES), False), pa.field("vector", vector, False)]
        schema = pa.schema(columns, {_ABOUT: _about(space)})
        with pq.ParquetWriter(path / f"{space.path.name}.parquet", schema, compression="none") as writer:
            for keys, values in _batches(space):
                flat = pa.array(values.reshape(-1))
                rows = pa.FixedSizeListArray.from_arrays(flat, type=vector)
                writer.write_table(pa.Table.from_arrays([keys_to_arrow(keys), rows], schema=schema))


def _write_npy(spaces: Sequence[Space], path: Path) -> None:
    path.mkdir()
    for space in spaces:
        name, rows, at = str(path / space.path.name), len(space), 0
        np.save(f"{name}.keys.npy", space.keys())
        if rows:
            vectors = np.lib.format.open_memmap(f"{name}.npy", "w+", space.dtype, (rows, space.dim))
            for some, values in _batches(space):
                vectors[at : at + len(some)] = values
                at += len(some)
            vectors.flush()
        else:  # a file without bytes cannot be mapped
            np.save(f"{name}.npy", np.empty((0, space.dim), space.dtype))
        Path(f"{name}.json").write_text(_about(space), encoding="utf-8")


def _read_hdf5(path: Path) -> list[ExportedSpace]:
    import h5py

    def batches(name: str, step: int) -> Batches:
        with h5py.File(path) as file:
            group = file[name]
            for start in range(0, len(group["keys"]), step):
                yield group["keys"][start : start + step], group["vectors"][start : start + step]

    try:
        with h5py.File(path) as file:
            found = []
            for name, group in file.items():
                if _ABOUT in group.attrs:
                    vectors = group["vectors"]
                    some = functools.partial(batches, name)
                    found.append(_exported(path, group.attrs[_ABOUT], vectors.shape, vectors.dtype, some))
            return found
    except (OSError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read as HDF5: {error}.") from None


def _read_parquet(path: Path) -> list[ExportedSpace]:
    def batches(step: int) -> Batches:
        for batch in pq.ParquetFile(path).iter_batches(step):
            vectors = batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
            yield keys_from_arrow(batch["key"]), vectors

    try:
        file = pq.ParquetFile(path)
        about = (file.schema_arrow.metadata or {}).get(_ABOUT.encode())
        if about is None:
            return []
        vector = file.schema_arrow.field("vector").type
        shape = (file.metadata.num_rows, vector.list_size)
        return [_exported(path, about, shape, np.dtype(vector.value_type.to_pandas_dtype()), batches)]
    except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read as Parquet: {error}.") from None


def _read_npy(path: Path) -> list[ExportedSpace]:
    def batches(step: int) -> Batches:
        keys, vectors = (_npy(path.with_suffix(ending)) for ending in (".keys.npy", ".npy"))
        for start in range(0, len(keys), step):
            yield np.array(keys[start : start + step]), np.array(vectors[start : start + step])

    try:
        about = path.read_text(encoding="utf-8")
        if "fingerprint" not in json.loads(about):
            return []
        rows = _npy(path.with_suffix(".npy"))
        return [_exported(path.with_suffix(".npy"), about, rows.shape, rows.dtype, batches)]
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path.with_suffix('')}.* cannot be read: {error}.") from None


def _npy(path: Path) -> Rows:
    """The array in a .npy file, mapped (which one without bytes cannot be)."""
    try:
        array: Rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        array = np.load(path, allow_pickle=False)
    return array


def _exported(
    path: Path, about: str | bytes, shape: tuple[int, ...], dtype: np.dtype[Any], batches: Callable[[int], Batches]
) -> ExportedSpace:
    """The space, once its spec, its fingerprint and its vectors agree."""
    try:
        fields = json.loads(about)
        name, spec, role = check_space_name(fields["name"]), dict(fields["spec"]), fields["role"]
        dim, kind, provenance = fields["dim"], fields["dtype"], dict(fields["provenance"])
        check_kind(role, dim, kind)
        said, actual = fields["fingerprint"], fingerprint(spec)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(f"{path} does not say what its vectors are: {error!r}.") from None
    if said != actual:
        raise StoreError(
            f"{path} holds vectors of {name}@{said}, but the spec beside them has the fingerprint {actual}: "
            "one of them was changed, so the vectors are refused."
        )
    if len(shape) != 2 or shape[1] != dim or dtype != np.dtype(kind):
        raise StoreError(f"{path} holds {dtype} vectors of shape {shape}; it says {dim} {kind}.")
    step = max(1, _BATCH_BYTES // (dim * dtype.itemsize))
    return ExportedSpace(name, spec, role, provenance, dim, kind, shape[0], lambda: batches(step))
