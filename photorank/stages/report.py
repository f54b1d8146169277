"""The report of a ranking: thumbnails of the photos that have none yet, then the pages."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from photorank.config import ExtractConfig
from photorank.errors import PhotoError
from photorank.photos import decode_photo, photo_key, read_photo
from photorank.photos.thumbnails import Thumbnails, thumbnail_size
from photorank.reports.page import Head, write_pages
from photorank.stages.cache import passing_store
from photorank.stages.pipeline import Failure, Progress
from photorank.stages.workers import each


def write_report(
    table: pd.DataFrame, out: Path, store: Path | None, about: str = "", failures: Sequence[Failure] = (),
    config: ExtractConfig | None = None, progress: Progress | None = None,
) -> list[Path]:  # fmt: skip
    """`report.html` (and `report-2.html` ... of a large ranking) in the folder `out`, from a ranking's table (see
    `photorank.reports.page.write_pages`), a sentence `about` what ranked it, and the photos that failed. `config` says
    how photos are decoded.

    Thumbnails are kept in the store, so that the next report makes none; without a store they are forgotten. A photo
    that cannot be decoded any more is in the report, without a thumbnail and with the cause. Raises RunError where the
    report cannot be written.
    """
    config = config or ExtractConfig()
    with ExitStack() as stack:
        folder = store or stack.enter_context(passing_store())
        thumbnails = Thumbnails(folder)
        paths = {str(key): str(path) for key, path in zip(table["key"], table["path"], strict=True)}
        missing = {path: key for key, path in paths.items() if thumbnails.read(bytes.fromhex(key)) is None}
        work = functools.partial(_make, store=folder, max_pixels=config.max_pixels)
        causes: dict[str, str] = {}
        for done, (path, made) in enumerate(each(work, list(missing), config.workers, config.photo_seconds), 1):
            if isinstance(made, PhotoError):
                causes[missing[path]] = str(made)
            elif made.hex() != missing[path]:
                causes[missing[path]] = "was changed after it was ranked"
            if progress is not None:
                progress(done, len(missing), len(causes))
        failed: dict[str, dict[str, None]] = {}  # each photo once, with all that is said of it
        for failure in failures:
            failed.setdefault(failure.path, {})[failure.error] = None
        listed = [(path, "; ".join(errors)) for path, errors in failed.items()]
        return write_pages(table, out, thumbnails, Head(about, listed, causes))


def _make(path: str, store: str | os.PathLike[str], max_pixels: int) -> bytes:
    """Make the thumbnail of a file's photo; its key. PhotoError where that cannot be done."""
    data = read_photo(path)
    key = photo_key(data)
    try:
        Thumbnails(store).add(key, decode_photo(data, max_pixels, thumbnail_size).rgb)
    except OSError as error:
        raise PhotoError(f"its thumbnail cannot be written ({error.strerror or error})") from error
    return key
