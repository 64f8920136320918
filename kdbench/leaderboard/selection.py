"""A board as a view shows it: fewer rows in another order, every figure that of the whole board."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kdbench.errors import NothingSelected
from kdbench.leaderboard import sheet
from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.sheet import Value, line
from kdbench.leaderboard.view import View


def view_of(
    board: Board, *, columns: str = "", sort: str = "", where: Sequence[str] = (), seeds: int = 0
) -> View:
    """The view of this board that a command line's options mean; see `View.of`.

    Raises:
        UsageError: An unknown column, or a condition that is none.
    """
    known = sheet.columns(board)
    return View.of(known, sheet.TEXTS, columns=columns, sort=sort, where=where, seeds=seeds)


def selected(board: Board, view: View) -> Board:
    """The board with the rows that the view asks for, in its order.

    Means, tests and ranks stay those among all rows and over all seeds. A mean over tables is not
    shown where rows may be missing.

    Raises:
        NothingSelected: No row meets the view's conditions.
    """
    tables, partial = (tuple(_tables(which, view)) for which in (board.tables, board.partial))
    if view.where and not (tables or partial):
        raise NothingSelected(
            "no row is left",
            f"none has {' and '.join(map(str, view.where))}",
            "ask for less; accuracies and the like are fractions here, as in --csv",
        )
    whole = not view.filtered
    return replace(
        board, view=view, tables=tables, partial=partial,
        across=board.across if whole else (), critical=board.critical if whole else None,
    )  # fmt: skip


def left_out(board: Board, view: View) -> list[str]:
    """Rows with too few seeds, a line each table that has any."""
    return [
        f"{table.heading}: {told}"
        for table in board.tables
        for told in _few(table, [row for row, _ in _asked(table, view)], view)
    ]


def _tables(tables: Iterable[Table], view: View) -> Iterable[Table]:
    for table in tables:
        asked = _asked(table, view)
        kept = [one for one in asked if len(one[0].seeds) >= view.seeds]
        remarks = (*table.remarks, *_few(table, [row for row, _ in asked], view))
        if asked or not view.where:
            yield replace(table, rows=tuple(_ordered(kept, view)), remarks=remarks)


def _asked(table: Table, view: View) -> list[tuple[Row, dict[str, Value]]]:
    """The rows that meet the conditions, with what they have by column."""
    lines = [(row, line(table, row)) for row in table.rows]
    return [one for one in lines if all(condition.holds(one[1]) for condition in view.where)]


def _few(table: Table, rows: Iterable[Row], view: View) -> list[str]:
    few = sorted(row.name for row in rows if len(row.seeds) < view.seeds)
    counted = f"{len(table.seeds)} seeds, of the {view.seeds} asked for"
    return [f"left out, with {counted}: {', '.join(few)}"] if few else []


def _ordered(lines: list[tuple[Row, dict[str, Value]]], view: View) -> list[Row]:
    if not view.sort:
        return [row for row, _ in lines]
    known = [one for one in lines if one[1].get(view.sort) is not None]
    rest = [row for row, found in lines if found.get(view.sort) is None]

    def key(one: tuple[Row, dict[str, Value]]) -> tuple[float, str]:
        value = one[1][view.sort]
        return (0.0, value) if isinstance(value, str) else (float(value or 0.0), "")

    return [row for row, _ in sorted(known, key=key, reverse=view.descending)] + rest
