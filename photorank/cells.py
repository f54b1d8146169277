"""Text as tables hold it: names that are no text, and cells of a CSV that no spreadsheet takes for a formula."""

from __future__ import annotations

import re

_TAKEN_FOR_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
APOSTROPHE = r"^'(?='*[=+\-@\t\r\n])"
"""What `inert` put before a cell, as a regular expression."""


def as_text(name: str) -> str:
    """The name with bytes that are no UTF-8 as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def inert(cell: str) -> str:
    """The cell behind an apostrophe where a spreadsheet would take it for a formula (CWE-1236); `plain` undoes it.

    A cell that looks as if this had been done to it gets one more, so that nothing is lost.
    """
    return f"'{cell}" if _TAKEN_FOR_FORMULA.match(cell) else cell


def plain(cell: str) -> str:
    """The cell that `inert` made this one of; any other as it is."""
    return re.sub(APOSTROPHE, "", cell)
