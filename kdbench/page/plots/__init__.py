"""A board's plots, each a module: static SVG made with altair."""

from kdbench.leaderboard import Board
from kdbench.page.plot import Plot
from kdbench.page.plots import costs, gains


def plots(board: Board) -> tuple[Plot, ...]:
    """A."""
    out = []
    for i, t in enumerate(board.tables, 1):
        out.append(gains.plot(t, board.spec.baselines, f"gains-{i}"))
        out.append(costs.plot(t, board.spec, f"costs-{i}"))
    return tuple(p for p in out if p)
