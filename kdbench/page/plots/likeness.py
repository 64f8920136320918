"""Which methods make students that say the same: agreement of every two, alike ones together."""

import altair
import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from kdbench.leaderboard import Table
from kdbench.leaderboard.agreements import Agreement
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import fitted
from kdbench.page.palette import INK
from kdbench.page.plot import Plot
from kdbench.page.plots.listing import Listing

_MOST = 700
"""Pixels at most."""

_ROOMY = 34
"""Pixels a cell needs for its number."""

_TEACHER = "the teacher"

_ON_DARK, _ON_LIGHT = "#fdfdfd", "#111111"
"""Numbers on the squares, whose colours are the same in light and in dark."""


def plot(table: Table, found: Agreement, key: str) -> Plot:
    """The lower triangle of a table's agreements, with the teacher as the last line."""
    order = ordered(found)
    names = [found.names[i] for i in order]
    values = [[found.values[a][b] for b in order] for a in order]
    theirs = {
        row.name: row.metrics["agreement"].mean for row in table.rows if "agreement" in row.metrics
    }
    cells = [
        {"line": a, "column": b, "value": 100 * values[a][b]}
        for a in range(len(names)) for b in range(a)
    ]  # fmt: skip
    lines = [*names, _TEACHER] if theirs else names
    cells += [
        {"line": len(names), "column": i, "value": 100 * theirs[name]}
        for i, name in enumerate(names) if name in theirs
    ]  # fmt: skip
    bold = {row.name for row in table.rows if row.baseline}
    listing = Listing(tuple(lines), tuple(name in bold or name == _TEACHER for name in lines))
    title = "Agreement between methods"
    split = table.question.evaluation.split
    caption = (
        f"How often the students of two methods say the same class, % of the {split} split, mean "
        f"over n = {len(table.seeds)} seeds, each with the same seed of the other; right or wrong. "
        "Methods that agree stand together."
    )
    if theirs:
        caption += " The last line is their agreement with the teacher."
    chart = _chart(listing, names, cells)
    return plotted(chart, key=key, title=title, caption=caption, about=table.heading)


def ordered(found: Agreement) -> list[int]:
    """Places of the rows, so that alike ones are neighbours."""
    if len(found.names) < 3:
        return list(range(len(found.names)))
    apart = 1 - np.array(found.values)
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(apart, checks=False), method="average", optimal_ordering=True)
    order = [int(i) for i in leaves_list(tree)]
    return order if order[0] < order[-1] else order[::-1]  # the better of the ends on top


def _chart(listing: Listing, names: list[str], cells: list[dict[str, float]]) -> altair.LayerChart:
    """Squares by value, and the value in each where there is room."""
    step = min(listing.step * 2, _MOST // len(names))
    size = {"width": step * len(names), "height": step * len(listing.names)}
    spread = [cell["value"] for cell in cells]
    middle = (min(spread) + max(spread)) / 2
    x = altair.X(
        "column:Q", axis=None,
        scale=altair.Scale(domain=[-0.5, len(names) - 0.5], nice=False, zero=False),
    )  # fmt: skip
    y = listing.y()
    legend = altair.Legend(
        orient="top", title=None, gradientLength=200, gradientThickness=10, format=".0f",
        labelExpr="datum.label + ' %'",
    )  # fmt: skip
    color = altair.Color(
        "value:Q", scale=altair.Scale(scheme="cividis", zero=False, nice=False), legend=legend
    )
    squares = over(cells).mark_square(size=(step - 1) ** 2, opacity=1)
    layers: list[altair.Chart | altair.LayerChart] = [squares.encode(x=x, y=y, color=color)]
    if step >= _ROOMY:
        for dark in (True, False):
            some = [cell for cell in cells if (cell["value"] < middle) == dark]
            paint = _ON_DARK if dark else _ON_LIGHT
            text = over(some).mark_text(color=paint).encode(
                x=x, y=y, text=altair.Text("value:Q", format=".1f")
            )  # fmt: skip
            layers.append(text)
    heads = [{"column": i, "text": fitted(name, 150)} for i, name in enumerate(names)]
    feet = over(heads).mark_text(angle=270, align="right", color=INK.light, dy=0)
    layers.append(feet.encode(x=x, y=altair.value(size["height"] + 8), text="text:N"))
    layers.append(listing.labels())
    return layered(*layers).properties(**size)
