"""PhotoTriage's review files, which look like labels and cannot be used as such."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from photorank.errors import ComparisonsError

_COLUMNS = frozenset({"compareid1", "compareid2", "comparefile1", "comparefile2", "userchoice"})
_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
_LOOKED_AT = 50
"""Files of a folder: its review files are all alike."""


def refuse_review_columns(path: Path, columns: Iterable[object]) -> None:
    """ComparisonsError where a table has columns of the review files, however it was made from them."""
    found = [str(name) for name in columns if str(name).replace("_", "").replace(" ", "").lower() in _COLUMNS]
    if len(found) >= 2:
        raise ComparisonsError(_why(path, ", ".join(found)))


def refuse_reviews(path: Path) -> None:
    """ComparisonsError where `path` is a review file, a table made from review files, or a folder of either."""
    if path.is_dir():
        files = sorted(path.rglob("*.json"))[:_LOOKED_AT]
        files += sorted(each for each in path.iterdir() if each.suffix.lower() in _TABLES)[:_LOOKED_AT]
    else:
        files = [path]
    for file in files:
        refuse_review_columns(file, _names(file))


def _names(file: Path) -> list[str]:
    """The columns of a table, or the fields of the first entry of a JSON file; none of a file that is neither."""
    try:
        if file.suffix.lower() == ".json":
            return _fields(json.loads(file.read_bytes()))
        if file.suffix.lower() in (".parquet", ".pq"):
            return list(pq.read_schema(file).names)
        return list(pd.read_csv(file, sep=None, engine="python", nrows=1).columns)
    # Broad on purpose: this only looks whether a file is one of those; what is wrong with others is for its reader.
    except Exception:
        return []


def _fields(value: Any) -> list[str]:
    entries = value.get("reviews") if isinstance(value, dict) else value
    first = entries[0] if isinstance(entries, list) and entries else value
    return list(first) if isinstance(first, dict) else []


def _why(path: Path, found: str) -> str:
    return (
        f"{path} holds PhotoTriage's reviews ({found}), whose photo numbers are in an order of their own within each "
        f"series, other than that of the photos' file names: joined with the photos they give labels that are right "
        f"half of the time. The labels are the official train_pairlist.txt and val_pairlist.txt; give the folder that "
        f"holds them to `photorank comparisons phototriage`"
    )
