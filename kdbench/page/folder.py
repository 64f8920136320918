"""The page's file beside a board: written, and compared with what the records give."""

from pathlib import Path

from kdbench.leaderboard import Board, pictured
from kdbench.leaderboard.agreements import agreements, keep
from kdbench.page.plots import pictures, plots
from kdbench.page.whole import digest, render
from kdbench.record import write_atomically

NAME = "index.html"
"""What a browser opens of a folder."""


def write(board: Board, folder: Path, source: Path) -> list[Path]:
    """Write the board's page and its pictures into `folder`; their paths.

    Args:
        source: The folder of the records, whose logits say how often methods agree. What was
            computed from them is kept there, for when they are not.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
        StoreError: The file system refuses.
    """
    known = agreements(board, source)
    if known and (source / "artifacts").is_dir():
        keep(board, known, source)
    files = {NAME: render(board, plots(board, known)).encode(), **pictures(board)}
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def check(board: Board, folder: Path) -> list[str]:
    """What is wrong with the page in `folder`, a line each; empty where the records give it.

    What plots, pictures, scripts and styles hold does not count: other versions of libraries make
    them otherwise.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
    """
    path, expected = folder / NAME, digest(render(board))
    files = (NAME, *(name + end for name in pictured.names(board) for end in (".svg", ".png")))
    wrong = [f"{name} is missing" for name in files if not (folder / name).is_file()]
    if path.is_file() and digest(path.read_bytes().decode(errors="replace")) != expected:
        wrong.append(f"{NAME} differs from what the records give")
    return wrong
