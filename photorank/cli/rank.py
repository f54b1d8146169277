"""The command line of `photorank rank`: parse, call, print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from photorank.cli.options import BatchSize, Device, Json, Photos, WeightsDir, Workers
from photorank.cli.use import Use, XmpStyle
from photorank.reports import terminal

_SHOWN = 200
"""Photos of which a ranking is shown on the terminal where it is also in files."""


def rank(
    photos: Photos,
    model: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A run that fit-head or e2e wrote (default: one that comes with photorank)."),
    ] = None,
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
        str,
        typer.Option(
            metavar="time|folder|all|CSV",
            help="What a series is: photos alike and taken together, a folder, all, or what a CSV with columns path, "
            "series says.",
        ),
    ] = "time",
    gap: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Between two frames of one series, by time, at most (20)."),
    ] = None,
    keep: Annotated[
        str, typer.Option(metavar="N|SHARE", help="Frames to keep of each series: so many, or a share, like 30%.")
    ] = "1",
    min_confidence: Annotated[
        float | None,
        typer.Option(metavar="P", min=0.5, max=1, help="Leave calls undecided that are less probable to be right."),
    ] = None,
    xmp: Annotated[bool, typer.Option("--xmp", help="Write ratings and labels to XMP sidecars.")] = False,
    xmp_style: Annotated[
        XmpStyle | None,
        typer.Option(help="How sidecars are named: IMG.xmp (lightroom), or IMG.CR2.xmp, as digiKam has them too."),
    ] = None,
    xmp_overwrite: Annotated[
        bool, typer.Option("--xmp-overwrite", help="Also over ratings and labels that are there.")
    ] = False,
    copy_to: Annotated[Path | None, typer.Option(metavar="DIR", help="Copy the frames to keep there.")] = None,
    link_to: Annotated[Path | None, typer.Option(metavar="DIR", help="Make links to the frames to keep there.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try photos again that failed before.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what --xmp, --copy-to and --link-to would do.")
    ] = False,
    device: Device = "auto",
    batch_size: BatchSize = None,
    workers: Workers = None,
    weights_dir: WeightsDir = None,
    as_json: Json = False,
) -> None:
    """Order the photos of each series, and name the frame to keep."""
    if store is not None and no_store:
        raise typer.BadParameter("say either --store or --no-store")
    if gap is not None and series_by != "time":
        raise typer.BadParameter("--gap is for --series-by time")
    use = Use(xmp, xmp_style, xmp_overwrite, copy_to, link_to, dry_run)
    use.check()
    if out is not None:
        from photorank.stages.folders import refuse_folder

        refuse_folder(out, new_files=True)
    from photorank.config import load_extract_config
    from photorank.photos.grouping import GAP
    from photorank.runs import load_run
    from photorank.stages.cache import usable_cache_store
    from photorank.stages.deciding import Keep
    from photorank.stages.rank import DEFAULT_RUN
    from photorank.stages.rank import rank as stage
    from photorank.stages.ranking_files import records, write_ranking
    from photorank.stages.report import write_report

    resolved = load_extract_config(config, (), device, batch_size, workers, weights_dir)
    wanted, run = Keep.parse(keep), load_run(model or DEFAULT_RUN)
    by = f"the run {model}" if model is not None else "the run that comes with photorank, which knows technical faults"
    if model is None:
        terminal.say(f"ranked by {by}; --model RUN names one of yours")
    kept = "the vectors computed so far are kept" if not no_store else "nothing was written"
    with terminal.stoppable(kept), terminal.progress("rank") as progress:
        store = None if no_store else store or usable_cache_store()
        seconds = GAP if gap is None else gap
        thumbnails = out is not None and store is not None
        ranking = stage(
            photos, run, store, series_by, resolved, progress, wanted, min_confidence, seconds, thumbnails, retry_failed
        )  # fmt: skip
    written = []
    if out is not None:
        written = write_ranking(ranking.table, out)
        with terminal.stoppable(f"the ranking is in {out}"), terminal.progress("report") as progress:
            failures = ranking.extraction.failures
            written += write_report(ranking.table, out, store, f"Ranked by {by}.", failures, resolved, progress)
    if as_json:
        used = use.of(ranking.table)
        found = {"ranking": records(ranking.table), "undecided": ranking.undecided, "model": str(run.path)}
        failed = [asdict(each) for each in ranking.extraction.failures]
        terminal.print_json({**found, "failures": failed, **used.as_json()})
        return
    from photorank.reports.tables import ranking_tables

    for table in ranking_tables(ranking.table, _SHOWN if out is not None else None):
        terminal.print_table(table)
    if ranking.undecided:
        typer.echo(f"{ranking.undecided:,} of {len(ranking.table):,} photos are undecided: the calls are too close")
    terminal.print_failures(ranking.extraction)
    for path in written:
        typer.echo(f"wrote {path}")
    use.of(ranking.table).print(dry_run)
