"""Reading CSVs as they are written: every cell under its own column, or an error."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from photorank.cells import plain_table
from photorank.errors import ComparisonsError


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """The CSV with what `cells` made inert undone; `options` as of pandas' `read_csv`, whose errors are raised too.

    Commas at the ends of rows are no cells. Raises ComparisonsError where a row has more cells than the header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Otherwise pandas takes the first column for names of rows where rows are longer than the header.
            return plain_table(pd.read_csv(path, keep_default_na=False, index_col=False, **options))
    except pd.errors.ParserWarning as error:
        raise ComparisonsError(
            f"{path}: a row has more cells than the header; name every column, and quote cells that hold a comma"
        ) from error
