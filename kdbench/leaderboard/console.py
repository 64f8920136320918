"""The board in brief, as plain text for a terminal."""

import textwrap

from tabulate import tabulate

from kdbench.leaderboard import words
from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.text import MISSING, figures, fixed, plain, spread

_GAP_LINES = 10
_SAME = " (=)"  # all seeds gave the same value


def render(board: Board, width: int) -> str:
    """Tables of accuracy, gain over the first baseline, agreement, KL, step and overhead."""
    blocks = [
        _table(table, board.spec.baselines, width) for table in (*board.tables, *board.partial)
    ]
    if board.absent:
        blocks.append(_wrap(f"no full trial yet: {len(board.absent)} of the suite's pairs", width))
    return "\n\n".join(blocks) + "\n" if blocks else "no trial yet\n"


def _table(table: Table, baselines: tuple[str, ...], width: int) -> str:
    short = words.share(table.question)
    title = table.heading + (f" - not the full protocol, {short}" if short else "")
    lines = [_wrap(plain(title), width)]
    if table.rows:
        header = ["method", "accuracy %", "agreement %", "KL", "step ms", "overhead", "n"]
        if baselines:
            header.insert(2, f"gain over {plain(baselines[0], 12)}")
        cells = [_cells(row, baselines) for row in table.rows]
        align = ["left", *["right"] * (len(header) - 1)]
        grid = tabulate(cells, header, tablefmt="simple", disable_numparse=True, colalign=align)
        over = max(map(len, grid.splitlines())) - width
        if over > 0:  # only the first column may be long: cut names, never numbers
            room = max(8, max(len(row[0]) for row in cells) - over)
            cells = [[plain(row[0], room), *row[1:]] for row in cells]
            grid = tabulate(cells, header, tablefmt="simple", disable_numparse=True, colalign=align)
        lines.append(grid)
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


def _cells(row: Row, baselines: tuple[str, ...]) -> list[str]:
    cost = row.expense
    cells = [
        plain(row.name + (" *" if row.baseline else "")),
        spread(row.metrics.get("accuracy"), 2, scale=100, identical=_SAME),
        spread(row.metrics.get("agreement"), 2, scale=100, identical=_SAME),
        spread(row.metrics.get("kl"), 3, identical=_SAME),
        figures(cost.step_ms) if cost else MISSING,
        fixed(cost.overhead.mean, 2) if cost and cost.overhead else MISSING,
        str(len(row.seeds)),
    ]
    if baselines:
        cells.insert(
            2, spread(row.gains.get(baselines[0]), 2, scale=100, sign=True, identical=_SAME)
        )
    return cells


def _wrap(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ")
