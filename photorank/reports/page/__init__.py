"""The report of a ranking: HTML files that need no network, to look through, choose in, and take the choices from."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import pandas as pd

from photorank.cells import as_text
from photorank.errors import RunError
from photorank.photos.thumbnails import Thumbnails

PAGE_BYTES = 48_000_000
"""A report with more is split between series; a browser opens a page of this size in a second or two."""
_FRAME_BYTES = 700  # of a frame in a page without its thumbnail, about
_SCRIPTS = ("choices.js", "strips.js", "zoom.js", "report.js")
_MARK = '<meta name="generator" content="photorank">'

Frames = list[dict[str, Any]]
"""The rows of one series, best first."""


@dataclass(frozen=True)
class Head:
    """What is said above the series."""

    about: str = ""
    """What ranked them, in a sentence."""
    failures: Sequence[tuple[str, str]] = ()
    """Path and cause of each photo that is not in the table."""
    without_thumbnail: Mapping[str, str] | None = None
    """Key (hex) → why there is no thumbnail."""


def write_pages(table: pd.DataFrame, out: Path, thumbnails: Thumbnails, head: Head) -> list[Path]:
    """`report.html` in the folder `out`, with `report-2.html` and so on where it would be too large for one file; each
    is written whole or not at all. What an earlier, longer report left there is deleted.

    `table` has a row a photo, series by series, best first: path, key (hex), series, rank, score, p_best, keep (<NA>:
    undecided), and where they are known reasons, copies and bracket. Raises RunError where it cannot be written.
    """
    pages = list(_split(_series(table), thumbnails))
    names = [f"report-{number}.html" if number > 1 else "report.html" for number in range(1, len(pages) + 1)]
    # The same for every report in this folder, so that choices outlive a ranking that is made again.
    shared: dict[str, Any] = {"pages": names, "about": head.about}
    shared["id"] = hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16]
    shared["figures"] = _figures(table)
    shared["failures"] = [{"path": as_text(path), "error": error} for path, error in head.failures]
    missing, repeated = head.without_thumbnail or {}, set(table["key"][table["key"].duplicated()])
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, (name, series) in enumerate(zip(names, pages, strict=True)):
            with _whole_or_not(out / name) as file:
                _write_page(file, {**shared, "page": number}, series, thumbnails, missing, repeated)
            written.append(out / name)
        _remove_others(out, written)
    except OSError as error:
        raise RunError(
            f"the report cannot be written to {out}: {error.strerror or error}; name another --out"
        ) from error
    return written


@contextmanager
def _whole_or_not(path: Path) -> Iterator[IO[str]]:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _series(table: pd.DataFrame) -> Iterator[Frames]:
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    for _, frames in groupby(rows, lambda row: row["series"]):
        yield list(frames)


def _split(series: Iterator[Frames], thumbnails: Thumbnails) -> Iterator[list[Frames]]:
    """Pages of whole series; at least one, which is empty where there are none."""
    page: list[Frames] = []
    size = 0
    for frames in series:
        bytes_here = sum(_FRAME_BYTES + _thumbnail_bytes(thumbnails, frame["key"]) for frame in frames)
        if page and size + bytes_here > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(frames)
        size += bytes_here
    yield page


def _thumbnail_bytes(thumbnails: Thumbnails, key: str) -> int:
    """Bytes of a photo's thumbnail in base64."""
    try:
        return 4 * thumbnails.path(bytes.fromhex(key)).stat().st_size // 3
    except FileNotFoundError:
        return 0


def _figures(table: pd.DataFrame) -> dict[str, int]:
    keep = [_decision(value) for value in table["keep"]]
    counts = {"keep": keep.count(True), "reject": keep.count(False), "undecided": keep.count(None)}
    return {"photos": len(table), "series": int(table["series"].nunique()), **counts}


def _write_page(
    file: IO[str], data: dict[str, Any], series: list[Frames], thumbnails: Thumbnails, missing: Mapping[str, str],
    repeated: Collection[str],
) -> None:  # fmt: skip
    shown = [
        {"name": as_text(str(frames[0]["series"])), "frames": [_frame(frame, missing, repeated) for frame in frames]}
        for frames in series
    ]
    start, end = _around_thumbnails({**data, "series": shown})
    file.write(start)
    for number, frames in enumerate(series):
        pictures = (thumbnails.read(bytes.fromhex(frame["key"])) or b"" for frame in frames)
        lines = "\n".join(base64.b64encode(picture).decode() for picture in pictures)
        file.write(f'<script type="text/plain" id="pictures-{number}">{lines}</script>\n')
    file.write(end)


def _around_thumbnails(data: Mapping[str, Any]) -> tuple[str, str]:
    """The page before and after the thumbnails. Nothing in it may run but its own script, whatever names hold."""
    folder = files(__package__)
    read = {name: (folder / name).read_text(encoding="utf-8") for name in ("template.html", "report.css", *_SCRIPTS)}
    script = "\n".join(['"use strict";', "(() => {", *(read[name] for name in _SCRIPTS), "})();"])
    allowed = {
        "default-src": "'none'", "script-src": _hash(script), "style-src": _hash(read["report.css"]),
        "img-src": "data: file:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    policy = "; ".join(f"{kind} {source}" for kind, source in allowed.items())
    page = read["template.html"].replace("{{generator}}", _MARK).replace("{{policy}}", policy)
    page = page.replace("{{style}}", read["report.css"]).replace("{{script}}", script)
    start, between, end = re.split("{{data}}|{{thumbnails}}", page)
    return start + _json(data) + between, end


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """JSON in ASCII that cannot end or open an element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _frame(row: Mapping[str, Any], missing: Mapping[str, str], repeated: Collection[str]) -> dict[str, Any]:
    path = str(row["path"])
    frame = {
        "path": as_text(path), "name": as_text(Path(path).name), "url": _url(path), "key": row["key"],
        "rank": int(row["rank"]), "p": _number(row["p_best"]), "score": _number(row["score"]),
        "keep": _decision(row["keep"]), "reasons": [as_text(each) for each in _listed(row.get("reasons"))],
        "copies": [as_text(Path(each).name) for each in _listed(row.get("copies"))],
    }  # fmt: skip
    bracket = row.get("bracket")
    if isinstance(bracket, str):
        frame["bracket"] = as_text(bracket)
    if row["key"] in repeated:
        frame["repeated"] = True
    if row["key"] in missing:
        frame["missing"] = missing[row["key"]]
    return frame


def _url(path: str) -> str:
    """The file's URL, with the very bytes of its name."""
    return Path(os.path.abspath(path)).as_uri()


def _decision(value: Any) -> bool | None:
    return None if pd.isna(value) else bool(value)


def _number(value: Any) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _listed(value: Any) -> list[str]:
    """A cell with a list, as Parquet and pandas have it; none where there is nothing."""
    return [str(each) for each in value] if pd.api.types.is_list_like(value) else []


def _remove_others(out: Path, written: Sequence[Path]) -> None:
    for path in out.glob("report-*.html"):
        if path not in written:
            with path.open(encoding="utf-8", errors="replace") as file:
                ours = _MARK in file.read(1000)
            if ours:
                path.unlink()
