"""The board in brief, as plain text for a terminal."""

import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from kdbench.leaderboard import words
from kdbench.leaderboard.aspects import Aspect, aspects
from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.text import MISSING, figures, fixed, plain, spread

_GAP_LINES = 10
_SAME = " (=)"  # all seeds gave the same value
_SPARE = ("step ms", "KL", "overhead")  # the first to go on a narrow terminal
_LEGEND = "± half-width of the 95 % t interval over n seeds"
_COMPARED = "; * baseline; over: gain in points, paired by seed"


def render(board: Board, width: int) -> str:
    """Tables of accuracy, gain over the first baseline, agreement, KL, step and overhead."""
    shown = str(board.view)
    blocks = [_wrap(plain(words.viewed(shown), 2000), width)] if shown else []
    blocks += [_table(table, board, width) for table in (*board.tables, *board.partial)]
    if board.absent:
        blocks.append(_wrap(f"no full trial yet: {len(board.absent)} of the suite's pairs", width))
    if (board.tables or board.partial) and not board.view.columns:
        legend = _LEGEND + (_COMPARED if board.spec.baselines else "")
        blocks.append(_wrap(legend, width))
    return "\n\n".join(blocks) + "\n" if blocks else "no trial yet\n"


def _table(table: Table, board: Board, width: int) -> str:
    short = words.share(table.question)
    title = table.heading + (f" - not the full protocol, {short}" if short else "")
    lines = [_wrap(plain(title), width)]
    if board.view.columns:
        lines += [_chosen(aspect, width) for aspect in aspects(table, board)]
    elif table.rows:
        rows = [_cells(row, board.spec.baselines) for row in table.rows]
        lines.append(_grid(rows, width))
    told = [
        f"not ranked: {gap.name} has {len(gap.done)} of {len(table.seeds)} seeds; {seeds} {reason}"
        for gap in table.gaps
        for seeds, reason in words.gap(gap)
    ]
    if len(told) > _GAP_LINES:
        told[_GAP_LINES:] = [f"and {len(told) - _GAP_LINES} more that are not ranked"]
    told += [
        *table.remarks,
        *(f"{row.name}: {remark}" for row in table.rows for remark in row.remarks),
    ]
    return "\n".join([*lines, *(_wrap(plain(line), width) for line in told)])


def _grid(rows: list[dict[str, str]], width: int) -> str:
    """Cells by column, under their names; what is too wide loses columns, then ends of names."""
    columns, spare = list(rows[0]), list(_SPARE)
    while True:
        cells = [[row[column] for column in columns] for row in rows]
        align = ["left", *["right"] * (len(columns) - 1)]
        grid = _tabulated(columns, cells, align)
        over = max(map(len, grid.splitlines())) - width
        if over <= 0:
            return grid
        if not spare:
            break
        columns.remove(spare.pop(0))
    room = max(8, max(len(row[0]) for row in cells) - over)
    return _tabulated(columns, [[plain(row[0], room), *row[1:]] for row in cells], align)


def _chosen(aspect: Aspect, width: int) -> str:
    """The columns that were asked for, all of them; long words are cut."""
    most = max(12, width // len(aspect.header))
    cells = [[plain(one.text, most) for one in entries] for entries in aspect.lines]
    return _tabulated([plain(name) for name in aspect.header], cells, aspect.align)


def _tabulated(columns: list[str], cells: list[list[str]], align: Sequence[str]) -> str:
    return tabulate(cells, columns, tablefmt="simple", disable_numparse=True, colalign=align)


def _cells(row: Row, baselines: tuple[str, ...]) -> dict[str, str]:
    """What a row shows, by column."""
    cost = row.expense
    gain = {}
    if baselines:
        gained = row.gains.get(baselines[0])
        text = spread(gained, 2, scale=100, sign=True, identical=_SAME)
        gain = {f"over {plain(baselines[0], 12)}": text}
    return {
        "method": plain(row.name + (" *" if row.baseline else "")),
        "accuracy %": spread(row.metrics.get("accuracy"), 2, scale=100, identical=_SAME),
        **gain,
        "agreement %": spread(row.metrics.get("agreement"), 2, scale=100, identical=_SAME),
        "KL": spread(row.metrics.get("kl"), 3, identical=_SAME),
        "step ms": figures(cost.step_ms) if cost else MISSING,
        "overhead": fixed(cost.overhead.mean, 2) if cost and cost.overhead else MISSING,
        "n": str(len(row.seeds)),
    }


def _wrap(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ")
