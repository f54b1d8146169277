"""Which series a photo is of: its folder's, or the one that a CSV names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from photorank.errors import ConfigError


def series_of(paths: Sequence[str], series_by: str) -> list[str]:
    """The series of each photo: its folder, or what a CSV says; ConfigError where it names none for a photo."""
    if series_by == "folder":
        return [as_text(str(Path(path).parent)) for path in paths]
    file = Path(series_by)
    if not file.is_file():
        raise ConfigError(f"--series-by is `folder` or a CSV file with columns path, series; {series_by!r} is neither")
    try:
        table = pd.read_csv(file, dtype=str)
        given = {
            os.path.abspath(file.parent / path): name for path, name in zip(table["path"], table["series"], strict=True)
        }
    except (KeyError, TypeError, ValueError, pd.errors.ParserError) as error:
        raise ConfigError(f"{file} is not a CSV with the columns path and series") from error
    unnamed = [path for path in paths if not isinstance(given.get(path), str)]
    if unnamed:
        more = f" and {len(unnamed) - 1} more photos" if len(unnamed) > 1 else ""
        raise ConfigError(f"{file} names no series for {unnamed[0]}{more}; add a row for each")
    return [given[path] for path in paths]


def as_text(name: str) -> str:
    """The name with bytes that are no UTF-8 as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
