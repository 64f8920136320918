"""A board's page beside its other files, where the packages that it needs are installed."""

from pathlib import Path

from kdbench import page
from kdbench.errors import MissingExtra
from kdbench.leaderboard import Board


def write(board: Board, folder: Path, source: Path) -> tuple[tuple[Path, ...], str]:
    """Paths of the page and its pictures, once written; or none, and a line why and what to do.

    Args:
        source: Where the records lie.

    Raises:
        StoreError: The file system refuses.
    """
    try:
        return tuple(page.write(board, folder, source)), ""
    except MissingExtra as error:
        return (), f"{page.NAME} and its pictures were not written: {error.what}; {error.next}"


def check(board: Board, folder: Path) -> list[str]:
    """What is wrong with the page in `folder`, a line.

    Raises:
        MissingExtra: There is one, and what it takes to check it is not installed.
    """
    try:
        return page.check(board, folder)
    except MissingExtra:
        if (folder / page.NAME).is_file():
            raise
        return []
