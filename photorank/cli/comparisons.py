"""The command line of `photorank comparisons`: parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photorank.reports import terminal

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(help="Make comparisons files of labels that there are, and check them.", no_args_is_help=True)

Photos = Annotated[list[str], typer.Argument(metavar="PHOTOS", help="Files, and folders searched recursively.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="A new .csv or .parquet file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def _warn(warnings: Sequence[str]) -> None:
    for each in warnings:
        typer.echo(f"photorank: warning: {each}", err=True)


def _print_written(out: Path, table: pd.DataFrame, as_json: bool) -> None:
    photos = len({*table["left"], *table["right"]})
    counts = {"comparisons": len(table), "series": table["series"].nunique(), "photos": photos}
    if as_json:
        terminal.print_json({"path": str(out), **counts})
    else:
        typer.echo(f"wrote {out}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


@app.command()
def phototriage(
    folder: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder with the official pairlists.")],
    out: Out,
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder with train_val_imgs (default: that of the lists).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read PhotoTriage's official pairlists, soft labels and splits as they are."""
    from photorank.stages.labels import phototriage as stage

    with terminal.stoppable("nothing was written"):
        found = stage(folder, out, photos)
    _warn(found.warnings)
    if as_json:
        counts = {split: count._asdict() for split, count in found.counts.items()}
        told = {"path": str(out), "photos": str(found.photos), "counts": counts, "left_out": found.left_out}
        terminal.print_json({**told, "warnings": found.warnings})
        return
    for split, count in found.counts.items():
        typer.echo(f"{split}: {count}")
    if found.left_out:
        typer.echo(f"{found.left_out:,} pairs have no label and were left out")
    typer.echo(f"wrote {out}; the paths in it are relative to {found.photos}: give that to fit-head as --photos")


@app.command("csv")
def csv_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table: CSV, TSV or Parquet.")],
    out: Out,
    left: Annotated[str, typer.Option(metavar="COL", help="The column with the left photo: a path or a key.")],
    right: Annotated[str, typer.Option(metavar="COL", help="The column with the right photo.")],
    p_left: Annotated[str | None, typer.Option(metavar="COL", help="The share that prefers the left, 0 to 1.")] = None,
    winner: Annotated[
        str | None, typer.Option(metavar="COL", help="Which one won: left or right, 1 or 2, tie, or the photo itself.")
    ] = None,
    votes_left: Annotated[str | None, typer.Option(metavar="COL", help="How many prefer the left photo, ...")] = None,
    votes_right: Annotated[str | None, typer.Option(metavar="COL", help="... and how many the right one.")] = None,
    series: Annotated[
        str | None, typer.Option(metavar="COL", help="The series (default: what comparisons connect).")
    ] = None,
    votes: Annotated[str | None, typer.Option(metavar="COL", help="How many people were asked.")] = None,
    split: Annotated[str | None, typer.Option(metavar="COL", help="train, val or test.")] = None,
    as_json: Json = False,
) -> None:
    """Make a comparisons file of any table, its columns named."""
    counted = [each is not None for each in (votes_left, votes_right)]
    if counted[0] != counted[1] or [p_left is not None, winner is not None, all(counted)].count(True) != 1:
        raise typer.BadParameter("say who won in one way: --p-left, --winner, or --votes-left with --votes-right")
    if all(counted) and votes is not None:
        raise typer.BadParameter("with --votes-left and --votes-right their sum is how many people were asked")
    from photorank.comparisons.tables import Columns
    from photorank.stages.labels import convert

    columns = Columns(left, right, p_left, winner, votes_left, votes_right, series, votes, split)
    with terminal.stoppable("nothing was written"):
        table = convert(file, columns, out)
    _print_written(out, table, as_json)


@app.command()
def stars(
    photos: Photos,
    out: Out,
    series_by: Annotated[
        str,
        typer.Option(
            metavar="folder|all|CSV", help="A folder is a series, all are one, or a CSV with columns path, series says."
        ),
    ] = "folder",
    as_json: Json = False,
) -> None:
    """Make comparisons of the stars that the photos of a series have, in XMP sidecars or inside."""
    from photorank.stages.stars import stars as stage

    with terminal.stoppable("nothing was written"), terminal.progress("stars") as progress:
        report = stage(photos, out, series_by, progress)
    _warn(report.warnings)
    if as_json:
        terminal.print_json(asdict(report))
        return
    typer.echo(f"{report.rated:,} of {report.photos:,} photos are rated, {report.rejected:,} of them rejected")
    typer.echo(f"{report.ties:,} pairs of equal rating were left out")
    terminal.print_failed(report.failures, report.photos)
    typer.echo(f"wrote {out}: {report.comparisons:,} comparisons, {report.series:,} series")


@app.command()
def degrade(
    photos: Photos,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder; the same call again goes on there.")],
    variants: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this one, or these: blur, crop, blur-2, crop-edge, ...; repeatable."),
    ] = None,
    long_side: Annotated[
        int, typer.Option(metavar="N", min=0, help="Reduce larger photos to so many pixels first; 0: none.")
    ] = 800,
    seed: Annotated[int, typer.Option(min=0, help="Draws the sides and the files' order.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that work; 0: one a core.")] = 0,
    as_json: Json = False,
) -> None:
    """Make photos worse in 27 known ways, and comparisons that say so: what a ranker must at least know."""
    from photorank.stages.degrade import degrade as stage

    kept = f"what was made is kept in {out}, and the same call goes on from there"
    with terminal.stoppable(kept), terminal.progress("degrade") as progress:
        report = stage(photos, out, variants or (), long_side, seed, workers, progress)
    if as_json:
        terminal.print_json(asdict(report))
        return
    typer.echo(f"{report.series:,} photos, {len(report.comparisons)} variants of each")
    same = {name: report.series - count for name, count in report.comparisons.items() if count < report.series}
    for name, count in same.items():
        typer.echo(f"  {name}: {count:,} left out, which it did not change")
    terminal.print_failed(report.failures, report.photos)
    typer.echo(f"wrote {report.comparisons_file}: {sum(report.comparisons.values()):,} comparisons")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A comparisons file.")],
    store: Annotated[Path | None, typer.Option(help="A store that extract filled: for keys and sharpness.")] = None,
    photos: Annotated[Path | None, typer.Option(metavar="DIR", help="What relative paths are relative to.")] = None,
    as_json: Json = False,
) -> None:
    """Look through labels before anything is trained on them; status 1 where something is to be warned of."""
    from photorank.stages.check import check as stage

    report = stage(file, store, photos)
    if as_json:
        terminal.print_json(asdict(report))
    else:
        from photorank.reports.tables import check_table

        terminal.print_table(check_table(report))
    _warn(report.warnings)
    if report.warnings:
        things = "1 thing" if len(report.warnings) == 1 else f"{len(report.warnings)} things"
        typer.echo(f"photorank: {file} has {things} to look into; see above", err=True)
        raise typer.Exit(1)
