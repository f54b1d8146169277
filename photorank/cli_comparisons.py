"""The command line of `photorank comparisons`: parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from photorank import terminal

app = typer.Typer(help="Make comparisons files of labels that there are, and check them.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(metavar="FILE", help="A new .csv or .parquet file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def _warn(warnings: Sequence[str]) -> None:
    for each in warnings:
        typer.echo(f"photorank: warning: {each}", err=True)


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
