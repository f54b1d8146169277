"""What the command line prints: results on stdout, progress and endings on stderr. Nothing heavy is imported."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from photorank.strict_json import dumps

if TYPE_CHECKING:
    from rich.console import Console

    from photorank.photos.finding import FailedPath
    from photorank.stages.extract import ExtractReport
    from photorank.stages.pipeline import Progress


_live: Console | None = None
"""The console of the progress line on screen, if there is one: what is said meanwhile goes above it."""


def say(text: str) -> None:
    """A line on stderr."""
    if _live is not None:
        _live.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        typer.echo(text, err=True)


class LogHandler(logging.Handler):
    """Says what the package and its libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"photorank: {record.getMessage()}")


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Ctrl-C ends the command with status 130 and says what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"stopped; {kept}", err=True)
        raise typer.Exit(130) from None


@contextmanager
def progress(what: str, unit: str = "photos") -> Iterator[Progress]:
    """A progress line on stderr with rate and time left; silent where stderr is no terminal."""
    global _live
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(), TextColumn("{task.fields[failed]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None, rate="", failed="", visible=False)

        def update(done: int, total: int, failed: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(
                task, completed=done, total=total, visible=True, rate=f"{speed:.1f} {unit}/s" if speed else "",
                failed=f"[red]{failed} failed" if failed else "",
            )  # fmt: skip

        _live = bar.console
        try:
            yield update
        finally:
            _live = None


def print_extraction(report: ExtractReport) -> None:
    """What `extract` did: counts, a line a space."""
    if report.phases is None:
        typer.echo(f"nothing to do: {report.unchanged:,} of {report.photos:,} photos are unchanged")
    else:
        typer.echo(f"{report.photos:,} photos in {report.seconds:.1f} s, {report.unchanged:,} of them unchanged")
    for ref, rows in report.rows.items():
        typer.echo(f"  {ref}: {rows:,} rows, {report.computed[ref]:,} of them new")


def print_failures(report: ExtractReport) -> None:
    """The photos that failed, each once, with their causes; with the features, where these are not all."""
    if report.failures:
        typer.echo(f"{len(report.causes):,} of {report.photos:,} photos failed:")
    for path, causes in report.causes.items():
        texts = [
            error if features >= report.names else f"{error} (no vector of {', '.join(sorted(features))})"
            for error, features in causes.items()
        ]
        typer.echo(f"  {printable(path)}: {'; '.join(texts)}")


def print_failed(failures: Sequence[FailedPath], photos: int) -> None:
    """The same of a list of paths."""
    if failures:
        typer.echo(f"{len(failures):,} of {photos:,} photos failed:")
    for failure in failures:
        typer.echo(f"  {printable(failure.path)}: {failure.error}")


def printable(text: str) -> str:
    """The text as one line: what a terminal would act upon, and bytes that are no text, as escapes."""
    return text if text.isprintable() else ascii(text)[1:-1]


def print_table(table: Any) -> None:
    """A rich table or text, at the terminal's width; whole where stdout is a pipe."""
    from rich.console import Console

    # A pipe has no width of its own; names are not to be cut there.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object; what is no finite number is null."""
    typer.echo(dumps(value))
