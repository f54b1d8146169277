"""Tables of figures: for the terminal, as Markdown, and as one long table for other programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from photorank.metrics import Estimate
from photorank.reports.figures import Figures

if TYPE_CHECKING:
    from rich.table import Table

DIFFERENCE = "difference"
_NUMBERS = {"Kendall's tau", "log loss", "Brier score", "calibration error"}
"""Figures that are no shares."""


def estimate_text(figure: str, each: Estimate, difference: bool = False) -> str:
    """The value and its interval; shares in percent, differences of shares in percentage points, with their sign."""
    if not each.n or math.isnan(each.value):
        return "–"
    share = figure not in _NUMBERS
    sign, unit = "+" if difference else "", "" if not share else " points" if difference else " %"

    def number(value: float) -> str:
        return f"{100 * value:{sign}.1f}" if share else f"{value:{sign}.3f}"

    if each.groups < 2:
        interval = "one series has none"
    elif share and not difference and each.value == 1:  # a width of 0 would boast
        interval = "no error to resample"
    else:
        interval = f"{number(each.low)}{' to ' if each.low < 0 or difference else '–'}{number(each.high)}"
    return f"{number(each.value)}{unit} ({interval})"


def _grid(figures: Figures) -> tuple[list[str], list[list[str]]]:
    """The columns' names and the rows, as text; with what each row rests on."""
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    rows = []
    for name, row in figures.items():
        cells = []
        for column in columns:
            figure = name if name in _NUMBERS else column
            cells.append(estimate_text(figure, row[column], column == DIFFERENCE) if column in row else "")
        most = max(row.values(), key=lambda each: each.n)
        rows.append([name, *cells, f"{most.n:,}", f"{most.groups:,}"])
    return ["", *columns, "of", "series"], rows


def rich_table(title: str, figures: Figures) -> Table:
    """For the terminal."""
    from rich.markup import escape
    from rich.table import Table

    names, rows = _grid(figures)
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(names):
        table.add_column(escape(name), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def markdown(title: str, figures: Figures) -> str:
    """A heading and a table."""
    names, rows = _grid(figures)
    lines = [names, ["---"] * len(names), *rows]
    cells = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"## {title}\n\n{cells}\n"


def long_table(tables: Mapping[str, Figures]) -> pd.DataFrame:
    """A row an estimate: table, row, column, value, low, high, n, series."""
    rows = [
        (table, row, column, each.value, each.low, each.high, each.n, each.groups)
        for table, figures in tables.items()
        for row, columns in figures.items()
        for column, each in columns.items()
    ]
    return pd.DataFrame(rows, columns=["table", "row", "column", "value", "low", "high", "n", "series"])
