"""The board in brief, as plain text for a terminal."""

import textwrap

from tabulate import tabulate

from kdbench.leaderboard import words
from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.text import MISSING, figures, fixed, plain, spread

_GAP_LINES = 10
_SAME = " (=)"  # all seeds gave the same value
_SPARE = ("step ms", "KL", "overhead")  # the first to go on a narrow terminal
_LEGEND = "± half-width of the 95 % t interval over n seeds"
_COMPARED = "; * baseline; over: gain in points, paired by seed"


def render(board: Board, width: int) -> str:
    """Tables of accuracy, gain over the first baseline, agreement, KL, step and overhead."""
    blocks = [
        _table(table, board.spec.baselines, width) for table in (*board.tables, *board.partial)
    ]
    if board.absent:
        blocks.append(_wrap(f"no full trial yet: {len(board.absent)} of the suite's pairs", width))
    if board.tables or board.partial:
        legend = _LEGEND + (_COMPARED if board.spec.baselines else "")
        blocks.append(_wrap(legend, width))
    return "\n\n".join(blocks) + "\n" if blocks else "no trial yet\n"


def _table(table: Table, baselines: tuple[str, ...], width: int) -> str:
    short = words.share(table.question)
    title = table.heading + (f" - not the full protocol, {short}" if short else "")
    lines = [_wrap(plain(title), width)]
    if table.rows:
        lines.append(_grid([_cells(row, baselines) for row in table.rows], width))
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
        grid = _tabulated(columns, cells)
        over = max(map(len, grid.splitlines())) - width
        if over <= 0:
            return grid
        if not spare:
            break
        columns.remove(spare.pop(0))
    room = max(8, max(len(row[0]) for row in cells) - over)
    return _tabulated(columns, [[plain(row[0], room), *row[1:]] for row in cells])


def _tabulated(columns: list[str], cells: list[list[str]]) -> str:
    align = ["left", *["right"] * (len(columns) - 1)]
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
