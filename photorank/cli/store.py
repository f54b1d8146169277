"""The command line of `photorank store`: parse, call, print."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from photorank.reports import terminal

app = typer.Typer(help="Look into a feature store, tidy it up, move vectors in and out.", no_args_is_help=True)

Store = Annotated[Path, typer.Argument(metavar="STORE", help="The feature store's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


class Format(StrEnum):
    """What `export` writes."""

    hdf5 = "hdf5"
    parquet = "parquet"
    npy = "npy"


class Role(StrEnum):
    """What a feature space is."""

    visual = "visual"
    statistic = "statistic"


@app.command()
def info(store: Store, as_json: Json = False) -> None:
    """Show the spaces of a store: rows, bytes and specs."""
    from photorank.stages.info import store_info

    found = store_info(store)
    if as_json:
        terminal.print_json(asdict(found))
        return
    from photorank.reports.tables import store_tables

    for part in store_tables(found):
        terminal.print_table(part)


@app.command()
def verify(store: Store, as_json: Json = False) -> None:
    """Read every committed byte of a store and list what is not as it was written; status 1 where anything is."""
    from photorank.store import FeatureStore

    problems = FeatureStore.open(store).verify()
    if as_json:
        terminal.print_json({"path": str(store), "problems": problems})
    else:
        for problem in problems or ["every committed byte is as it was written"]:
            typer.echo(problem)
    if problems:
        typer.echo(f"photorank: {store} is damaged in {len(problems)} places; see the list above", err=True)
        raise typer.Exit(1)


@app.command()
def compact(
    store: Store,
    space: Annotated[str | None, typer.Option(metavar="NAME", help="Only this space.")] = None,
    as_json: Json = False,
) -> None:
    """Merge small segments into large ones, so that the store loads faster; the old ones stay until gc."""
    from photorank.store import FeatureStore

    with terminal.stoppable("the store is as it was, but for what was merged by then"):
        merged = FeatureStore.open(store).compact(space)
    if as_json:
        terminal.print_json({"path": str(store), "merged": merged})
        return
    for name, count in merged.items():
        typer.echo(f"  {name}: " + (f"{count:,} segments merged" if count else "nothing to merge"))
    if any(merged.values()):
        typer.echo(f"what was merged is kept for a day; to delete it then: photorank store gc {store}")


@app.command()
def gc(
    store: Store,
    older_than: Annotated[
        float, typer.Option(metavar="HOURS", min=0, help="Only what was replaced so many hours ago.")
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Delete what compact replaced and what killed writers left behind."""
    from photorank.store import FeatureStore

    with terminal.stoppable("what is part of the store is kept"):
        removed = FeatureStore.open(store).gc(older_than * 3600)
    if as_json:
        terminal.print_json({"path": str(store), **asdict(removed)})
    else:
        typer.echo(f"{removed.segments:,} segments and files deleted, {removed.bytes / 1e6:,.1f} MB")


@app.command()
def forget(
    store: Store,
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTOS", help="Keys (64 hex digits), and paths or folders as last seen.")
    ],
    as_json: Json = False,
) -> None:
    """Delete photos from a store for good: their vectors in every space, and where they were seen."""
    from photorank.stages.exchange import forget as stage

    with terminal.stoppable("the same call goes on deleting"):
        forgotten = stage(store, photos)
    if as_json:
        terminal.print_json(forgotten)
        return
    typer.echo(f"{forgotten['photos']:,} photos forgotten, seen at {forgotten['files']:,} paths")
    for name, count in forgotten["vectors"].items():
        typer.echo(f"  {name}: {count:,} vectors deleted")


@app.command("rm-space")
def rm_space(
    store: Store,
    space: Annotated[str, typer.Argument(metavar="SPACE", help="name, or name@fingerprint where there are several.")],
    as_json: Json = False,
) -> None:
    """Delete a feature space and all its vectors."""
    from photorank.store import FeatureStore

    opened = FeatureStore.open(store)
    name = opened.space(space).path.name
    size = opened.remove_space(name)
    if as_json:
        terminal.print_json({"path": str(store), "space": name, "bytes": size})
    else:
        typer.echo(f"{name} deleted, {size / 1e6:,.1f} MB")


@app.command("export")
def export_(
    store: Store,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new file (HDF5) or folder.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Without it: HDF5 when OUT ends with .h5, else Parquet.")
    ] = None,
    space: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this space; repeat for more.")] = None,
    as_json: Json = False,
) -> None:
    """Write spaces as HDF5, Parquet or NumPy files, keys and specs inside."""
    from photorank.stages.exchange import export

    with terminal.stoppable("nothing was written"):
        moved = export(store, out, form.value if form else None, space or ())
    if as_json:
        terminal.print_json({"path": str(out), "spaces": [asdict(each) for each in moved]})
        return
    for each in moved:
        typer.echo(f"  {each.space}: {each.rows:,} rows")
    typer.echo(f"wrote {out}")


@app.command("import")
def import_(
    store: Store,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of export, or .h5, .npy, .npz, .parquet, .csv.")],
    name: Annotated[str | None, typer.Option(help="For features of another program: the space's name.")] = None,
    role: Annotated[Role | None, typer.Option(help="For those: visual, or statistic.")] = None,
    description: Annotated[str | None, typer.Option(help="For those: what made them; part of the spec.")] = None,
    photos: Annotated[
        str | None, typer.Option(metavar="WHERE", help="The column, data set or (for .npy) file with paths or keys.")
    ] = None,
    vectors: Annotated[
        str | None, typer.Option(metavar="WHERE", help="The column or data set with the vectors.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What relative paths are relative to (default: FILE's folder).")
    ] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="For those: photos need not be there; they are keyed by their path.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read vectors into a store: what export wrote, or features that another program made."""
    if any(each is not None for each in (name, role, description)):
        if name is None or role is None or description is None:
            raise typer.BadParameter("features of another program need --name, --role and --description")
        from photorank.stages.exchange import import_features

        with terminal.stoppable("what was committed by then is kept"):
            moved = [import_features(store, file, name, role.value, description, photos, vectors, folder, absent)]
    else:
        from photorank.stages.exchange import import_export

        with terminal.stoppable("what was committed by then is kept"):
            moved = import_export(store, file)
    if as_json:
        terminal.print_json({"path": str(store), "spaces": [asdict(each) for each in moved]})
        return
    for each in moved:
        typer.echo(f"  {each.space}: {each.rows:,} rows, {each.new:,} of them new")
