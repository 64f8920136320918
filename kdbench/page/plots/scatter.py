"""Methods as points with intervals in both directions, the ones that matter by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import altair

from kdbench.page.drawing import layered, over
from kdbench.page.lettering import Box, Label, fitted, placed
from kdbench.page.palette import INK, PAPER, QUIET
from kdbench.page.plots.looks import BASELINE, looks
from kdbench.page.plots.window import Window
from kdbench.statistics import Estimate

WIDTH, HEIGHT = 660, 420

_SIZE = 11
_WIDE = 20
_FEW = 12
_ALONG = [i / 24 for i in range(1, 24)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction: its title, what it shows, and whether it is logarithmic."""

    title: str
    shown: Window
    log: bool = False

    def place(self, value: float) -> float:
        """Share of the axis, 0 at its low end."""
        low, high, at = self.shown.low, self.shown.high, self.shown.clamp(value)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    @property
    def drawn(self) -> altair.Axis:
        """Ticks and title; on a logarithmic axis round numbers and no exponents."""
        if not self.log:
            return altair.Axis(title=self.title, tickCount=7)
        low, high = self.shown.ends
        steps = (1, 2, 5) if high / low > _WIDE else (1, 1.5, 2, 3, 4, 5, 7)
        tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**ten for ten in tens for step in steps]
        values = [tick for tick in ticks if self.shown.holds(tick)]
        return altair.Axis(title=self.title, values=values, format="~g")

    @property
    def scale(self) -> altair.Scale:
        """For altair."""
        kind: Literal["log", "linear"] = "log" if self.log else "linear"
        return altair.Scale(domain=self.shown.ends, type=kind, nice=False, zero=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A method: where it is, of which kind, and whether it is named."""

    name: str
    kind: str
    x: Estimate
    y: Estimate
    named: bool


def percent(one: Estimate) -> Estimate:
    """Of a fraction."""
    low, high = (None if end is None else 100 * end for end in (one.low, one.high))
    return Estimate(mean=100 * one.mean, n=one.n, low=low, high=high, identical=one.identical)


def scatter(
    points: Sequence[Point],
    x: Axis,
    y: Axis,
    *,
    beneath: Sequence[altair.Chart | altair.LayerChart] = (),
    path: Sequence[tuple[float, float]] = (),
) -> altair.LayerChart:
    """The points with their intervals, named where they are few or `named`.

    Args:
        beneath: Layers under the points, as lines that they are compared with.
        path: Corners of a line of steps, in the axes' units, that names should not cover.
    """
    if len(points) <= _FEW:
        points = [replace(point, named=True) for point in points]
    rows = [_row(point, x, y) for point in sorted(points, key=lambda one: one.named)]
    found = looks([point.kind for point in points])
    domain = [*found]
    color = altair.Scale(domain=domain, range=[colour.light for colour, _ in found.values()])
    shape = altair.Scale(domain=domain, range=[symbol for _, symbol in found.values()])
    across = altair.X("x:Q", scale=x.scale, axis=x.drawn)
    up = altair.Y("y:Q", scale=y.scale, axis=y.drawn)
    paint = altair.Color("kind:N", scale=color)
    strong = altair.Scale(domain=[False, True], range=[0.35, 0.9])
    opacity = altair.Opacity("named:N", scale=strong, legend=None)
    tall = over([row for row in rows if row["low"] is not None]).mark_rule(strokeWidth=1)
    wide = over([row for row in rows if row["left"] is not None]).mark_rule(strokeWidth=1)
    marks = over(rows).mark_point(
        filled=True, size=52, opacity=1, stroke=PAPER.light, strokeWidth=0.7
    )
    low, left = altair.Y("low:Q", scale=y.scale), altair.X("left:Q", scale=x.scale)
    return layered(
        *beneath,
        tall.encode(x=across, y=low, y2="high:Q", color=paint, opacity=opacity),
        wide.encode(x=left, x2="right:Q", y=up, color=paint, opacity=opacity),
        marks.encode(x=across, y=up, color=paint, shape=altair.Shape("kind:N", scale=shape)),
        *_written(_labels(points, x, y, path)),
    ).properties(width=WIDTH, height=HEIGHT)


def rule(y: float, text: str, axis: Axis) -> list[altair.Chart]:
    """A level line with its name at the right end, above it."""
    rows = [{"y": y, "text": text}]
    up = altair.Y("y:Q", scale=axis.scale)
    line = over(rows).mark_rule(color=QUIET.light, strokeDash=[6, 4], strokeWidth=1.2)
    name = over(rows).mark_text(align="right", baseline="bottom", dy=-4, color=INK.light)
    return [line.encode(y=up), name.encode(y=up, x=altair.value(WIDTH - 4), text="text:N")]


def _row(point: Point, x: Axis, y: Axis) -> dict[str, object]:
    """What is drawn of a point, all within the window."""
    left, right = _ends(point.x, x.shown)
    low, high = _ends(point.y, y.shown)
    return {
        "name": fitted(point.name, 200), "kind": point.kind, "named": point.named,
        "x": x.shown.clamp(point.x.mean), "y": y.shown.clamp(point.y.mean),
        "left": left, "right": right, "low": low, "high": high,
    }  # fmt: skip


def _ends(one: Estimate, shown: Window) -> tuple[float | None, float | None]:
    if one.low is None or one.high is None or one.identical:
        return None, None
    return shown.clamp(one.low), shown.clamp(one.high)


def _labels(
    points: Sequence[Point], x: Axis, y: Axis, path: Sequence[tuple[float, float]]
) -> list[Label]:
    """Names of the named, baselines first."""

    def at(across: float, up: float) -> tuple[float, float]:
        return WIDTH * x.place(across), HEIGHT * (1 - y.place(up))

    corners = [at(*corner) for corner in path]
    everything = [at(one.x.mean, one.y.mean) for one in points]
    for (left, before), (right, after) in pairwise(corners):
        everything += [(left + share * (right - left), before) for share in _ALONG]
        everything += [(right, before + share * (after - before)) for share in _ALONG]
    named = sorted(
        (one for one in points if one.named), key=lambda one: (one.kind != BASELINE, -one.y.mean)
    )
    texts = [(_name(one, x, y), at(one.x.mean, one.y.mean)) for one in named]
    bars = [
        at(*place)
        for one in named
        for end in (0.15, 0.35, 0.55, 0.75, 0.95)
        for place in _along(one, end)
    ]
    return placed(texts, everything, bars, Box(0, 0, WIDTH, HEIGHT), _SIZE)


def _along(point: Point, share: float) -> list[tuple[float, float]]:
    """Places at this share of the way to each end of both intervals."""
    x, y = point.x.mean, point.y.mean
    across = [x + share * (end - x) for end in (point.x.low, point.x.high) if end is not None]
    up = [y + share * (end - y) for end in (point.y.low, point.y.high) if end is not None]
    return [(at, y) for at in across] + [(x, at) for at in up]


def _name(point: Point, x: Axis, y: Axis) -> str:
    """With its place where that lies beyond the axes."""
    far = [fitted(point.name, 150)]
    for one, axis, arrows in ((point.x, x, "←→"), (point.y, y, "↓↑")):
        if not axis.shown.holds(one.mean):
            far.append(f"{arrows[one.mean > axis.shown.high]} {one.mean:.3g}")
    return " ".join(far)


def _written(names: Sequence[Label]) -> list[altair.Chart]:
    """Leaders, and texts on a halo of paper."""
    rows = [
        {
            "text": one.text, "left": one.left, "y": one.y,
            "from_x": one.point[0], "from_y": one.point[1], "to_x": one.end[0], "to_y": one.end[1],
        }
        for one in names
    ]  # fmt: skip

    def across(field: str) -> altair.X:
        return altair.X(field, type="quantitative", scale=None, axis=None)

    def down(field: str) -> altair.Y:
        return altair.Y(field, type="quantitative", scale=None, axis=None)

    leaders = [row for row, one in zip(rows, names, strict=True) if one.leader]
    halo = over(rows).mark_text(
        align="left", color=PAPER.light, stroke=PAPER.light, strokeWidth=3, strokeJoin="round"
    )
    ink = over(rows).mark_text(align="left", color=INK.light)
    return [
        over(leaders).mark_rule(color=QUIET.light, strokeWidth=0.8).encode(
            x=across("from_x"), x2="to_x:Q", y=down("from_y"), y2="to_y:Q"
        ),
        *(one.encode(x=across("left"), y=down("y"), text="text:N") for one in (halo, ink)),
    ]  # fmt: skip
