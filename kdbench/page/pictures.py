"""A board's main plots as files that stand beside its README."""

from kdbench.leaderboard import Board
from kdbench.page.drawing import png, still
from kdbench.page.plots import costs, gains


def pictures(board: Board) -> dict[str, bytes]:
    """SVG and PNG of gains and costs by file name, such as gains-1.svg for the first table.

    They have a white panel of their own, so that they are read on light and on dark pages.
    """
    found = {}
    for number, table in enumerate(board.tables, 1):
        made = (
            gains.plot(table, board.spec.baselines, f"gains-{number}"),
            costs.plot(table, board.spec, f"costs-{number}"),
        )
        for plot in made:
            if plot:
                svg = still(plot.svg)
                found[f"{plot.key}.svg"] = svg.encode()
                found[f"{plot.key}.png"] = png(svg)
    return found
