"""Every seed of every method: how much of a difference is chance."""

from collections.abc import Sequence

import altair

from kdbench.leaderboard import Row, Table
from kdbench.leaderboard.text import spread
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import minus
from kdbench.page.palette import BLUE, GREY, INK
from kdbench.page.plot import Plot
from kdbench.page.plots.listing import listing, texts
from kdbench.page.plots.scatter import percent
from kdbench.page.plots.window import CUT, Window, window

WIDTH, NUMBERS = 560, 104


def plot(table: Table, key: str) -> Plot | None:
    """Accuracy of each seed of a table's rows; None where none was measured."""
    rows = [row for row in table.rows if "accuracy" in row.values]
    if not rows:
        return None
    shown = _window(rows)
    title = "Accuracy of every seed"
    caption = (
        f"A tick a seed, {len(table.seeds)} of each of {len(rows)} rows; the diamond is their "
        "mean and the bar its 95 % t interval. Sorted by mean; baselines are bold."
    )
    if any(shown.cuts(percent(row.metrics["accuracy"])) for row in rows):
        caption += CUT
    chart = _chart(rows, shown)
    return plotted(chart, key=key, title=title, caption=caption, about=table.heading)


def _window(rows: Sequence[Row]) -> Window:
    """In %: all seeds of all methods but those far out."""
    means = [percent(row.metrics["accuracy"]) for row in rows]
    first = window(means)
    near = [row for row, one in zip(rows, means, strict=True) if first.holds(one.mean)]
    inside = [100 * value for row in near for value in row.values["accuracy"].values()]
    return window(means, inside, within=(0, 100))


def _mean(line: int, row: Row, shown: Window) -> dict[str, object]:
    """A row's mean with its interval, and on which side it leaves the window."""
    one = percent(row.metrics["accuracy"])
    return {
        "line": line, "at": shown.clamp(one.mean),
        "low": None if one.low is None else shown.clamp(one.low),
        "high": None if one.high is None else shown.clamp(one.high),
        "side": "" if shown.holds(one.mean) else "left" if one.mean < shown.low else "right",
        "colour": (INK if row.baseline else BLUE).light,
        "text": minus(spread(one, 2, identical=" (same)")), "bold": bool(row.baseline),
    }  # fmt: skip


def _chart(rows: Sequence[Row], shown: Window) -> altair.LayerChart:
    """Ticks, and over them bars and diamonds; the numbers at the right."""
    lines, means = listing(rows), [_mean(line, row, shown) for line, row in enumerate(rows)]
    every = [
        {"line": line, "at": 100 * value}
        for line, row in enumerate(rows)
        for value in row.values["accuracy"].values()
        if shown.holds(100 * value)
    ]
    scale = altair.Scale(domain=shown.ends, nice=False, zero=False)
    axis = altair.Axis(title="accuracy, %", tickCount=8)
    x, y = altair.X("at:Q", scale=scale, axis=axis), lines.y()
    low, paint = altair.X("low:Q", scale=scale, axis=axis), altair.Color("colour:N", scale=None)
    ticks = over(every).mark_tick(
        thickness=1.3, height=0.6 * lines.step, color=GREY.light, opacity=1
    )
    near = [one for one in means if not one["side"]]
    bars = over([one for one in near if one["low"] is not None])
    shapes = {"": "diamond", "left": "triangle-left", "right": "triangle-right"}
    points = [
        over([one for one in means if one["side"] == side])
        .mark_point(filled=True, shape=shape, size=60 if side else 44, opacity=1)
        .encode(x=x, y=y, color=paint)
        for side, shape in shapes.items()
    ]
    return layered(
        lines.stripes(),
        ticks.encode(x=x, y=y),
        bars.mark_rule(strokeWidth=2, opacity=0.55).encode(x=low, x2="high:Q", y=y, color=paint),
        *points,
        lines.labels(),
        texts(means, y, WIDTH + NUMBERS, align="right"),
    ).properties(width=WIDTH, height=lines.height)
