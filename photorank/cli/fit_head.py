"""The command line of `photorank fit-head`: parse, call, print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from photorank.cli.options import Assign, ComparisonsFile, Json, NewRun, PhotosFolder, Store
from photorank.reports import terminal


def fit_head(
    store: Store,
    comparisons: ComparisonsFile,
    out: NewRun,
    config: Annotated[str | None, typer.Option(help="A YAML file, or the name of one under configs/head/.")] = None,
    assign: Assign = None,
    photos: PhotosFolder = None,
    folds: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Cross-validate too, in K parts of train and val, by series.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Train from N seeds; the run is that of the first.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a head on stored features and comparisons; writes a run that `rank` uses."""
    from photorank.config import load_sweep_config
    from photorank.stages.fit_head import fit_head as stage

    resolved = load_sweep_config(config, assign or (), (), folds, seeds)
    with terminal.stoppable("nothing was written"):
        report = stage(store, comparisons, resolved.head_config(), out, photos, resolved.folds, resolved.seeds)
    for warning in report.warnings:
        typer.echo(f"photorank: warning: {warning}", err=True)
    if as_json:
        terminal.print_json(asdict(report))
        return
    from photorank.reports.figure_tables import rich_table
    from photorank.reports.tables import accuracy_table

    counts = ", ".join(f"{count:,} {split}" for split, count in report.comparisons.items() if count)
    typer.echo(f"{', '.join(report.spaces)}: {report.photos:,} photos; comparisons: {counts}")
    typer.echo(f"{report.epochs} epochs in {report.seconds:.1f} s, the best was {report.best_epoch}")
    for split, figures in report.figures.items():
        if split != "train":
            terminal.print_table(accuracy_table(f"held-out accuracy ({split})", figures, "series"))
    for what, repeated in report.repeated.items():
        rows = {name: {"mean": each} for name, each in repeated.items()}
        terminal.print_table(rich_table(f"trained several times ({what})", rows))
    typer.echo(f"the run is in {report.run}; use it with: photorank rank PHOTOS --model {report.run}")
