"""Which plots a board has, in the order of a page, and the main ones as files."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from kdbench.leaderboard import Board
from kdbench.leaderboard.agreements import Agreements
from kdbench.leaderboard.text import plain
from kdbench.page.drawing import png, still
from kdbench.page.plot import Plot
from kdbench.page.plots import (
    costs,
    coverage,
    curves,
    fidelity,
    gains,
    likeness,
    ranks,
    seeds,
    students,
)


def plots(board: Board, agreements: Agreements | None = None) -> tuple[Plot, ...]:
    """All that the board has the figures for, table by table, then those over all tables.

    Args:
        agreements: Of the board's methods with each other, where logits are known.
    """
    found = [one for place in range(len(board.tables)) for one in _table(board, place, agreements)]
    found += [one for one in _students(board) if one]
    found += [ranks.plot(board.critical, board, "ranks")] if board.critical else []
    found += [one for one in [coverage.plot(board, "coverage")] if one]
    return tuple(found)


def _table(board: Board, place: int, agreements: Agreements | None) -> Iterator[Plot]:
    """Of one table, the main one first; keys end in the table's number, titles name it."""
    table, spec, number = board.tables[place], board.spec, place + 1
    made: tuple[Plot | None, ...] = (
        gains.plot(table, spec.baselines, f"gains-{number}"),
        costs.plot(table, spec, f"costs-{number}"),
        fidelity.plot(table, spec, f"fidelity-{number}"),
        seeds.plot(table, f"seeds-{number}"),
        curves.plot(table, f"curves-{number}"),
    )
    known = agreements.tables[place] if agreements else None
    made += (likeness.plot(table, known, f"likeness-{number}"),) if known else ()
    several = len(board.tables) > 1
    for one in made:
        if one:
            yield replace(one, title=f"{one.title} – {plain(table.heading)}") if several else one


def _students(board: Board) -> Iterator[Plot | None]:
    """A plot for each data set and teacher, of each variant its own."""
    defaults = [table for table in board.tables if table.part == "defaults"]

    def same(place: int) -> tuple[str, str]:
        return defaults[place].place, defaults[place].question.teacher

    places = sorted(range(len(defaults)), key=same)
    for number, (_, some) in enumerate(groupby(places, key=same), 1):
        tables = [defaults[place] for place in some]
        yield students.plot(tables, board.spec, f"students-{number}")


def pictures(board: Board) -> dict[str, bytes]:
    """SVG and PNG of each table's gains and costs, by file name."""
    found: dict[str, bytes] = {}
    for number, table in enumerate(() if board.spec.variants else board.tables, 1):
        made = (
            gains.plot(table, board.spec.baselines, f"gains-{number}"),
            costs.plot(table, board.spec, f"costs-{number}"),
        )
        for plot in made:
            if plot:
                svg = still(plot.svg)
                found[f"{plot.key}.svg"] = svg.encode() + b"\n"
                found[f"{plot.key}.png"] = png(svg)
    return found
