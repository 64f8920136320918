"""`kdbench export-results` and `kdbench import`: records as one Parquet, and stores that merge."""

from pathlib import Path
from typing import Annotated

import typer

from kdbench.cli.options import AsJson
from kdbench.cli.output import json_out, say, warn
from kdbench.cli.selection import StoreDir
from kdbench.errors import UsageError


def export_results(
    where: Annotated[
        str,
        typer.Argument(metavar="FOLDER|SUITE", help="A folder with records, or a suite's name."),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="What is written.")],
) -> None:
    """Write a board's records as one Parquet for pandas; logits and weights are not in it."""
    from kdbench.cli.board import folder_of
    from kdbench.leaderboard.parquet import write_parquet

    if file.suffix != ".parquet":
        raise UsageError(
            f"{file} does not end in .parquet", "the results are written as Parquet", "rename it"
        )
    done = "replaced" if file.exists() else "wrote"
    count = write_parquet(folder_of(where, None), file)
    say(f"{done} {file}: {count} record{'s' * (count != 1)}")


def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE.parquet|FOLDER", help="An export, or another store's folder."),
    ],
    store: StoreDir = None,
    as_json: AsJson = False,
) -> None:
    """Put records of others into a store; those that are there already are left as they are."""
    from kdbench.leaderboard.exchange import from_folder, merge
    from kdbench.record import Store

    if store is None:
        raise UsageError(
            "import into which store?", "nothing is merged into a guessed one", "give --store DIR"
        )
    if source.is_dir():
        parcel = from_folder(source)
    else:
        from kdbench.leaderboard.parquet import read_parquet

        parcel = read_parquet(source)
    done = merge(parcel, Store(store))
    if done.kept_spec:
        warn(f"{source} says something else about its suite: suite.json of {store} is kept")
    if as_json:
        told = {"new": done.new, "there": done.there, "artifacts": done.artifacts}
        json_out({"store": str(store), **told})
        return
    say(f"{done.new} record{'s' * (done.new != 1)} imported, {done.there} were there")
    if source.is_dir():
        say(f"{done.artifacts} artifact{'s' * (done.artifacts != 1)} (logits, weights) copied")
    say(f"next: kdbench leaderboard {store}")
