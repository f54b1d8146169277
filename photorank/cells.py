"""Text as tables hold it: names that are no text, and cells of a CSV that no spreadsheet takes for a formula."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_TAKEN_FOR_FORMULA = r"^(?='*[=+\-@\t\r\n])"
_APOSTROPHE = r"^'(?='*[=+\-@\t\r\n])"
"""What `inert` put before a cell."""


def as_text(name: str) -> str:
    """The name with bytes that are no UTF-8 as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def inert(cell: str) -> str:
    """The cell behind an apostrophe where a spreadsheet would take it for a formula (CWE-1236); `plain` undoes it.

    A cell that looks as if this had been done to it gets one more, so that nothing is lost.
    """
    return re.sub(_TAKEN_FOR_FORMULA, "'", cell)


def plain(cell: str) -> str:
    """The cell that `inert` made this one of; any other as it is."""
    return re.sub(_APOSTROPHE, "", cell)


def inert_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table, each of its cells that is text as `inert` makes it; `plain_table` undoes it."""
    return table.replace(_TAKEN_FOR_FORMULA, "'", regex=True)


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `inert_table` made this one of."""
    return table.replace(_APOSTROPHE, "", regex=True)
