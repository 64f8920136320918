"""How accuracy on the validation rows rises while students train."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import altair

from kdbench.leaderboard import Row, Table
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import fitted, spread
from kdbench.page.palette import CATEGORIES, GREY, INK, QUIET, Colour
from kdbench.page.plot import Plot
from kdbench.page.plots.scatter import HEIGHT, WIDTH

_BEST = 4
"""So many of the most accurate are named, beside the baselines."""

_DASHES = ([1, 0], [7, 3], [2, 2], [8, 3, 2, 3])


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean accuracy over seeds, in %, at shares of the budget, in %."""

    row: Row
    points: tuple[tuple[float, float], ...]


def plot(table: Table, key: str) -> Plot | None:
    """The curves of a table's rows; None where no row has one."""
    found = curves(table.rows)
    if not found:
        return None
    baselines = [one for one in found if one.row.baseline]
    best = [one for one in found if not one.row.baseline][:_BEST]
    title = "Learning curves"
    caption = (
        f"Mean accuracy over n = {len(table.seeds)} seeds on the validation rows, of {len(found)} "
        f"methods; named are the baselines and the {len(best)} that end best on the measured "
        "split. The last step counts, never the best one."
    )
    if left := len(table.rows) - len(found):
        caption += f" Left out, for want of a curve of every seed: {left}."
    chart = _chart(found, baselines, best)
    return plotted(chart, key=key, title=title, caption=caption, about=table.heading)


def curves(rows: Sequence[Row]) -> list[Curve]:
    """Of the rows all of whose seeds have accuracy at the same shares of the budget."""
    found = []
    for row in rows:
        by_share: dict[float, list[float]] = defaultdict(list)
        for record in row.records:
            for share, metrics in record.curve:
                if "accuracy" in metrics:
                    by_share[share].append(metrics["accuracy"])
        if by_share and all(len(some) == len(row.records) for some in by_share.values()):
            points = ((100 * share, 100 * fmean(some)) for share, some in sorted(by_share.items()))
            found.append(Curve(row, tuple(points)))
    return found


def _chart(
    found: Sequence[Curve], baselines: Sequence[Curve], best: Sequence[Curve]
) -> altair.LayerChart:
    """Thin lines of all, strong ones of the named, whose names stand at their ends."""
    ends = [y for one in found for _, y in one.points]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low) or 1.0
    scale = altair.Scale(domain=[low - margin, high + margin], nice=False, zero=False)
    x = altair.X(
        "x:Q", axis=altair.Axis(title="share of the budget spent, %", tickCount=6),
        scale=altair.Scale(domain=[0, 100], nice=False),
    )  # fmt: skip
    y = altair.Y("y:Q", scale=scale, axis=altair.Axis(title="accuracy on validation rows, %"))
    looks: list[tuple[Curve, Colour, list[int]]] = [
        (one, INK, _DASHES[i % len(_DASHES)]) for i, one in enumerate(baselines)
    ]
    looks += [(one, CATEGORIES[i], _DASHES[0]) for i, one in enumerate(best)]
    named = [one for one, _, _ in looks]
    layers = [
        over([{"x": at, "y": up} for at, up in one.points])
        .mark_line(color=GREY.light, strokeWidth=0.8, opacity=0.5).encode(x=x, y=y)
        for one in found if one not in named
    ]  # fmt: skip
    layers += [
        over([{"x": at, "y": up} for at, up in one.points])
        .mark_line(color=colour.light, strokeWidth=2, strokeDash=dash).encode(x=x, y=y)
        for one, colour, dash in looks
    ]  # fmt: skip
    wanted = [
        HEIGHT * (high + margin - one.points[-1][1]) / (high - low + 2 * margin) for one in named
    ]
    heights = spread(wanted, 15, 6, HEIGHT - 6)
    layers += [
        over([{"text": fitted(one.row.name, 150)}])
        .mark_text(
            align="left", color=colour.light,
            fontWeight="bold" if one.row.baseline else "normal",
        )
        .encode(x=altair.value(WIDTH + 18), y=altair.value(height), text="text:N")
        for (one, colour, _), height in zip(looks, heights, strict=True)
    ]  # fmt: skip
    layers += [
        over([{}]).mark_rule(color=QUIET.light, strokeWidth=0.8).encode(
            x=altair.value(WIDTH + 2), x2=altair.value(WIDTH + 15),
            y=altair.value(at), y2=altair.value(height),
        )
        for at, height in zip(wanted, heights, strict=True)
    ]  # fmt: skip
    return layered(*layers).properties(width=WIDTH, height=HEIGHT)
