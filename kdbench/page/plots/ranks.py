"""Critical-difference diagram: methods by average rank over cells, bars over what is not told."""

from collections.abc import Mapping, Sequence

import altair

from kdbench.leaderboard import Board
from kdbench.leaderboard.text import fixed
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import fitted
from kdbench.page.palette import GREY, INK, QUIET, VERMILLION, Colour
from kdbench.page.plot import Plot
from kdbench.statistics import Critical

WIDTH, SIDE, LINE, CLIQUE = 520, 170, 17, 9
"""Pixels of the axis, of the names on each side, of a line of names, and of a clique."""

_TOP = 34
"""Pixels for the axis and the critical difference above it."""


def plot(found: Critical, board: Board, key: str) -> Plot:
    """The diagram after J. Demsar, JMLR 7, 2006, section 3.2.2: the best rank at the left."""
    title = "Average ranks over all pairs"
    first = fitted(board.spec.baselines[0], 150) if board.spec.baselines else "the first baseline"
    caption = (
        f"Ranks of {len(found.ranks)} methods by gain over {first} in {found.cells} cells, 1 for "
        f"the best (Friedman p = {found.p:.2g}). Between methods under one bar no difference is "
        "shown: their ranks are within the critical difference (CD) of "
        f"{fixed(found.difference, 2)} (Nemenyi, 5 % level)."
    )
    about = board.spec.title or board.spec.suite
    return plotted(_chart(found), key=key, title=title, caption=caption, about=about)


def _chart(found: Critical) -> altair.LayerChart:
    """All in pixels: the axis at the top, bars under it, the better half's names at the left."""
    count = len(found.ranks)
    half, below = (count + 1) // 2, _TOP + CLIQUE * (len(found.cliques) + 1)
    unit = WIDTH / max(1, count - 1)

    def at(rank: float) -> float:
        return unit * (rank - 1)

    ticks = [{"x": at(r), "y": _TOP, "y2": _TOP - 6, "text": str(r)} for r in _whole(count)]
    axis = [{"x": 0, "x2": WIDTH, "y": _TOP}]
    difference = [{"x": 0.0, "x2": unit * found.difference, "y": 4}]
    bars = [
        {"x": at(found.ranks[run[0]]), "x2": at(found.ranks[run[-1]]), "y": _TOP + CLIQUE * (i + 1)}
        for i, run in enumerate(found.cliques)
    ]
    stems, sides = [], []
    for place, (name, rank) in enumerate(found.ranks.items()):
        left = place < half
        y = below + LINE * ((place if left else count - 1 - place) + 0.5)
        edge = -4 if left else WIDTH + 4
        stems.append({"x": at(rank), "y": _TOP, "y2": y})
        sides.append({
            "x": at(rank), "x2": edge, "y": y, "left": left, "at": edge + (-4 if left else 4),
            "text": fitted(name, SIDE - 12),
        })  # fmt: skip
    layers = [
        _rules(stems, GREY, 1, down=True), _rules(sides, GREY, 1), _rules(axis, QUIET, 1),
        _rules(ticks, QUIET, 1, down=True), _rules(bars, INK, 4), _rules(difference, VERMILLION, 2),
        over(ticks).mark_text(color=QUIET.light, dy=-14)
        .encode(x=_across("x"), y=_down("y"), text="text:N"),
        over([{**difference[0], "text": f"CD {fixed(found.difference, 2)}"}])
        .mark_text(align="left", dx=6, color=INK.light)
        .encode(x=_across("x2"), y=_down("y"), text="text:N"),
        *(
            over([side for side in sides if side["left"] == left])
            .mark_text(align="right" if left else "left", color=INK.light)
            .encode(x=_across("at"), y=_down("y"), text="text:N")
            for left in (True, False)
        ),
    ]  # fmt: skip
    return layered(*layers).properties(width=WIDTH, height=below + LINE * half)


def _rules(
    rows: Sequence[Mapping[str, object]], colour: Colour, thick: float, *, down: bool = False
) -> altair.Chart:
    """Level lines from x to x2, or upright ones from y to y2."""
    mark = over(rows).mark_rule(color=colour.light, strokeWidth=thick)
    second = {"y2": altair.Y2("y2")} if down else {"x2": altair.X2("x2")}
    found: altair.Chart = mark.encode(x=_across("x"), y=_down("y"), **second)
    return found


def _across(field: str) -> altair.X:
    return altair.X(field, type="quantitative", scale=None, axis=None)


def _down(field: str) -> altair.Y:
    return altair.Y(field, type="quantitative", scale=None, axis=None)


def _whole(count: int) -> list[int]:
    """Ranks that the axis names: a dozen or so."""
    return list(range(1, count + 1, max(1, round(count / 12))))
