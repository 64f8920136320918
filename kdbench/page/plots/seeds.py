"""Every seed of every method: how much of a difference is chance."""

import altair

from kdbench.leaderboard import Table
from kdbench.leaderboard.text import spread
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import minus
from kdbench.page.palette import BLUE, GREY, INK
from kdbench.page.plot import Plot
from kdbench.page.plots.listing import listing, texts
from kdbench.page.plots.window import CUT, window

WIDTH, NUMBERS = 560, 104


def plot(table: Table, key: str) -> Plot | None:
    """Accuracy of each seed of a table's rows; None where none was measured."""
    rows = [row for row in table.rows if "accuracy" in row.values]
    if not rows:
        return None
    lines = listing(rows)
    means = [row.metrics["accuracy"] for row in rows]
    first = window(means)
    near = [row for row in rows if first.holds(row.metrics["accuracy"].mean)]
    found = window(
        means, [at for row in near for at in row.values["accuracy"].values()], within=(0, 1)
    )
    every = [
        {"line": i, "at": 100 * value, "holds": found.holds(value)}
        for i, row in enumerate(rows)
        for value in row.values["accuracy"].values()
    ]
    marks = list[dict[str, object]]()
    for i, row in enumerate(rows):
        one = row.metrics["accuracy"]
        held = found.holds(one.mean)
        marks.append({
            "line": i, "at": 100 * found.clamp(one.mean), "held": held,
            "low": None if one.low is None else 100 * found.clamp(one.low),
            "high": None if one.high is None else 100 * found.clamp(one.high),
            "colour": (INK if row.baseline else BLUE).light,
            "side": "" if held else "left" if one.mean < found.low else "right",
            "text": minus(spread(one, 2, scale=100, identical=" (same)")),
            "bold": bool(row.baseline),
        })  # fmt: skip
    scale = altair.Scale(domain=[100 * end for end in found.ends], nice=False, zero=False)
    axis = altair.Axis(title="accuracy, %", tickCount=8)
    x, y = altair.X("at:Q", scale=scale, axis=axis), lines.y()
    paint = altair.Color("colour:N", scale=None)
    drawn = [one for one in marks if one["held"]]
    whole = [one for one in drawn if one["low"] is not None]
    chart = layered(
        lines.stripes(),
        over([one for one in every if one["holds"]])
        .mark_tick(thickness=1.3, height=0.6 * lines.step, color=GREY.light, opacity=1)
        .encode(x=x, y=y),
        over(whole).mark_rule(strokeWidth=2, opacity=0.55).encode(
            x=altair.X("low:Q", scale=scale, axis=axis), x2="high:Q", y=y, color=paint
        ),
        over(drawn).mark_point(filled=True, shape="diamond", size=44, opacity=1)
        .encode(x=x, y=y, color=paint),
        *(
            over([one for one in marks if one["side"] == side])
            .mark_point(filled=True, shape=f"triangle-{side}", size=60, opacity=1)
            .encode(x=x, y=y, color=paint)
            for side in ("left", "right")
        ),
        lines.labels(),
        texts(marks, y, WIDTH + NUMBERS, align="right"),
    ).properties(width=WIDTH, height=lines.height)  # fmt: skip
    title = "Accuracy of every seed"
    caption = (
        f"A tick a seed, {len(table.seeds)} of each of {len(rows)} methods; the diamond is their "
        "mean and the bar its 95 % t interval. Sorted by mean; baselines are bold."
    )
    if any(found.cuts(one) for one in means):
        caption += CUT
    return plotted(chart, key=key, title=title, caption=caption, about=table.heading)
