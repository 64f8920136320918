"""The page's file beside a board: written, and compared with what the records give."""

from collections.abc import Sequence
from pathlib import Path

from kdbench.leaderboard import Board
from kdbench.page.plot import Plot
from kdbench.page.whole import digest, render
from kdbench.record import write_atomically

NAME = "index.html"
"""What a browser opens of a folder."""


def write(board: Board, folder: Path, plots: Sequence[Plot] = ()) -> Path:
    """Write the board's page into `folder`; its path.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
        StoreError: The file system refuses.
    """
    path = folder / NAME
    write_atomically(path, render(board, plots).encode())
    return path


def check(board: Board, folder: Path) -> list[str]:
    """What is wrong with the page in `folder`, a line; empty where the records give it.

    Pictures, scripts and styles do not count, which other versions of libraries make otherwise.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
    """
    path, expected = folder / NAME, digest(render(board))
    if not path.is_file():
        return [f"{NAME} is missing"]
    if digest(path.read_bytes().decode(errors="replace")) != expected:
        return [f"{NAME} differs from what the records give"]
    return []
