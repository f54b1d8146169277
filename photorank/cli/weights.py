"""The command line of `photorank weights`: parse, call, print."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photorank.reports import terminal

if TYPE_CHECKING:
    from photorank.stages.weights import FeatureWeights

app = typer.Typer(help="Which weights a config needs, and whether they are there.", no_args_is_help=True)

Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one under configs/extract/.")
]
WeightsDir = Annotated[Path | None, typer.Option(metavar="DIR", help="A folder in which weights are looked for first.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("list")
def list_(config: Config, weights_dir: WeightsDir = None, as_json: Json = False) -> None:
    """Name the files that a config needs and where they are looked for; nothing is fetched."""
    rows = _rows(config, weights_dir, hashed=False)
    if as_json:
        terminal.print_json({"config": config, "weights": [asdict(each) for each in rows]})
        return
    for each in rows:
        size = f", {each.size / 1e6:,.0f} MB" if each.size else ""
        typer.echo(f"{each.feature}: {each.model}, {each.weights}{size}")
        if each.names:
            typer.echo(f"  in --weights-dir as: {', '.join(each.names)}")
        typer.echo(f"  looked for in: {', '.join(each.looked_in)}")
        if each.origin:
            typer.echo(f"  from: {each.origin}")
    if not rows:
        typer.echo(f"{config} needs no weights")


@app.command()
def check(config: Config, weights_dir: WeightsDir = None, as_json: Json = False) -> None:
    """Say which files are there, with their sha256, and which are missing: then status 1. Nothing is fetched."""
    rows = _rows(config, weights_dir, hashed=True)
    missing = [each.feature for each in rows if each.missing]
    if as_json:
        terminal.print_json({"config": config, "weights": [asdict(each) for each in rows], "missing": missing})
    else:
        for each in rows:
            typer.echo(f"{each.feature}: {_state(each)}")
        if not rows:
            typer.echo(f"{config} needs no weights")
    if missing:
        typer.echo(
            f"photorank: the weights of {', '.join(missing)} are missing; bring them (--weights-dir DIR) under a name "
            f"that `photorank weights list {config}` gives",
            err=True,
        )
        raise typer.Exit(1)


def _rows(config: str, weights_dir: Path | None, hashed: bool) -> list[FeatureWeights]:
    from photorank.config import load_extract_config
    from photorank.stages.weights import feature_weights

    return feature_weights(load_extract_config(config, weights_dir=weights_dir), hashed)


def _state(row: FeatureWeights) -> str:
    if row.found is not None:
        return f"{row.found}, {(row.size or 0) / 1e6:,.1f} MB, sha256 {row.sha256}"
    if row.names:
        return f"missing: {row.model}, {row.weights}; looked for in {', '.join(row.looked_in)}"
    return f"not checked: {row.origin} alone knows the files of {row.weights}, and keeps them in {row.looked_in[-1]}"
