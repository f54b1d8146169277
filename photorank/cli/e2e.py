"""The command line of `photorank e2e`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from photorank.cli.options import Assign, ComparisonsFile, Json, NewRun, PhotosFolder, WeightsDir
from photorank.reports import terminal


def e2e(
    comparisons: ComparisonsFile,
    out: NewRun,
    photos: PhotosFolder = None,
    config: Annotated[str | None, typer.Option(help="A YAML file, or the name of one under configs/e2e/.")] = None,
    assign: Assign = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an unfinished training of RUN, if there is one."),
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(metavar="FILE.h5", help="Keep the photos at training size there, decoded once.")
    ] = None,
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Compile the network: slow to start, faster steps on a GPU.")
    ] = False,
    weights_dir: WeightsDir = None,
    as_json: Json = False,
) -> None:
    """Train a Siamese ranker on pixels: hours on a GPU. Writes a run that `rank` and `evaluate` use."""
    from photorank.config import E2eConfig, load_config
    from photorank.stages.e2e import e2e as stage

    settings = [*(assign or ()), *(["compile=true"] if compile_network else [])]
    resolved = load_config(E2eConfig, "e2e", config, settings)
    try:
        with terminal.progress("e2e") as progress:
            report = stage(comparisons, resolved, out, photos, resume, cache, weights_dir, progress)
    except KeyboardInterrupt:
        with terminal.stoppable(_kept(out)):  # which is known only now
            raise
    if report is None:  # another process of this training says it
        return
    if as_json:
        terminal.print_json(report.summary())
        return
    from photorank.reports.figure_tables import rich_table
    from photorank.reports.tables import accuracy_table

    counts = ", ".join(f"{count:,} {split}" for split, count in report.comparisons.items() if count)
    typer.echo(f"{report.cnn_backbone}: {report.photos:,} photos; comparisons: {counts}")
    typer.echo(f"{report.epochs} epochs in {report.seconds:.0f} s, the best was {report.best_epoch}")
    for split, figures in report.figures.items():
        if split != "train":
            terminal.print_table(accuracy_table(f"held-out accuracy ({split})", figures, "series"))
    if report.evaluation is not None:
        typer.echo(report.evaluation.title())
        for name, table in report.evaluation.tables.items():
            terminal.print_table(rich_table(name, table))
    typer.echo(f"the run is in {report.run}; use it with: photorank rank PHOTOS --model {report.run}")


def _kept(out: Path) -> str:
    """What is there of a training that was stopped."""
    from photorank.training.checkpoints import is_kept

    if (out / "run.json").exists():
        return f"the run is in {out}"
    if is_kept(out):
        return f"the last checkpoint of {out} is kept, and the same call with --resume goes on from there"
    return f"nothing of {out} is kept: it was stopped before its first checkpoint"
