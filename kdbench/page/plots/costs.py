"""Accuracy against what training costs, with the methods that no other beats in both."""

from collections.abc import Sequence
from dataclasses import replace

import altair

from kdbench.leaderboard import BoardSpec, Table
from kdbench.page.drawing import over, plotted
from kdbench.page.lettering import fitted
from kdbench.page.palette import GREY
from kdbench.page.plot import Plot
from kdbench.page.plots.looks import kind
from kdbench.page.plots.scatter import Axis, Point, percent, scatter
from kdbench.page.plots.window import CUT, window

_BEST = 3
"""So many are named whatever they cost."""


def plot(table: Table, spec: BoardSpec, key: str) -> Plot | None:
    """Accuracy against cost of a table's rows; None where fewer than two rows have both."""
    found = points(table, spec)
    if len(found) < 2:
        return None
    first = fitted(spec.baselines[0], 150) if spec.baselines else "the first baseline"
    spent = [one.x for one in found]
    x = Axis(
        title=f"cost ×, training step over that of {first} (log scale; left is cheaper)",
        shown=window(spent, [one.mean for one in spent], log=True), log=True,
    )  # fmt: skip
    y = Axis(title="accuracy, %", shown=window([one.y for one in found], within=(0, 100)))
    best = front(found)
    ends = [*((one.x.mean, one.y.mean) for one in best), (x.shown.high, best[-1].y.mean)]
    steps = over([{"x": at, "y": y.shown.clamp(up)} for at, up in ends]).mark_line(
        interpolate="step-after", color=GREY.light, strokeWidth=1.5
    )
    line = steps.encode(x=altair.X("x:Q", scale=x.scale), y=altair.Y("y:Q", scale=y.scale))
    title = "Accuracy against training cost"
    names = ", ".join(fitted(one.name, 150) for one in best)
    caption = (
        f"{len(found)} methods and baselines, n = {len(table.seeds)} seeds; bars are 95 % "
        "intervals. Cost × is the wall time of a training step, with the live teacher's pass, "
        f"over that of {first}. The line is the Pareto front: for a method on it ({names}) no "
        "other is both cheaper and more accurate, by the means. Named are these, the baselines, "
        f"the {_BEST} most accurate, and what lies beyond the axes."
    )
    if any(x.shown.cuts(one.x) or y.shown.cuts(one.y) for one in found):
        caption += CUT
    if left := len(table.rows) - len(found):
        caption += f" Left out, for want of a comparable time: {left}."
    chart = scatter(found, x, y, beneath=[line], path=ends)
    return plotted(chart, key=key, title=title, caption=caption, about=table.heading)


def points(table: Table, spec: BoardSpec) -> list[Point]:
    """Rows that have an overhead, in the table's order; overhead as a ratio, accuracy in %."""
    both = [
        (row, row.expense.overhead, percent(row.metrics["accuracy"]))
        for row in table.rows
        if row.expense and row.expense.overhead and "accuracy" in row.metrics
    ]
    if not both:
        return []
    plain = [
        Point(name=row.name, kind=kind(row, spec), x=x, y=y, named=bool(row.baseline))
        for row, x, y in both
    ]
    best = sorted(plain, key=lambda one: -one.y.mean)[:_BEST]
    names = {one.name for one in (*front(plain), *best)}
    shown = window([y for _, _, y in both], within=(0, 100))
    return [
        replace(one, named=one.named or one.name in names or not shown.holds(one.y.mean))
        for one in plain
    ]


def front(found: Sequence[Point]) -> list[Point]:
    """The points that no other is at once left of and above, from left to right."""
    best = list[Point]()
    for one in sorted(found, key=lambda one: (one.x.mean, -one.y.mean, one.name)):
        if not best or one.y.mean > best[-1].y.mean:
            best.append(one)
    return best
