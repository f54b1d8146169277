"""A ranking as files and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from photorank.cells import as_text, csv_text
from photorank.errors import RunError

_TEXTS = pa.list_(pa.string())
SCHEMA = pa.schema(
    {
        "path": pa.string(), "key": pa.string(), "series": pa.string(), "rank": pa.int64(), "score": pa.float32(),
        "p_best": pa.float64(), "keep": pa.bool_(), "reasons": _TEXTS, "copies": _TEXTS, "bracket": pa.string(),
    }
)  # fmt: skip
"""The columns of ranking.parquet; `keep` is null where nothing was decided, `bracket` where there is none."""


def write_ranking(table: pd.DataFrame, out: Path) -> list[Path]:
    """`ranking.csv` and `ranking.parquet` in the folder `out`, each written whole or not at all.

    In the CSV the entries of `reasons` and `copies` stand in one cell, "; " between them, and cells that a spreadsheet
    would take for formulas are inert (see `cells`). Raises RunError where the files cannot be written.
    """
    copies = pd.Series([[as_text(path) for path in each] for each in table["copies"]], dtype=object)
    shown = table.assign(path=[as_text(path) for path in table["path"]], copies=copies)
    flat = shown.assign(**{name: ["; ".join(each) for each in shown[name]] for name in ("reasons", "copies")})
    whole = pa.Table.from_pandas(shown, SCHEMA, preserve_index=False)
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("ranking.csv", "ranking.parquet"):
            part = out / f".{name}.part"
            if name.endswith(".csv"):
                part.write_bytes(csv_text(flat).encode())
            else:
                pa.parquet.write_table(whole, part)
            part.replace(out / name)
            written.append(out / name)
    except OSError as error:
        raise RunError(
            f"the ranking cannot be written to {out}: {error.strerror or error}; name another --out"
        ) from error
    return written


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON has them: null where nothing was decided."""
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return [{**row, "keep": None if row["keep"] is pd.NA else bool(row["keep"])} for row in rows]
