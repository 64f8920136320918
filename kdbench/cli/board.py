"""`kdbench leaderboard`: a board from records alone, written, printed or checked."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.cli.output import is_terminal, json_out, say, warn
from kdbench.cli.selection import StoreDir, store_folder
from kdbench.errors import CheckFailed, NothingSelected, UsageError

_PANEL = "What is printed, of the whole board without any; files always hold all of it"

if TYPE_CHECKING:
    from kdbench.leaderboard import Board


def leaderboard(
    place: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER|SUITE", help="A folder with records, or a suite's name."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the files with what the records give.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_tex: Annotated[bool, typer.Option("--tex", help="Print LaTeX tables.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write or check the files here.")
    ] = None,
    store: StoreDir = None,
    columns: Annotated[
        str,
        typer.Option(
            metavar="A,B,C", help="Print these columns of the CSV.", rich_help_panel=_PANEL
        ),
    ] = "",
    sort: Annotated[
        str,
        typer.Option(
            metavar="[-]COLUMN",
            help="Order the rows of each table, the smallest first; with - the largest.",
            rich_help_panel=_PANEL,
        ),
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'COLUMN OP VALUE'",
            help="Print rows that meet this (= != < <= > >=, ~ for holds); repeat.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    seeds_at_least: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Leave out rows of fewer seeds.", rich_help_panel=_PANEL
        ),
    ] = 0,
) -> None:
    """Make the board of a folder of records: README.md, leaderboard.*, index.html, pictures."""
    from kdbench.cli import page
    from kdbench.leaderboard import WHOLE, left_out, read, read_spec, selected, view_of, write

    if sum((check, as_json, as_csv, as_markdown, as_tex)) > 1:
        raise UsageError(
            "--check, --json, --csv, --markdown and --tex exclude each other",
            "each is another thing to do",
            "give one",
        )
    folder = folder_of(place, store)
    if not folder.is_dir():
        how = f"kdbench run --store {folder}" if store or os.sep in (place or "") else "kdbench run"
        raise NothingSelected(f"no records in {folder}", "the folder is not there", how)
    board = read(folder)
    view = view_of(board, columns=columns, sort=sort, where=where or (), seeds=seeds_at_least)
    if view != WHOLE and (check or output):
        raise UsageError(
            f"{'--check' if check else '--output'} takes no part of a board",
            "files hold the whole board, so that its records give the same bytes to everybody",
            "print the part: --csv, --json, --markdown, --tex, or none of them for the console",
        )
    if read_spec(folder) is None:
        warn(f"{folder} has no suite.json: nothing is compared and nothing is expected")
    shown = selected(board, view)
    if check:
        _check(board, output or folder, folder)
    elif as_json:
        import json

        json_out(json.loads(shown.json()))
    elif as_csv:
        for line in left_out(board, view):
            warn(line)
        say(shown.csv().rstrip("\n"))
    elif as_markdown:
        say(shown.markdown().rstrip("\n"))
    elif as_tex:
        say(shown.tex().rstrip("\n"))
    else:
        say(shown.console(shutil.get_terminal_size((110, 24)).columns if is_terminal() else 110))
        if view != WHOLE:
            return
        paths = write(board, output or folder)
        pages, why_not = page.write(board, output or folder, folder)
        for path in (*paths, *pages):
            say(f"wrote {path}")
        if why_not:
            warn(why_not)


def folder_of(where: str | None, store: Path | None) -> Path:
    """The folder of records that a folder or a suite's name means; the digits suite's without any.

    Raises:
        UsageError: Neither a folder nor a suite.
    """
    from kdbench import suite

    if where is None:
        return store_folder("digits", store)
    path = Path(where).expanduser()
    if (path / "records").is_dir():
        return path
    if where in suite.names() or path.suffix == ".toml":
        return store_folder(suite.load(where).name, store)
    given = store_folder(where, None)  # of a suite whose file need not be here
    if os.sep not in where and (given / "records").is_dir():
        return given
    if os.sep in where or path.is_dir():
        return path
    raise UsageError(
        f"{where!r} is neither a folder nor a suite",
        f"shipped suites: {', '.join(suite.names())}",
        "give a folder that holds records/",
    )


def _check(board: "Board", files: Path, folder: Path) -> None:
    """Say what is wrong with the files, a line each.

    Raises:
        CheckFailed: Something is.
        MissingExtra: There is a page, and what it takes to check it is not installed.
    """
    from kdbench.cli import page
    from kdbench.leaderboard import check, unexplained

    wrong, bare = [*check(board, files), *page.check(board, files)], unexplained(board)
    for line in wrong:
        say(line)
    if len(wrong) > len(bare):
        raise CheckFailed(
            f"{files} is not what the records in {folder} give",
            wrong[0],
            f"kdbench leaderboard {folder}",
        )
    if bare:
        why = f"{bare[0]}" + (f", and {len(bare) - 1} more rows" if len(bare) > 1 else "")
        raise CheckFailed(
            f"{files} leaves bad rows unexplained",
            why,
            "set note under [methods.NAME] in the suite",
        )
    say(f"{files}: as the records give it")
