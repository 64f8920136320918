"""A board's plots, a module each: static SVG made with altair and vl-convert.

`gallery` says which ones a board has; `listing` and `scatter` are the two forms that most take,
`window` what part of an axis is shown, `looks` the colours and shapes of kinds.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kdbench.errors import MissingExtra
from kdbench.leaderboard import Board
from kdbench.leaderboard.agreements import Agreements
from kdbench.page.plot import Plot

__all__ = ["pictures", "plots"]


def plots(board: Board, agreements: Agreements | None = None) -> tuple[Plot, ...]:
    """All plots that the board has the figures for, table by table, then those over all tables.

    Args:
        agreements: Of the board's methods with each other, where logits are known.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
    """
    with _extra():
        from kdbench.page.plots import gallery
    return gallery.plots(board, agreements)


def pictures(board: Board) -> dict[str, bytes]:
    """SVG and PNG of gains and costs by file name, such as gains-1.svg for the first table.

    They have a white panel of their own, so that they are read on light and on dark pages.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
    """
    with _extra():
        from kdbench.page.plots import gallery
    return gallery.pictures(board)


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"plots need {error.name}", str(error), "pip install 'kdbench[page]'"
        ) from error
