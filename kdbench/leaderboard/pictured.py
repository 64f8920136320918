"""Which pictures lie beside a board: the floor above draws them, the README names them."""

from kdbench.leaderboard.board import Board, Table


def gains(table: Table) -> bool:
    """Whether the table has gains to draw."""
    return any(row.gains for row in table.rows)


def costs(table: Table) -> bool:
    """Whether at least two rows have both accuracy and overhead."""
    known = (
        row for row in table.rows
        if row.expense and row.expense.overhead and "accuracy" in row.metrics
    )  # fmt: skip
    return len(list(known)) > 1


def names(board: Board) -> dict[str, str]:
    """What each picture shows, by its file's name without the ending.

    A suite of variants has none: they would be dozens, and its report has the pictures that answer.
    """
    found: dict[str, str] = {}
    if board.spec.variants:
        return found
    for number, table in enumerate(board.tables, 1):
        if gains(table):
            found[f"gains-{number}"] = "Gains with 95 % intervals; filled where told from 0"
        if costs(table):
            found[f"costs-{number}"] = "Accuracy against training cost, with its Pareto front"
    return found
