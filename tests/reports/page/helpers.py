"""Rankings for reports, made without a ranker, and what is inside of a report."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from photorank.photos import photo_key
from tests.conftest import make_picture


def ranking(series: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """A ranking's table: series → its frames, best first, each at least with its `path`."""
    rows: list[dict[str, Any]] = []
    for name, frames in series.items():
        for number, frame in enumerate(frames):
            p_best = 0.6 / len(frames) + (0.4 if number == 0 else 0.0)
            made = {"series": name, "rank": number + 1, "score": -float(number), "p_best": p_best, "keep": number == 0}
            rows.append({**made, "reasons": [], "copies": [], "bracket": None, **frame})
            if "key" not in rows[-1]:
                rows[-1]["key"] = photo_key(Path(frame["path"]).read_bytes()).hex()
    # As objects: pandas' own strings are UTF-8 and cannot hold every file name.
    columns: dict[str, Any] = {name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]}
    for name, dtype in (("rank", "int64"), ("score", "float64"), ("p_best", "float64"), ("keep", "boolean")):
        columns[name] = columns[name].astype(dtype)
    return pd.DataFrame(columns)


def photos_in(folder: Path, names: Sequence[str], size: tuple[int, int] = (160, 120)) -> list[str]:
    """Photos of these names, made in the folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [os.path.join(folder, name) for name in names]  # noqa: PTH118  (pathlib would take some of them apart)
    for number, path in enumerate(paths):
        with open(path, "wb") as file:  # noqa: PTH123
            make_picture(number, *size).save(file, "JPEG", quality=90)
    return paths


def data_of(page: Path) -> dict[str, Any]:
    """The data that a page carries."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    data: dict[str, Any] = json.loads(text)
    return data
