"""The command line of `photorank rank`: parse, call, print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from photorank import terminal
from photorank.cli_options import BatchSize, Device, Json, Photos, WeightsDir, Workers


def rank(
    photos: Photos,
    model: Annotated[Path, typer.Option(metavar="RUN", help="A run that fit-head wrote.")],
    store: Annotated[
        Path | None, typer.Option(help="The feature store's folder (default: one in your cache folder).")
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep no vectors.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write ranking.csv, ranking.parquet and report.html there.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="The config that the run's features of `kind: own` were extracted with.")
    ] = None,
    series_by: Annotated[
        str, typer.Option(metavar="folder|CSV", help="A folder is a series, or a CSV with columns path, series says.")
    ] = "folder",
    device: Device = "auto",
    batch_size: BatchSize = None,
    workers: Workers = None,
    weights_dir: WeightsDir = None,
    as_json: Json = False,
) -> None:
    """Order the photos of each series, and name the frame to keep."""
    if store is not None and no_store:
        raise typer.BadParameter("say either --store or --no-store")
    from photorank.config import load_extract_config
    from photorank.runs import load_run
    from photorank.stages.cache import cache_store
    from photorank.stages.rank import rank as stage
    from photorank.stages.rank import write_ranking

    resolved = load_extract_config(config, (), device, batch_size, workers, weights_dir)
    run = load_run(model)
    kept = "the vectors computed so far are kept" if not no_store else "nothing was written"
    with terminal.stoppable(kept), terminal.progress("rank") as progress:
        store = None if no_store else store or cache_store()
        ranking = stage(photos, run, store, series_by, resolved, progress, thumbnails=out is not None)
    written = write_ranking(ranking.table, out) if out is not None else []
    if out is not None:
        from photorank.stages.report import write_report

        about, failures = f"Ranked by {model}.", ranking.extraction.failures
        with terminal.stoppable("the ranking is written"), terminal.progress("thumbnails") as progress:
            written += write_report(ranking.table, out, store, about, failures, resolved, progress)
    if as_json:
        rows = ranking.table.to_dict("records")
        terminal.print_json({"ranking": rows, "failures": [asdict(each) for each in ranking.extraction.failures]})
        return
    from photorank.reports import ranking_tables

    for table in ranking_tables(ranking.table):
        terminal.print_table(table)
    terminal.print_failures(ranking.extraction)
    for path in written:
        typer.echo(f"wrote {path}")
