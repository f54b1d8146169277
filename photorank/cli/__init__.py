"""The command line: parse, call a stage, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from photorank.cli import comparisons, e2e, evaluate, fit_head, rank, store, sweep, weights
from photorank.cli.options import BatchSize, Device, Json, Photos, Precision, Store, WeightsDir, Workers
from photorank.reports import terminal

app = typer.Typer(
    name="photorank",
    help="Learn which photo of a series people prefer, and pick it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(store.app, name="store")
app.add_typer(comparisons.app, name="comparisons")
app.add_typer(weights.app, name="weights")


def _version(wanted: bool) -> None:
    if wanted:
        from photorank import __version__

        typer.echo(f"photorank {__version__}")
        raise typer.Exit


@app.callback()
def _photorank(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    # Else matplotlib makes a folder in the user's home, where nothing else of this is written.
    os.environ.setdefault("MPLCONFIGDIR", str(Path(platformdirs.user_cache_dir("photorank")) / "matplotlib"))
    # Arrow's own allocator holds on to megabytes, whatever little is written with it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    logging.basicConfig(handlers=[terminal.LogHandler()], level=logging.WARNING)


@app.command()
def extract(
    photos: Photos,
    store: Store,
    config: Annotated[
        str | None, typer.Option(help="A YAML file, or the name of one under configs/extract/ (default: iqa).")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this feature of the config, or e2e:RUN; repeat for more. Without --config: of multifeature.",
        ),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        Precision | None, typer.Option(help="Of all models, whatever the config says; auto: what suits the device.")
    ] = None,
    decode_device: Annotated[
        bool, typer.Option("--decode-device", help="Decode JPEGs on the models' device, whatever the config says.")
    ] = False,
    batch_size: BatchSize = None,
    workers: Workers = None,
    weights_dir: WeightsDir = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try photos again that failed before.")] = False,
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Chrome trace of where the time goes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute the features of photos and keep them in a store; what is there already is never computed again."""
    from photorank.config import load_extract_config
    from photorank.stages.extract import extract as stage

    decode = "device" if decode_device else None
    resolved = load_extract_config(config, features or (), device, batch_size, workers, weights_dir, precision, decode)
    kept = f"the vectors computed so far are kept in {store}, and the same call goes on from there"
    with terminal.stoppable(kept), terminal.progress("extract") as progress:
        report = stage(photos, store, resolved, features or (), retry_failed, progress, profile)
    if as_json:
        terminal.print_json({**asdict(report), "keys": {path: key.hex() for path, key in report.keys.items()}})
    else:
        terminal.print_extraction(report)
        if report.phases is not None:
            from photorank.reports.tables import bound_text, phases_table

            terminal.print_table(phases_table(report.phases, report.photos - report.unchanged))
            typer.echo(bound_text(report.phases))
        terminal.print_failures(report)
    if report.photos and report.without_vectors >= report.photos:
        typer.echo(f"photorank: all {report.photos} photos failed; see the list above", err=True)
        raise typer.Exit(1)


app.command("fit-head")(fit_head.fit_head)
app.command()(sweep.sweep)
app.command()(e2e.e2e)
app.command()(rank.rank)
app.command()(evaluate.evaluate)


@app.command()
def demo(
    photos: Annotated[
        list[str] | None,
        typer.Argument(metavar="PHOTOS", help="Your own photos (default: those the demo's packages carry)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to work: a new folder (default: one in your cache folder)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the whole pipeline on real photos, offline and without model weights, in about a minute."""
    from photorank.stages.demo import default_folder
    from photorank.stages.demo import demo as stage

    folder = out or default_folder()
    with terminal.stoppable(f"what was made is in {folder}"), terminal.progress("extract") as progress:
        report = stage(photos or [], folder, terminal.say, progress)
    if as_json:
        terminal.print_json(asdict(report))
        return
    from photorank.reports.tables import accuracy_table, kinds_table

    title = f"accuracy on photos that the heads never saw ({report.sources} photos, {report.frames} frames)"
    terminal.print_table(accuracy_table(title, report.figures, "photos"))
    terminal.print_table(kinds_table("the head, by degradation", report.by_kind))
    typer.echo(f"the original was picked in {report.top1} of {report.top1.n} series")
    typer.echo(f"\nsome of these series, the pick marked: {report.contact_sheet}")
    typer.echo(f"all that was made is in {report.folder}; remove it when you like")
    typer.echo("\nOn your own folder, now:")
    typer.echo("  photorank rank PHOTOS")
    typer.echo(f"  photorank rank PHOTOS --model {report.run}")
    typer.echo("  photorank demo PHOTOS")
    typer.echo("  photorank extract PHOTOS --store my-store")
    typer.echo("  photorank fit-head --store my-store --comparisons my-comparisons.csv --out my-run")
