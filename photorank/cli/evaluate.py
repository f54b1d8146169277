"""The command line of `photorank evaluate`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from photorank.reports import terminal

SPLITS = ("train", "val", "test", "unseen", "all")


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run that fit-head or e2e wrote.")],
    comparisons: Annotated[
        Path, typer.Option(help="CSV or Parquet: series, left, right, p_left; split, variant if you like.")
    ],
    store: Annotated[
        Path | None, typer.Option(help="The store with the photos' features (default: that of rank).")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="|".join(SPLITS), help="What is evaluated (default: test, else val, else unseen)."),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What relative paths in the comparisons are relative to.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RUN2", help="Another run, compared on the same comparisons.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the figures, tables and predictions there: a new folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Measure a run on comparisons: accuracy, calibration, top-1 and more, with intervals, and where it fails."""
    if split is not None and split not in SPLITS:
        raise typer.BadParameter(f"--split is one of {', '.join(SPLITS)}")
    from photorank.stages.evaluate import evaluate as stage

    with terminal.stoppable("nothing was written"):
        report = stage(run, comparisons, store, split, photos, against, out)
    for each in report.warnings:
        typer.echo(f"photorank: warning: {each}", err=True)
    if as_json:
        terminal.print_json(report.summary())
        return
    from photorank.reports.figure_tables import rich_table

    typer.echo(report.title())
    for name, figures in report.tables.items():
        terminal.print_table(rich_table(name, figures))
    if out is not None:
        typer.echo(f"wrote {out}")
