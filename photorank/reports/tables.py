"""What people look at: tables for the terminal, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from PIL import Image, ImageDraw, ImageFont
from rich.markup import escape
from rich.table import Table

from photorank.metrics import Estimate
from photorank.reports.terminal import printable

if TYPE_CHECKING:
    from photorank.stages.check import CheckReport
    from photorank.stages.info import StoreInfo
    from photorank.stages.timing import Phases


def size_text(count: int) -> str:
    """Bytes as people read them."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def accuracy_table(title: str, figures: Mapping[str, Estimate], groups: str) -> Table:
    """A row a ranker: its accuracy and its 95 % interval, bootstrapped over `groups`."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("ranker")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("comparisons", justify="right")
    table.add_column(groups, justify="right")
    for name, each in figures.items():
        interval = f"{100 * each.low:.1f}–{100 * each.high:.1f}" if each.groups > 1 else "needs two or more"
        if each.groups > 1 and each.value == 1:  # resampling no errors gives none: a width of 0 would boast
            interval = "no error to resample"
        style = "bold" if name == "head" else None
        table.add_row(name, f"{100 * each.value:.1f} %", interval, f"{each.n:,}", f"{each.groups:,}", style=style)
    return table


def kinds_table(title: str, figures: Mapping[str, Estimate]) -> Table:
    """A row a degradation."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("degradation", "accuracy", "comparisons"):
        table.add_column(name, justify="left" if name == "degradation" else "right")
    for name, each in figures.items():
        table.add_row(name, f"{100 * each.value:.1f} %", f"{each.n:,}")
    return table


def phases_table(phases: Phases, photos: int) -> Table:
    """A row a phase, the longest first."""
    table = Table()
    for name in ("phase", "where", "seconds", "ms a photo"):
        table.add_column(name, justify="left" if name in ("phase", "where") else "right")
    for phase, where, seconds in phases.rows():
        several = {"loading": (phases.processes, "processes"), "models": (phases.devices, "devices")}
        count, what = several.get(where, (1, ""))
        place = f"{where}, {count} {what}" if count > 1 or where == "loading" else where
        table.add_row(phase, place, f"{seconds:.1f}", f"{1000 * seconds / max(1, photos):.1f}")
    return table


def bound_text(phases: Phases) -> str:
    """What the speed was bound by, so that one knows what to change."""
    (bound, share), *others = sorted(phases.busy.items(), key=lambda item: -item[1])
    rest = ", ".join(f"{name} {100 * share:.0f} %" for name, share in others)
    return f"bound by {bound}, busy {100 * share:.0f} % of the time ({rest})"


def ranking_tables(ranking: pd.DataFrame, most: int | None = None) -> Iterator[Table | str]:
    """A table a series, best first; last, one of all photos that are alone in theirs. Once `most` photos are shown no
    further series is, but how many photos there are more."""
    sizes = ranking.groupby("series")["series"].transform("size")
    left = len(ranking) if most is None else most
    hidden = len(ranking)
    for series, part in ranking[sizes > 1].groupby("series"):
        if left > 0:
            yield _series_table(str(series), part)
            left, hidden = left - len(part), hidden - len(part)
    alone = ranking[sizes == 1].iloc[: max(0, left)]
    if len(alone):
        yield _alone_table(alone)
    if hidden > len(alone):
        yield f"and {hidden - len(alone):,} more photos, in the files that follow"


def _series_table(name: str, part: pd.DataFrame) -> Table:
    table = Table(title=escape(printable(name)), title_justify="left", title_style="bold")
    for column in ("rank", "photo", "score", "P(best)", "", ""):
        table.add_column(column, justify="right" if column in ("rank", "score", "P(best)") else "left")
    for row in part.itertuples():
        kept = row.keep is not pd.NA and bool(row.keep)
        call = "undecided" if row.keep is pd.NA else "keep" if kept else ""
        numbers = (f"{row.score:.2f}", f"{row.p_best:.2f}")
        table.add_row(str(row.rank), _name(row), *numbers, call, _notes(row), style="bold green" if kept else None)
    return table


def _alone_table(part: pd.DataFrame) -> Table:
    title = "alone in their series, kept"
    table = Table(title=title, title_justify="left", title_style="bold", min_width=len(title) + 4)
    table.add_column("photo")
    table.add_column("")
    for row in part.itertuples():
        table.add_row(_name(row), _notes(row), style="bold green")
    return table


def _name(row: Any) -> str:
    return escape(printable(Path(str(row.path)).name))


def _notes(row: Any) -> str:
    """What there is to say of a frame, beside its numbers."""
    notes = [f"bracket {row.bracket}"] if row.bracket else []
    if row.copies:
        notes.append(f"also {', '.join(Path(str(path)).name for path in row.copies)}")
    return "; ".join(escape(printable(note)) for note in (*notes, *row.reasons))


def store_tables(info: StoreInfo) -> Iterator[Table | str]:
    """What `photorank store info` shows."""
    yield (
        f"{info.path}: format {info.format}, {info.photos:,} photos seen at {info.files:,} paths, "
        f"{info.failures:,} failures, {size_text(info.bytes)}"
    )
    table = Table()
    for name in ("space", "role", "rows", "dim", "dtype", "segments", "on disk"):
        table.add_column(name, justify="left" if name in ("space", "role", "dtype") else "right")
    for each in info.spaces:
        counts = (f"{each.rows:,}", str(each.dim), each.dtype, f"{each.segments:,}", size_text(each.bytes))
        table.add_row(f"{each.name}@{each.fingerprint}", each.role, *counts)
    yield table
    for each in info.spaces:
        yield f"{each.name}@{each.fingerprint}"
        yield escape(yaml.safe_dump(each.spec, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True))


def check_table(report: CheckReport) -> Table:
    """What `photorank comparisons check` shows: a column a split."""
    table = Table(title=escape(printable(report.path)), title_justify="left", title_style="bold")
    table.add_column("")
    for name in report.parts:
        table.add_column(name, justify="right")
    parts = report.parts.values()
    for name in ("comparisons", "series", "photos"):
        table.add_row(name, *(f"{getattr(part, name):,}" for part in parts))
    for size in sorted({size for part in parts for size in part.sizes}):
        table.add_row(f"  series of {size} photos", *(f"{part.sizes.get(size, 0):,}" for part in parts))
    table.add_row("clear comparisons (more than 70 % agree)", *(f"{part.clear:,}" for part in parts))
    table.add_row("always left is right", *(_share(part.always_left) for part in parts))
    agreements = [_share(part.sharpness) if part.sharpness is not None else "" for part in parts]
    if report.sharpness_needs is not None:
        agreements[-1] = f"needs {report.sharpness_needs}"
    table.add_row("the sharper is preferred, of clear ones", *agreements)
    table.add_row("pairs that contradict each other", *(f"{part.contradictions:,}" for part in parts))
    table.add_row("series whose preferences go round", *(f"{part.circles:,}" for part in parts))
    empty = [""] * (len(report.parts) - 1)
    for what, photos in (
        ("photos in several splits", report.in_several_splits),
        ("photos in several series", report.in_several_series),
        ("photos under several names", report.under_several_names),
    ):
        table.add_row(what, *empty, f"{len(photos):,}")
    return table


def _share(each: Estimate) -> str:
    """A share with its interval, and of how many."""
    if not each.n:
        return "of none"
    return f"{each} of {each.n:,}" if each.groups > 1 else f"{100 * each.value:.1f} % of {each.n:,}"


@dataclass(frozen=True)
class Tile:
    """One frame on a contact sheet."""

    photo: Path | Image.Image | None
    """None: a grey tile that says that there is no photo."""
    caption: str
    picked: bool = False


def contact_sheet(rows: Sequence[tuple[str, Sequence[Tile]]], out: Path, tile: int = 150, across: int = 1) -> None:
    """Write a PNG: a row a series under its title, the picked frame framed in green, so many rows side by side.

    Tiles are `tile` pixels wide; captions and titles are cut where their room ends.
    """
    margin, strip, title_height = 10, 22, 26
    height = tile * 3 // 4
    row_width = margin + max(len(tiles) for _, tiles in rows) * (tile + margin)
    row_height = title_height + height + strip + margin
    size = (across * row_width, margin + -(-len(rows) // across) * row_height)
    sheet = Image.new("RGB", size, "#1e1f22")
    draw = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(13), ImageFont.load_default(15)
    for number, (title, tiles) in enumerate(rows):
        start, top = number % across * row_width + margin, margin + number // across * row_height
        draw.text((start, top), _fitting(title, large, row_width - 2 * margin), fill="#e8e8e8", font=large)
        for column, each in enumerate(tiles):
            left, upper = start + column * (tile + margin), top + title_height
            picture = _tile_picture(each.photo, tile, height)
            sheet.paste(picture, (left + (tile - picture.width) // 2, upper + (height - picture.height) // 2))
            colour = "#3ddc84" if each.picked else "#a0a0a0"
            if each.picked:
                draw.rectangle((left - 3, upper - 3, left + tile + 2, upper + height + 2), outline=colour, width=4)
            draw.text((left, upper + height + 4), _fitting(each.caption, small, tile), fill=colour, font=small)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)


def _tile_picture(photo: Path | Image.Image | None, width: int, height: int) -> Image.Image:
    """At most width × height pixels."""
    if photo is None:
        picture = Image.new("RGB", (width, height), "#4a4a4a")
        text = (width // 2, height // 2)
        ImageDraw.Draw(picture).text(text, "no photo", fill="#e8e8e8", font=ImageFont.load_default(15), anchor="mm")
        return picture
    if isinstance(photo, Path):
        with Image.open(photo) as image:
            photo = image.convert("RGB")
    picture = photo.copy()
    picture.thumbnail((width, height), Image.Resampling.LANCZOS)
    return picture


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, with dots for its beginning where it is wider: names of files differ at the end."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
