"""What the terminal shows of a ranking."""

import io

import pandas as pd
import pytest
from rich.console import Console

from photorank.reports.tables import ranking_tables


def ranking(sizes: list[int]) -> pd.DataFrame:
    """Series of so many photos each, their frames named by series and rank."""
    rows = [
        {"path": f"s{number}-{rank}.jpg", "series": f"series {number:03}", "rank": rank, "score": -float(rank),
         "p_best": 1 / size, "keep": rank == 1, "reasons": [], "copies": [], "bracket": None}
        for number, size in enumerate(sizes) for rank in range(1, size + 1)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"keep": "boolean"})


def printed(table: pd.DataFrame, most: int | None) -> str:
    console = Console(width=200, file=io.StringIO())
    for each in ranking_tables(table, most):
        console.print(each)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("sizes", "most", "hidden"),
    [
        ([3, 1, 2], None, 0),
        ([3, 1, 2], 6, 0),
        ([3, 1, 2], 5, 1),  # the one that is alone
        ([3, 2, 1], 3, 3),
        ([3, 2, 1], 1, 3),  # a series is shown whole
        ([1, 1, 1], 2, 1),
    ],
)
def test_every_photo_is_shown_or_counted(sizes: list[int], most: int | None, hidden: int) -> None:
    table = ranking(sizes)
    text = printed(table, most)
    shown = [path for path in table["path"] if path in text]
    assert len(table) - len(shown) == hidden
    assert (f"and {hidden} more photos" in text) == bool(hidden)
    for _, part in table[table["path"].isin(shown)].groupby("series"):
        assert len(part) == (table["series"] == part["series"].iloc[0]).sum(), "a series is cut"
