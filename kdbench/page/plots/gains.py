"""Gains over the baselines: which methods differ, by how much, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import altair

from kdbench.leaderboard import Row, Table
from kdbench.leaderboard.text import spread
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import fitted, minus
from kdbench.page.palette import BLUE, GREY, INK, PAPER, QUIET, VERMILLION, Colour
from kdbench.page.plot import Plot
from kdbench.page.plots.listing import Listing, listing, texts
from kdbench.page.plots.scatter import percent
from kdbench.page.plots.window import CUT, Window, window
from kdbench.statistics import Contrast, Estimate

WIDTH, BESIDE, NUMBERS = 380, 180, 104
"""Pixels of the first panel, of those beside it, and of the numbers between."""

_NAME = 110

_BETTER, _WORSE = "better", "worse"
_OPEN, _ITSELF = "no difference shown", "the baseline itself"


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How one is drawn: by shape and by colour, filled where a difference is shown."""

    name: str
    shape: str
    colour: Colour
    filled: bool


VERDICTS = (
    _Verdict(_BETTER, "triangle-up", BLUE, True),
    _Verdict(_WORSE, "triangle-down", VERMILLION, True),
    _Verdict(_OPEN, "circle", GREY, False),
    _Verdict(_ITSELF, "square", INK, True),
)  # fmt: skip


def verdict(contrast: Contrast | None) -> str:
    """What is known of a difference, in the legend's words."""
    if contrast is None:
        return _ITSELF
    if not contrast.differs:
        return _OPEN
    return _BETTER if contrast.difference.mean > 0 else _WORSE


def plot(table: Table, baselines: Sequence[str], key: str) -> Plot | None:
    """The gains of a table's rows over each baseline; None where there are none.

    Args:
        baselines: As the board's spec has them; the last, which asks most, is the first panel.
    """
    panels = [text for text in reversed(baselines) if any(text in r.gains for r in table.rows)]
    if not panels:
        return None
    main = panels[0]
    rows = [row for row in table.rows if main in row.contrasts or row.baseline == main]
    rows.sort(key=lambda row: (-_gain(row, main), row.name))
    lines = listing(rows)
    charts = [_panel(rows, lines, text, first=text == main) for text in panels]
    told = [row.contrasts[main] for row in rows if main in row.contrasts and not row.baseline]
    better = sum(verdict(one) == _BETTER for one in told)
    worse = sum(verdict(one) == _WORSE for one in told)
    rest = len(told) - better - worse
    over_main = fitted(main, _NAME)
    title = f"Gains over {over_main}"
    all_of_them = " and to ".join(fitted(text, _NAME) for text in panels)
    caption = (
        f"Difference of accuracy to {all_of_them} in points, paired by seed, "
        f"n = {len(table.seeds)}; bars are 95 % t intervals. Of {_methods(len(told))}: {better} "
        f"better than {over_main}, {worse} worse, {rest} with no difference shown (paired t test, "
        "5 % level of the whole column by Holm; the bars are not adjusted). "
        "Methods that hold out a quiz split are compared with the baseline on the same rows."
    )
    if _clipped(rows, panels):
        caption += CUT
    if left := len(table.rows) - len(rows):
        caption += f" Left out, for want of that baseline: {left}."
    chart = altair.hconcat(*charts, spacing=16).resolve_legend("shared").resolve_scale(
        color="shared", shape="shared"
    )  # fmt: skip
    return plotted(chart, key=key, title=title, caption=caption, about=table.heading)


def _panel(rows: Sequence[Row], lines: Listing, baseline: str, *, first: bool) -> altair.LayerChart:
    """One baseline's."""
    found = _window(rows, baseline)
    scale = altair.Scale(domain=found.ends, nice=False, zero=False)
    axis = altair.Axis(
        title=f"gain over {fitted(baseline, _NAME)}, points", tickCount=7 if first else 4
    )
    x = altair.X("mean:Q", scale=scale, axis=axis)
    values = data(rows, baseline, found)
    zero = over([{"at": 0.0}]).mark_rule(color=QUIET.light, strokeWidth=1.2)
    layers: list[altair.Chart | altair.LayerChart] = [
        lines.stripes(), zero.encode(x=altair.X("at:Q", scale=scale, axis=axis)),
    ]  # fmt: skip
    color, shape = _scales(fill=False)
    fill, _ = _scales(fill=True)
    bars = [one for one in values if one["low"] is not None]
    far = altair.X("low:Q", scale=scale, axis=axis)
    ranges = over(bars).mark_rule(strokeWidth=1.6)
    layers.append(ranges.encode(x=far, x2="high:Q", y=lines.y(), color=color))
    seen = over([one for one in values if not one["beyond"]])
    points = seen.mark_point(size=46, strokeWidth=1.6, opacity=1)
    layers.append(points.encode(x=x, y=lines.y(), color=color, shape=shape, fill=fill))
    layers += [
        over([one for one in values if one["beyond"] == side])
        .mark_point(size=60, shape=f"triangle-{side}", opacity=1)
        .encode(x=x, y=lines.y(), color=color, fill=fill)
        for side in ("left", "right")
    ]
    if first:
        layers.append(lines.labels())
        layers.append(texts(values, lines.y(), WIDTH + NUMBERS, align="right"))
    return layered(*layers).properties(width=WIDTH if first else BESIDE, height=lines.height)


def data(rows: Sequence[Row], baseline: str, shown: Window) -> list[dict[str, object]]:
    """A panel's values in points; `beyond` says on which side a mean leaves the window."""
    found = list[dict[str, object]]()
    for line, row in enumerate(rows):
        contrast = row.contrasts.get(baseline)
        if contrast is None and row.baseline != baseline:
            continue
        one = contrast.difference if contrast else None
        mean = 100 * one.mean if one else 0.0
        low, high = (
            (None, None) if one is None or one.low is None or one.high is None
            else (shown.clamp(100 * one.low), shown.clamp(100 * one.high))
        )  # fmt: skip
        beyond = "" if shown.holds(mean) else "left" if mean < shown.low else "right"
        found.append({
            "line": line, "mean": shown.clamp(mean), "low": low, "high": high,
            "verdict": verdict(contrast), "beyond": beyond,
            "text": _number(one),
            "bold": bool(contrast and contrast.differs),
        })  # fmt: skip
    return found


def _number(one: Estimate | None) -> str:
    """In points, with the half-width of its interval."""
    return "0" if one is None else minus(spread(one, 2, scale=100, sign=True, identical=" (same)"))


def _window(rows: Sequence[Row], baseline: str) -> Window:
    """Of gains in points."""
    return window([percent(row.gains[baseline]) for row in rows if baseline in row.gains], [0.0])


def _clipped(rows: Sequence[Row], panels: Sequence[str]) -> bool:
    for text in panels:
        shown = _window(rows, text)
        if any(shown.cuts(percent(row.gains[text])) for row in rows if text in row.gains):
            return True
    return False


def _gain(row: Row, baseline: str) -> float:
    return row.gains[baseline].mean if baseline in row.gains else 0.0


def _methods(count: int) -> str:
    return f"{count} method{'s' * (count != 1)}"


def _scales(*, fill: bool) -> tuple[altair.Color | altair.Fill, altair.Shape]:
    """Of colours (or fills) and shapes by verdict, with one legend for all."""
    names = [one.name for one in VERDICTS]
    paints = [one.colour.light if one.filled or not fill else PAPER.light for one in VERDICTS]
    scale = altair.Scale(domain=names, range=paints)
    shapes = altair.Scale(domain=names, range=[one.shape for one in VERDICTS])
    kind = altair.Fill if fill else altair.Color
    return kind("verdict:N", scale=scale), altair.Shape("verdict:N", scale=shapes)
