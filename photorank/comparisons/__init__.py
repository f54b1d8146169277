"""Comparisons: reading label files, checking them, and splitting by series.

A comparisons file is CSV or Parquet with a row a comparison:

    series   any name; photos of one moment
    left     photo: a path (absolute, or relative to a folder given), or a key as 64 hex digits
    right    likewise
    p_left   share (or modelled probability) of people who prefer the left one, in [0, 1]
    votes    optional: people who were asked
    split    optional: train, val or test

In a CSV, text that a spreadsheet would take for a formula may stand behind an apostrophe, as `writing` has it.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from photorank.comparisons.groups import groups
from photorank.comparisons.reading import read_csv
from photorank.errors import ComparisonsError

REQUIRED = ("series", "left", "right", "p_left")
OPTIONAL = ("votes", "split")
SPLITS = ("train", "val", "test")
CLEAR = 0.7
"""A comparison is clear where more than this share of people agree: max(p, 1 − p) > CLEAR."""
_log = logging.getLogger(__name__)
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Comparisons:
    """Comparisons over photos numbered 0 … N−1, in the file's order."""

    keys: NDArray[np.uint8]
    """(N, 32): the keys of the photos."""
    left: NDArray[np.int64]
    """(C,) photo numbers."""
    right: NDArray[np.int64]
    p_left: NDArray[np.float32]
    """(C,) in [0, 1]."""
    series: NDArray[np.int64]
    """(C,) series numbers 0 … S−1."""
    series_names: list[str]
    split: NDArray[np.object_]
    """(C,) train, val or test."""
    votes: NDArray[np.float32] | None = None
    """(C,) people who were asked, where the file says it."""

    def __len__(self) -> int:
        return len(self.left)

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """(C,) the series, but one number for series that share photos (see `groups`): what splits, early stopping and
        intervals take as a whole."""
        return groups(self.series, self.left, self.right)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Numbers of the comparisons of a split."""
        return np.flatnonzero(self.split == split)

    def take(self, rows: NDArray[np.int64]) -> Comparisons:
        """These comparisons alone, in this order, over the photos and series that they are of."""
        ends = np.concatenate([self.left[rows], self.right[rows]])
        photos, at = np.unique(ends, return_inverse=True)
        left, right = at.reshape(2, -1).astype(np.int64)
        series, numbers = np.unique(self.series[rows], return_inverse=True)
        return Comparisons(
            self.keys[photos], left, right, self.p_left[rows], numbers.reshape(-1).astype(np.int64),
            [self.series_names[each] for each in series], self.split[rows],
            self.votes[rows] if self.votes is not None else None,
        )  # fmt: skip


def read_comparisons(path: Path) -> pd.DataFrame:
    """The table of a comparisons file, checked; `series`, `left`, `right` as text.

    Raises ComparisonsError that names the file, the row (1 is the first after the header) and what is wrong with it.
    """
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pd.read_parquet(path).reset_index(drop=True)
        else:
            texts = dict.fromkeys(("series", "left", "right", "split"), str)
            # Only what is empty is missing: a series may be called "NA".
            table = read_csv(path, dtype=texts, na_values=[""])
    except FileNotFoundError as error:
        raise ComparisonsError(f"there is no comparisons file {path}") from error
    except ComparisonsError:
        raise
    except Exception as error:  # pandas and pyarrow raise a dozen kinds; all mean that it is no table
        reason = " ".join(str(error).split())[:200]
        raise ComparisonsError(f"{path} is neither a CSV nor a Parquet table: {reason}") from error
    return check_comparisons(path, table)


def check_comparisons(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """A table that is to be comparisons, of which `path` is the file to name: `read_comparisons` but for the reading.

    `p_left` becomes float32, `votes` numbers; further columns are kept as they are. Raises ComparisonsError likewise.
    """
    _check_columns(path, table)
    if table.empty:
        raise ComparisonsError(f"{path} holds no comparisons")
    for name in ("series", "left", "right"):
        _refuse(path, table, table[name].isna(), f"{name} is empty")
        table[name] = table[name].astype(str)
    number = _numbers(table["p_left"])
    _refuse(path, table, ~number.between(0, 1), "p_left is not a number in [0, 1]", "p_left")
    table["p_left"] = number.astype(np.float32)
    _refuse(path, table, table["left"] == table["right"], "left and right are the same photo", "left")
    if "votes" in table:
        votes = _numbers(table["votes"])
        _refuse(path, table, ~votes.between(0, np.finfo(np.float32).max), "votes is not a number of people", "votes")
        table["votes"] = votes
    if "split" in table:
        _refuse(path, table, ~table["split"].isin(SPLITS), f"split is not one of {', '.join(SPLITS)}", "split")
        splits = table.groupby("series")["split"].nunique()
        if (splits > 1).any():
            raise ComparisonsError(
                f"{path}: series {splits.idxmax()!r} is in more than one split; a split is of whole series, or the "
                f"same photos are trained on and reported"
            )
    return table


def resolve(
    path: Path, table: pd.DataFrame, photos: Path | None, key_of: Callable[[bytes], bytes | None], val_fraction: float,
    seed: int,
) -> Comparisons:  # fmt: skip
    """The table with its photos as keys; without a `split` column, `val_fraction` of the series become `val`,
    those that share photos together.

    The table may be a part of what `read_comparisons` gave, its index kept: rows are named as in the file.
    `key_of` gives the key of an absolute path (as bytes), None where the store has not seen it. Relative paths are
    meant from `photos`, or else from the file's own folder. Raises ComparisonsError for a photo that was not seen, a
    comparison of two paths with one key, or a photo in more than one split.
    """
    base = photos if photos is not None else path.parent
    names, codes = np.unique(np.concatenate([table["left"], table["right"]]).astype(str), return_inverse=True)
    places = [os.path.abspath(base / name) for name in names]
    found = [as_key(name) or key_of(os.fsencode(place)) for name, place in zip(names, places, strict=True)]
    if absent := [at for at, key in enumerate(found) if key is None]:
        more = f" (and {len(absent) - 1} more photos like it)" if len(absent) > 1 else ""
        raise ComparisonsError(
            f"{path} names {names[absent[0]]}{more}, which the store has not seen at {places[absent[0]]}: extract it, "
            f"or say with --photos which folder the paths are relative to{_unpack(base)}"
        )
    joined = np.frombuffer(b"".join(key for key in found if key is not None), np.uint8)
    keys, photo_of = np.unique(joined.reshape(-1, 32), axis=0, return_inverse=True)
    left, right = photo_of.reshape(-1)[codes].reshape(2, -1).astype(np.int64)
    same = pd.Series(left == right, index=table.index)
    _refuse(path, table, same, "left and right are two names of the same photo", "left")
    codes, series_names = pd.factorize(table["series"])
    series = codes.astype(np.int64)
    group = groups(series, left, right)
    _tell_shared_photos(path, series, group)
    if "split" in table:
        split = table["split"].to_numpy(dtype=object)
    else:
        split = np.where(hold_out(group, val_fraction, seed), "val", "train").astype(object)
    _refuse_shared_photos(path, keys, left, right, split)
    p_left = table["p_left"].to_numpy(dtype=np.float32)
    votes = table["votes"].to_numpy(dtype=np.float32) if "votes" in table else None
    return Comparisons(keys, left, right, p_left, series, list(series_names), split, votes)


def as_key(name: str) -> bytes | None:
    """The key (32 bytes) that a photo is named by; None where the name is a path."""
    return bytes.fromhex(name) if _HEX_KEY.fullmatch(name) else None


def hold_out(group: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """(C,) True for the comparisons of about `fraction` of the series, drawn by seed: at least one series of two.

    `group` (C,) has one number for series that share photos, see `Comparisons.group`.
    """
    distinct = np.unique(group)
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1) if fraction > 0 else 0
    drawn = np.random.default_rng(seed).permutation(distinct)[:count]
    return np.isin(group, drawn)


def _check_columns(path: Path, table: pd.DataFrame) -> None:
    for name in REQUIRED:
        if name not in table:
            near = difflib.get_close_matches(name, [str(column) for column in table.columns], n=1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ComparisonsError(
                f"{path} has no column {name!r}{hint} A comparisons file has {', '.join(REQUIRED)} and, if you like, "
                f"{' and '.join(OPTIONAL)}"
            )


def _numbers(column: pd.Series) -> pd.Series:
    """The column in float64, NaN where it holds no number; pandas' NA, which no comparison refuses, is such."""
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, what: str, column: str | None = None) -> None:
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        cell = table[column].iloc[at] if column else ""
        value = f" ({column} is {repr(cell) if isinstance(cell, str) else cell})" if column else ""
        more = f", and {int(wrong.sum()) - 1} more rows" if wrong.sum() > 1 else ""
        raise ComparisonsError(f"{path}, row {int(table.index[at]) + 1}{more}: {what}{value}")


def _unpack(base: Path) -> str:
    """What is to be done where the photos are in a tar archive, out of which training on pixels reads them."""
    archives = [base] if base.is_file() else sorted(base.glob("*.tar"))
    if not archives:
        return ""
    return (
        f"; photos in an archive are read by e2e alone: unpack it (mkdir DIR; tar xf {archives[0]} -C DIR), extract "
        f"DIR and say --photos DIR"
    )


def _tell_shared_photos(path: Path, series: NDArray[np.int64], group: NDArray[np.int64]) -> None:
    of = np.unique(np.stack([series, group]), axis=1)[1]
    if shared := int((np.bincount(of)[of] > 1).sum()):
        _log.warning("warning: %s: %d series share photos; they are kept together", path, shared)


def _refuse_shared_photos(
    path: Path, keys: NDArray[np.uint8], left: NDArray[np.int64], right: NDArray[np.int64], split: NDArray[np.object_]
) -> None:
    photos = [set(np.concatenate([left[split == name], right[split == name]]).tolist()) for name in SPLITS]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if shared := photos[i] & photos[j]:
            raise ComparisonsError(
                f"{path}: {len(shared)} photos are in both {SPLITS[i]} and {SPLITS[j]} (one has the key "
                f"{keys[min(shared)].tobytes().hex()}); split by series, and let a photo be in one series"
            )
