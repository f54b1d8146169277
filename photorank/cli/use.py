"""What `photorank rank` does with its ranking besides printing it: sidecars, copies and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from photorank.reports import terminal

if TYPE_CHECKING:
    import pandas as pd

    from photorank.photos.finding import FailedPath
    from photorank.stages.placing import PlacingReport
    from photorank.stages.sidecars import SidecarsReport, Style


class XmpStyle(StrEnum):
    """Whose names sidecars get."""

    lightroom = "lightroom"
    darktable = "darktable"


@dataclass(frozen=True)
class Use:
    """The options that say what is to be done."""

    xmp: bool
    xmp_style: XmpStyle | None
    xmp_overwrite: bool
    copy_to: Path | None
    link_to: Path | None
    dry_run: bool

    def check(self) -> None:
        """BadParameter where an option is given without the one that it is of, PhotoError where a folder cannot be."""
        if self.xmp_overwrite and not self.xmp:
            raise typer.BadParameter("--xmp-overwrite is for --xmp")
        if self.xmp_style is not None and not self.xmp:
            raise typer.BadParameter("--xmp-style is for --xmp")
        if self.dry_run and not (self.xmp or self.copy_to or self.link_to):
            raise typer.BadParameter("--dry-run is for --xmp, --copy-to and --link-to")
        from photorank.stages.folders import refuse_folder

        for folder in self._folders():
            refuse_folder(folder)

    def of(self, ranking: pd.DataFrame) -> Used:
        """Do it. PhotoError, before anything is written, where a folder cannot be made."""
        from photorank.stages.folders import make_folder
        from photorank.stages.placing import place
        from photorank.stages.sidecars import write_sidecars

        for folder in () if self.dry_run else self._folders():
            make_folder(folder)
        style: Style = "darktable" if self.xmp_style is XmpStyle.darktable else "lightroom"
        sidecars = write_sidecars(ranking, style, self.xmp_overwrite, self.dry_run) if self.xmp else None
        copied = place(ranking, self.copy_to, "copy", self.dry_run) if self.copy_to else None
        linked = place(ranking, self.link_to, "link", self.dry_run) if self.link_to else None
        return Used(sidecars, copied, linked)

    def _folders(self) -> list[Path]:
        return [folder for folder in (self.copy_to, self.link_to) if folder]


@dataclass(frozen=True)
class Used:
    """What was done, each None where it was not asked for."""

    sidecars: SidecarsReport | None
    copied: PlacingReport | None
    linked: PlacingReport | None

    def as_json(self) -> dict[str, Any]:
        """What was asked for, by name."""
        return {name: report for name, report in asdict(self).items() if report is not None}

    def print(self, dry_run: bool) -> None:
        """A line for each thing done; in a dry run for each file."""
        if self.sidecars is not None:
            _print_sidecars(self.sidecars, dry_run)
        for name, report in (("copied", self.copied), ("linked", self.linked)):
            if report is not None:
                _print_placed(name, report, dry_run)


def _print_sidecars(report: SidecarsReport, dry_run: bool) -> None:
    from photorank.stages.sidecars import MARKS

    if dry_run:
        for path, keep in report.written:
            marks = ", ".join(f"{name} {value}" for name, value in MARKS[keep].items())
            typer.echo(f"would write {terminal.printable(path)}: {marks}")
    else:
        typer.echo(f"wrote {len(report.written):,} sidecars; {report.unchanged:,} stay as they are")
    if report.given:
        typer.echo(f"{report.given:,} sidecars have a rating or label of their own, which is left: see --xmp-overwrite")
    _print_failed(report.failures)


def _print_placed(name: str, report: PlacingReport, dry_run: bool) -> None:
    if dry_run:
        for path, target in report.placed:
            typer.echo(f"would be {name}: {terminal.printable(path)} to {terminal.printable(target)}")
    else:
        typer.echo(f"{name} {len(report.placed):,} photos; {report.unchanged:,} were there already")
    _print_failed(report.failures)


def _print_failed(failures: Sequence[FailedPath]) -> None:
    for each in failures:
        typer.echo(f"  {terminal.printable(each.path)}: {each.error}")
