"""Text as tables hold it: names that are no text, and cells of a CSV that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_TAKEN_FOR_FORMULA = r"^(?='*[=+\-@\t\r\n])"
_APOSTROPHE = r"^'(?='*[=+\-@\t\r\n])"
"""What `csv_text` put before a cell."""


def as_text(name: str) -> str:
    """The name with bytes that are no UTF-8 as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def csv_text(table: pd.DataFrame) -> str:
    """The table as a CSV, text behind an apostrophe where a spreadsheet would take it for a formula (CWE-1236).

    A cell that looks as if this had been done to it gets one more, so that nothing is lost; `plain_table` undoes it.
    """
    table = table.replace(_TAKEN_FOR_FORMULA, "'", regex=True)
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" not in text:
        return text
    # A lone CR ends a line for whoever reads it, and Python's csv module does not think of quoting it.
    return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it was before `csv_text`."""
    return table.replace(_APOSTROPHE, "", regex=True)
