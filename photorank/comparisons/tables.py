"""Comparisons out of any table: CSV, TSV or Parquet whose columns are named by the caller."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from photorank.cells import plain_table
from photorank.comparisons import check_comparisons
from photorank.comparisons.reviews import refuse_review_columns, refuse_reviews
from photorank.errors import ComparisonsError

SIDES = {"left": 1.0, "right": 0.0, "1": 1.0, "2": 0.0, "tie": 0.5}
"""What a winner's column may hold besides the two photos → p_left."""


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns. Exactly one of `p_left`, `winner` and the two counts of votes is to be given."""

    left: str
    right: str
    p_left: str | None = None
    winner: str | None = None
    votes_left: str | None = None
    votes_right: str | None = None
    """People who prefer the left and the right photo; p_left is the left one's share, `votes` the sum."""
    series: str | None = None
    """None: photos that are compared, directly or through others, are of one series."""
    votes: str | None = None
    split: str | None = None


def comparisons_of_table(path: Path, columns: Columns) -> pd.DataFrame:
    """The comparisons in a table: series, left, right, p_left, and votes and split where the table has them.

    Raises ComparisonsError for a file that is no table, a column that is not there (naming the nearest), PhotoTriage's
    reviews, and a value that cannot be read, with its row (1 is the first after the header).
    """
    table = _read(path)
    refuse_review_columns(path, table.columns)
    if table.empty:
        raise ComparisonsError(f"{path} holds no comparisons")
    left, right = _texts(path, table, columns.left), _texts(path, table, columns.right)
    found = pd.DataFrame({"left": left, "right": right})
    if columns.p_left is not None:
        found["p_left"] = _numbers(path, table, columns.p_left)
    elif columns.winner is not None:
        found["p_left"] = _won(path, left, right, _texts(path, table, columns.winner), columns.winner)
    else:
        assert columns.votes_left is not None and columns.votes_right is not None
        ours, theirs = (_counts(path, table, name) for name in (columns.votes_left, columns.votes_right))
        _refuse(path, ours + theirs == 0, "nobody voted: there is no share to take", table[columns.votes_left])
        found["p_left"], found["votes"] = ours / (ours + theirs), ours + theirs
    found.insert(
        0, "series", components(left, right) if columns.series is None else _texts(path, table, columns.series)
    )
    if columns.votes is not None:
        found["votes"] = _counts(path, table, columns.votes)
    if columns.split is not None:
        found["split"] = _texts(path, table, columns.split)
    return check_comparisons(path, found)


def components(left: pd.Series, right: pd.Series) -> list[str]:
    """(C,) the connected component of the graph of comparisons that each is in, numbered from 1 by first appearance."""
    parent: dict[str, str] = {}

    def root(photo: str) -> str:
        while (above := parent.setdefault(photo, photo)) != photo:
            parent[photo] = parent[above]
            photo = above
        return photo

    ends = [(os.path.normpath(one), os.path.normpath(other)) for one, other in zip(left, right, strict=True)]
    for one, other in ends:
        parent[root(one)] = root(other)
    numbers: dict[str, int] = {}
    return [str(numbers.setdefault(root(one), len(numbers) + 1)) for one, _ in ends]


def _read(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix == ".json":
        refuse_reviews(path)
    try:
        if suffix in (".parquet", ".pq"):
            return pd.read_parquet(path).reset_index(drop=True)
        separator = "\t" if suffix in (".tsv", ".tab") else ","
        return plain_table(
            pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
        )
    except FileNotFoundError as error:
        raise ComparisonsError(f"there is no table {path}") from error
    except Exception as error:  # pandas and pyarrow raise a dozen kinds; all mean that it is no table
        reason = " ".join(str(error).split())[:200]
        raise ComparisonsError(f"{path} is neither a CSV, a TSV nor a Parquet table: {reason}") from error


def _column(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        known = [str(column) for column in table.columns]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; is it {near[0]!r}?" if near else ";"
        raise ComparisonsError(f"{path} has no column {name!r}{hint} It has {', '.join(known)}")
    return table[name]


def _texts(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    column = _column(path, table, name)
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")  # whole numbers with a gap among them
    texts = column.astype(object).where(column.notna(), "").map(str).str.strip()
    _refuse(path, texts == "", f"the column {name!r} is empty", None)
    return texts


def _numbers(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    column = _column(path, table, name)
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    _refuse(path, ~(numbers.abs() < np.inf), f"the column {name!r} holds no number", column)
    return numbers


def _counts(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    numbers = _numbers(path, table, name)
    _refuse(path, numbers < 0, f"the column {name!r} holds no number of people", table[name])
    return numbers


def _won(path: Path, left: pd.Series, right: pd.Series, winner: pd.Series, name: str) -> pd.Series:
    side = winner.str.lower().map(SIDES)
    photo = pd.Series(np.select([winner == left, winner == right], [1.0, 0.0], np.nan), index=winner.index)
    wants = f"in the column {name!r} is neither {', '.join(SIDES)} nor one of the two photos"
    _refuse(path, side.isna() & photo.isna(), f"the winner {wants}", winner)
    either = side.notna() & photo.notna() & (side != photo)
    _refuse(path, either, f"the winner in the column {name!r} could be the side or the photo of that name", winner)
    return photo.fillna(side)


def _refuse(path: Path, wrong: pd.Series, what: str, values: pd.Series | None) -> None:
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        more = f", and {int(wrong.sum()) - 1} more rows" if wrong.sum() > 1 else ""
        value = f" ({values.iloc[at]!r})" if values is not None else ""
        raise ComparisonsError(f"{path}, row {at + 1}{more}: {what}{value}")
