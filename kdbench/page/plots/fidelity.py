"""Accuracy against agreement with the teacher: is a student good because it matches?"""

from dataclasses import replace

from kdbench.leaderboard import BoardSpec, Table
from kdbench.page.drawing import plotted
from kdbench.page.plot import Plot
from kdbench.page.plots.looks import kind
from kdbench.page.plots.scatter import Axis, Point, percent, rule, scatter
from kdbench.page.plots.window import CUT, window
from kdbench.statistics import mean

_BEST = 4
"""So many of each are named."""


def plot(table: Table, spec: BoardSpec, key: str) -> Plot | None:
    """Accuracy against agreement of a table's rows; None where fewer than two have both."""
    found = points(table, spec)
    if len(found) < 2:
        return None
    theirs = [100 * one.quality["accuracy"] for one in table.teachers if "accuracy" in one.quality]
    level = mean(theirs).mean if theirs else None
    split = table.question.evaluation.split
    x = Axis(
        title=f"agreement with the teacher, % of the {split} split",
        shown=window([one.x for one in found], within=(0, 100)),
    )
    always = [] if level is None else [level]
    y = Axis(title="accuracy, %", shown=window([one.y for one in found], always, within=(0, 100)))
    found = [
        replace(
            one, named=one.named or not (x.shown.holds(one.x.mean) and y.shown.holds(one.y.mean))
        )
        for one in found
    ]
    title = "Fidelity against accuracy"
    caption = (
        f"{len(found)} methods and baselines, n = {len(table.seeds)} seeds; bars are 95 % t "
        "intervals. Agreement: how often student and teacher say the same class, right or wrong. "
    )
    if level is not None:
        caption += f"The dashed line is the accuracy of the teacher{'s' * (len(theirs) > 1)}. "
    caption += (
        f"Named are the baselines, the {_BEST} best in either, and what lies beyond the axes."
    )
    if any(x.shown.cuts(one.x) or y.shown.cuts(one.y) for one in found):
        caption += CUT
    if left := len(table.rows) - len(found):
        caption += f" Left out, for want of either: {left}."
    lines = [] if level is None else rule(level, f"teacher, {level:.2f} %", y)
    chart = scatter(found, x, y, beneath=lines)
    return plotted(chart, key=key, title=title, caption=caption, about=table.heading)


def points(table: Table, spec: BoardSpec) -> list[Point]:
    """Rows that have both, in the table's order; in %."""
    rows = [row for row in table.rows if {"agreement", "accuracy"} <= row.metrics.keys()]
    best = {
        row.name
        for metric in ("agreement", "accuracy")
        for row in sorted(rows, key=lambda row: -row.metrics[metric].mean)[:_BEST]
    }
    return [
        Point(
            name=row.name, kind=kind(row, spec), x=percent(row.metrics["agreement"]),
            y=percent(row.metrics["accuracy"]), named=bool(row.baseline) or row.name in best,
        )
        for row in rows
    ]  # fmt: skip
