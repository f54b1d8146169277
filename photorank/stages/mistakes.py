"""The most confident mistakes of an evaluation, as a contact sheet of the photos where these still are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from photorank import metrics
from photorank.errors import PhotoError
from photorank.photos import decode_photo, photo_key, read_photo
from photorank.reports.tables import Tile, contact_sheet
from photorank.reports.terminal import printable
from photorank.store import FeatureStore

MOST = 20
ACROSS = 4
"""Mistakes side by side on the sheet."""
TILE = 180
"""Pixels."""


def worst(predictions: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """The rows of an evaluation's predictions whose wrong answer was the most certain, the most certain first.

    Rows in which people are undecided (p_left = ½) have no wrong answer.
    """
    lead = predictions["predicted"].to_numpy(np.float64) - 0.5
    wrong = np.flatnonzero(metrics.correct(lead, predictions["p_left"]) == 0)
    order = np.argsort(-np.abs(lead[wrong]), kind="stable")
    return predictions.take(wrong[order[:most]])


def mistakes_sheet(predictions: pd.DataFrame, store: FeatureStore, out: Path) -> bool:
    """Write a PNG of the `worst` comparisons, what people prefer framed; False, and no file, where there is none.

    Photos are looked for where the store has seen them. One that is gone, or was changed, is a grey tile with its name.
    """
    table = worst(predictions)
    if not len(table):
        return False
    wanted = {bytes.fromhex(each) for each in [*table["left"], *table["right"]]}
    seen = store.files()
    paths: dict[bytes, list[str]] = {key: [] for key in wanted}
    for path, key in zip(seen["path"].to_pylist(), seen["key"].to_pylist(), strict=True):
        if key in wanted:
            paths[key].append(os.fsdecode(path))
    rows = []
    for row in table.to_dict("records"):
        preferred = "left" if row["p_left"] > 0.5 else "right"
        tiles = [_tile(bytes.fromhex(row[side]), paths, picked=side == preferred) for side in ("left", "right")]
        rows.append((f"people {side_text(row['p_left'])}, the run {side_text(row['predicted'])}", tiles))
    contact_sheet(rows, out, TILE, ACROSS)
    return True


def side_text(p_left: float) -> str:
    """`73 % left`; with as many digits as it takes not to say that half are for one side."""
    share, side = 100 * max(p_left, 1 - p_left), "left" if p_left > 0.5 else "right"
    if p_left == 0.5:
        return "50 %"
    text = next((text for digits in (0, 1, 2) if float(text := f"{share:.{digits}f}") > 50), "just over 50")
    return f"{text} % {side}"


def _tile(key: bytes, paths: dict[bytes, list[str]], *, picked: bool) -> Tile:
    places = sorted(paths[key])
    names = [printable("/".join(Path(each).parts[-2:])) for each in places] or [key.hex()]
    for name, path in zip(names, places, strict=False):
        try:
            data = read_photo(path)
            if photo_key(data) == key:
                return Tile(_thumbnail(decode_photo(data).rgb), name, picked)
        except PhotoError:
            continue
    return Tile(None, names[0], picked)


def _thumbnail(pixels: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    return picture
