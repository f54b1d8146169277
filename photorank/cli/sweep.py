"""The command line of `photorank sweep`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from photorank.cli.options import Assign, ComparisonsFile, Json, PhotosFolder, Store
from photorank.reports import terminal


def sweep(
    store: Store,
    comparisons: ComparisonsFile,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the tables, the plot and the configs.")],
    config: Annotated[str | None, typer.Option(help="A YAML file, or the name of one under configs/head/.")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,VALUE", help="Values to try of one option of the config; repeat for more."),
    ] = None,
    assign: Assign = None,
    folds: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Cross-validate in K parts of train and val, by series.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="Train each combination from N seeds.")] = None,
    photos: PhotosFolder = None,
    as_json: Json = False,
) -> None:
    """Train all combinations of a grid of options, many at once, and compare them in one table with intervals."""
    from photorank.config import load_sweep_config
    from photorank.stages.sweep import sweep as stage

    resolved = load_sweep_config(config, assign or (), grid or (), folds, seeds)
    with terminal.stoppable("nothing was written"), terminal.progress("sweep", "trainings") as progress:
        report = stage(store, comparisons, resolved, out, photos, progress=lambda done, total: progress(done, total, 0))
    if as_json:
        terminal.print_json(report.summary())
        return
    from photorank.reports.figure_tables import rich_table
    from photorank.reports.sweep_tables import label

    rows = {f"{rank}: {label(each.changes)}": each.figures for rank, each in enumerate(report.results, 1)}
    terminal.print_table(rich_table(f"held-out comparisons ({report.reported_on})", rows))
    if report.diverged:
        text = "combinations diverged (their loss is no number) and are the last; ask for a smaller learning_rate"
        typer.echo(f"photorank: warning: {report.diverged} {text}", err=True)
    typer.echo(f"{report.trainings:,} trainings in {report.seconds:.1f} s; all is in {out}")
    typer.echo(f"the best one as a run: photorank fit-head --config {Path(out) / 'best.yaml'} …")
