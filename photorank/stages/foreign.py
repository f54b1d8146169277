"""Features that people already have: HDF5, NumPy, Parquet and CSV files made by other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from photorank.errors import StoreError

PHOTO_NAMES = ("key", "keys", "path", "paths")
VECTOR_NAMES = ("vector", "vectors", "feature", "features", "embedding", "embeddings")


@dataclass(frozen=True)
class ForeignFeatures:
    """A vector a photo. `photos`: per row a path, 64 hex digits or the 32 bytes of a key. `vectors`: (N, dim) float16
    or float32."""

    photos: list[str | bytes]
    vectors: NDArray[Any]


def read_features(path: Path, photos: str | None = None, vectors: str | None = None) -> ForeignFeatures:
    """Read a file of features. `photos` names the column, the data set or (for .npy) the file with the photos,
    `vectors` that with the vectors; without them what is called by one of the usual names is taken, or is the only
    candidate. StoreError, naming the file, when it cannot be read or does not have both."""
    readers: dict[str, Callable[[Path, str | None, str | None], tuple[Any, Any]]] = {
        ".npy": _read_npy, ".npz": _read_npz, ".h5": _read_hdf5, ".hdf5": _read_hdf5, ".parquet": _read_table,
        ".csv": _read_table,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise StoreError(f"{path} is of no kind that can be imported; these are: {', '.join(readers)}.")
    try:
        named, rows = readers[path.suffix.lower()](path, photos, vectors)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read: {error}.") from None
    return ForeignFeatures(_photos(path, named), _vectors(path, rows, len(named)))


def _photos(path: Path, named: Any) -> list[str | bytes]:
    array = np.asarray(named)
    if array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] == 32:
        return [row.tobytes() for row in array]
    texts = [each.decode("utf-8", "surrogateescape") if isinstance(each, bytes) and len(each) != 32 else each
             for each in array.tolist()]  # fmt: skip
    for number, text in enumerate(texts, 1):
        if not isinstance(text, (str, bytes)) or not text:
            raise StoreError(f"{path}, row {number}: {text!r} is neither a path nor a key.")
    return texts


def _vectors(path: Path, rows: Any, count: int) -> NDArray[Any]:
    array = np.asarray(rows)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] == 0:
        raise StoreError(f"{path} has vectors of shape {array.shape}, {array.dtype}; they must be numbers, (N, dim).")
    if len(array) != count:
        raise StoreError(f"{path} has {len(array)} vectors for {count} photos.")
    vectors = np.ascontiguousarray(array, array.dtype.name if array.dtype in (np.float16, np.float32) else np.float32)
    fine = np.isfinite(vectors).all(axis=1)
    if not fine.all():
        raise StoreError(f"{path}, row {int(np.argmin(fine)) + 1}: the vector has a value that is not finite.")
    return vectors


def _pick(what: str, asked: str | None, usual: tuple[str, ...], there: Mapping[str, bool]) -> str:
    """The name to take. `there`: all names, and whether each could be it."""
    if asked is not None:
        if asked not in there:
            raise ValueError(f"it has no {asked!r}; it has {', '.join(there)}")
        return asked
    candidates = [name for name in usual if there.get(name)] or [name for name, fits in there.items() if fits]
    if len(candidates) != 1:
        raise ValueError(f"which of {', '.join(there) or 'nothing'} are the {what} must be said with --{what}")
    return candidates[0]


def _read_arrays(arrays: Mapping[str, Any], photos: str | None, vectors: str | None) -> tuple[Any, Any]:
    texts = {name: array.ndim == 1 or array.dtype == np.uint8 for name, array in arrays.items()}
    number = _pick("photos", photos, PHOTO_NAMES, texts)
    matrices = {name: array.ndim == 2 and name != number for name, array in arrays.items()}
    return arrays[number], arrays[_pick("vectors", vectors, VECTOR_NAMES, matrices)]


def _read_npz(path: Path, photos: str | None, vectors: str | None) -> tuple[Any, Any]:
    with np.load(path, allow_pickle=False) as file:
        return _read_arrays({name: file[name] for name in file.files}, photos, vectors)


def _read_hdf5(path: Path, photos: str | None, vectors: str | None) -> tuple[Any, Any]:
    import h5py

    with h5py.File(path) as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        named, rows = _read_arrays(found, photos, vectors)
        return named[:], rows[:]


def _read_npy(path: Path, photos: str | None, vectors: str | None) -> tuple[Any, Any]:
    if photos is None:
        raise ValueError("a .npy file says nothing of its photos; give a file that does with --photos (.npy or .txt)")
    listed = Path(photos)
    if listed.suffix == ".npy":
        named = np.load(listed, allow_pickle=False)
    else:
        named = np.array(listed.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
    return named, np.load(path, allow_pickle=False)


def _read_table(path: Path, photos: str | None, vectors: str | None) -> tuple[Any, Any]:
    table = pyarrow.csv.read_csv(path) if path.suffix.lower() == ".csv" else pq.read_table(path)
    kinds = {field.name: field.type for field in table.schema}
    texts = {name: _is_text(kind) for name, kind in kinds.items()}
    named = _pick("photos", photos, PHOTO_NAMES, texts)
    lists = {name: pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) for name, kind in kinds.items()}
    if any(table[name].null_count for name in table.column_names):
        raise ValueError("it has empty cells")
    if vectors is None and not any(lists.values()):  # a column a dimension
        columns = [name for name, kind in kinds.items() if _is_number(kind)]
        if not columns:
            raise ValueError("it has neither a column of lists nor one of numbers")
        return table[named].to_pylist(), np.stack([table[name].to_numpy() for name in columns], axis=1)
    column = table[_pick("vectors", vectors, VECTOR_NAMES, lists)].combine_chunks()
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1:
        raise ValueError(f"its vectors have different lengths: {lengths[0]} and {lengths[1]}")
    values = column.flatten().to_numpy(zero_copy_only=False)
    return table[named].to_pylist(), values.reshape(len(table), -1)


def _is_text(kind: pa.DataType) -> bool:
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_fixed_size_binary)
    return any(check(kind) for check in checks)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
