"""Labels of others as comparisons files: PhotoTriage's pairlists."""

from __future__ import annotations

from pathlib import Path

from photorank.comparisons.phototriage import PhotoTriage, read_phototriage
from photorank.comparisons.writing import refuse_output, write_comparisons


def phototriage(root: Path, out: Path, photos: Path | None = None) -> PhotoTriage:
    """Write the official pairlists in `root` as comparisons to the new file `out`; ComparisonsError as of reading and
    writing them."""
    refuse_output(out)
    found = read_phototriage(root, photos)
    write_comparisons(found.table, out)
    return found
