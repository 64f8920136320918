"""`kdbench report`: a paper's question answered from records, written, printed or checked."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.cli.board import folder_of
from kdbench.cli.output import heading, json_out, say, table, warn
from kdbench.cli.selection import StoreDir
from kdbench.errors import CheckFailed, MissingExtra, NothingSelected, UsageError

if TYPE_CHECKING:
    from kdbench.leaderboard.claims import Answered


def report(
    place: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER|SUITE", help="A folder with records, or a suite's name."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the files with what the records give.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write or check the files here.")
    ] = None,
    store: StoreDir = None,
) -> None:
    """Answer a suite's claims from its records: report.html, REPORT.md, report.json."""
    from kdbench.leaderboard import read
    from kdbench.leaderboard.claims import WORDS, answered, write
    from kdbench.page import report as page

    if check and as_json:
        raise UsageError("--check and --json exclude each other", "each prints its own", "give one")
    folder = folder_of(place, store)
    if not folder.is_dir():
        how = "kdbench run, with the same suite"
        raise NothingSelected(f"no records in {folder}", "the folder is not there", how)
    found, files = answered(read(folder)), output or folder
    if as_json:
        json_out(json.loads(found.json()))
        return
    if check:
        _check(found, files, folder)
        return
    heading(found.title)
    say(found.verdict)
    table(
        ["verdict", "claim", "contrast"],
        [
            (WORDS[one.verdict], one.claim.says, one.unit.span(one.estimate))
            for one in found.findings
        ],
    )
    paths = write(found, files)
    try:
        paths.append(page.write(found, files))
    except MissingExtra as error:
        warn(f"{page.NAME} was not written: {error.what}; {error.next}")
    for path in paths:
        say(f"wrote {path}")


def _check(found: "Answered", files: Path, folder: Path) -> None:
    """Say what is wrong with the files, a line each.

    Raises:
        CheckFailed: Something is.
        MissingExtra: What it takes to check the page is not installed.
    """
    from kdbench.leaderboard.claims import check
    from kdbench.page import report as page

    wrong = check(found, files)
    try:
        wrong += page.check(found, files)
    except MissingExtra:
        if (files / page.NAME).is_file():
            raise
    for line in wrong:
        say(line)
    if wrong:
        raise CheckFailed(
            f"{files} is not what the records in {folder} give",
            wrong[0],
            f"kdbench report {folder}",
        )
    say(f"{files}: as the records give it")
