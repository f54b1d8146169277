"""Labels of others as comparisons files: PhotoTriage's pairlists, and any table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from photorank.comparisons.phototriage import PhotoTriage, read_phototriage
from photorank.comparisons.tables import Columns, comparisons_of_table
from photorank.comparisons.writing import refuse_output, write_comparisons


def phototriage(root: Path, out: Path, photos: Path | None = None) -> PhotoTriage:
    """Write the official pairlists in `root` as comparisons to the new file `out`; ComparisonsError as of reading and
    writing them."""
    refuse_output(out)
    found = read_phototriage(root, photos)
    write_comparisons(found.table, out)
    return found


def convert(path: Path, columns: Columns, out: Path) -> pd.DataFrame:
    """Write the comparisons in a table as the new comparisons file `out`, and give them; ComparisonsError likewise."""
    refuse_output(out)
    found = comparisons_of_table(path, columns)
    write_comparisons(found, out)
    return found
