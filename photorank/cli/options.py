"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Photos = Annotated[list[str], typer.Argument(metavar="PHOTOS", help="Files, and folders searched recursively.")]
Store = Annotated[Path, typer.Option(help="The feature store's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ..., or several: cuda:0,cuda:1.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Photos that go through a model at once.")]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that read and decode; 0: one a core.")]
WeightsDir = Annotated[Path | None, typer.Option(metavar="DIR", help="A folder in which weights are looked for first.")]
ComparisonsFile = Annotated[
    Path, typer.Option(help="CSV or Parquet: series, left, right, p_left; votes, split if you like.")
]
PhotosFolder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="What relative paths in the comparisons are relative to.")
]
NewRun = Annotated[Path, typer.Option(metavar="RUN", help="The run's folder, which must not be there yet.")]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one option of the config; repeat for more."),
]
