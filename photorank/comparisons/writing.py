"""Writing comparisons files, whole or not at all, and over one that is there only where told."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import pandas as pd

from photorank.cells import csv_text
from photorank.errors import ComparisonsError

SUFFIXES = (".csv", ".parquet", ".pq")


def refuse_output(out: Path) -> None:
    """ComparisonsError where a comparisons file cannot be written to `out`: asked before the work."""
    if out.suffix.lower() not in SUFFIXES:
        raise ComparisonsError(f"{out} says no format; give --out a name that ends with {' or '.join(SUFFIXES[:2])}")
    if out.exists():
        raise ComparisonsError(f"{out} is there already and is kept; name another --out, or remove it")


def write_comparisons(table: pd.DataFrame, out: Path, replace: bool = False) -> None:
    """Write comparisons as CSV or Parquet, as the name ends; there whole or not at all, and on the disk on return.

    In a CSV, cells that a spreadsheet would take for formulas are inert (see `cells`); `read_comparisons` undoes it.

    Raises ComparisonsError as of `refuse_output` (but with `replace`), and where the file cannot be written.
    """
    if not replace:
        refuse_output(out)
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            if out.suffix.lower() == ".csv":
                file.write(csv_text(table).encode())
            else:
                table.to_parquet(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except OSError as error:
        raise ComparisonsError(
            f"the comparisons cannot be written to {out}: {error.strerror or error}; name another --out"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # a folder that is none, say: then there is no part either
            part.unlink()
