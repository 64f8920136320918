"""Methods as points with intervals in both directions, the ones that matter by name."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import altair

from kdbench.leaderboard import BoardSpec, Row
from kdbench.page.drawing import layered, over
from kdbench.page.palette import CATEGORIES, FAINT, INK, MUTED, PAPER, QUIET, Colour
from kdbench.page.plots.lettering import Box, Label, fitted, placed
from kdbench.page.plots.window import Window
from kdbench.record import Spec
from kdbench.statistics import Estimate

WIDTH, HEIGHT = 660, 420

BASELINE, OTHER = "baseline", "other"
_SHAPES = ("circle", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_SIZE = 11
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
    def scale(self) -> altair.Scale:
        """For altair."""
        kind = "log" if self.log else "linear"
        return altair.Scale(domain=self.shown.ends, type=kind, nice=False, zero=False)  # type: ignore[arg-type]  # a literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A method: where it is, of which kind, and whether it is named."""

    name: str
    kind: str
    x: Estimate
    y: Estimate
    named: bool


def kind(row: Row, spec: BoardSpec) -> str:
    """Baseline, or the family that the suite's plugins say, of a sum that of all its members."""
    if row.baseline:
        return BASELINE
    method = row.question.method
    names = [method] if method in spec.described else method.split("+")
    families = {spec.described[name].family for name in names if name in spec.described}
    (family,) = families if len(families) == 1 else (OTHER,)
    return family or OTHER


def percent(one: Estimate) -> Estimate:
    """Of a fraction."""
    low, high = (None if end is None else 100 * end for end in (one.low, one.high))
    return Estimate(mean=100 * one.mean, n=one.n, low=low, high=high, identical=one.identical)


def looks(kinds: Iterable[str]) -> dict[str, tuple[Colour, str]]:
    """Colour and shape of each kind; baselines are squares in ink, what is unknown is grey."""
    fixed = {BASELINE: (INK, "square"), OTHER: (QUIET, "circle")}
    known = sorted({*kinds} - {*fixed})
    found = {
        one: (CATEGORIES[i % len(CATEGORIES)], _SHAPES[i % len(_SHAPES)])
        for i, one in enumerate(known)
    }
    return {
        one: look
        for one, look in {BASELINE: fixed[BASELINE], **found, OTHER: fixed[OTHER]}.items()
        if one in {*kinds}
    }


def scatter(
    points: Sequence[Point],
    x: Axis,
    y: Axis,
    *,
    beneath: Sequence[altair.Chart | altair.LayerChart] = (),
    path: Sequence[tuple[float, float]] = (),
) -> altair.LayerChart:
    """The points with their intervals, and the names of those that are `named`.

    Args:
        beneath: Layers under the points, as lines that they are compared with.
        path: Corners of a line of steps, in the axes' units, that names should not cover.
    """
    rows = [_row(point, x, y) for point in sorted(points, key=lambda one: one.named)]
    found = looks([point.kind for point in points])
    domain = [*found]
    color = altair.Scale(domain=domain, range=[colour.light for colour, _ in found.values()])
    shape = altair.Scale(domain=domain, range=[symbol for _, symbol in found.values()])
    across = altair.X("x:Q", scale=x.scale, axis=altair.Axis(title=x.title, **_ticks(x)))
    up = altair.Y("y:Q", scale=y.scale, axis=altair.Axis(title=y.title, tickCount=6))
    bars = over([row for row in rows if row["low"] is not None]).mark_rule(strokeWidth=1)
    reach = over([row for row in rows if row["left"] is not None]).mark_rule(strokeWidth=1)
    paint = altair.Color("kind:N", scale=color)
    faint = altair.Opacity(
        "named:N", scale=altair.Scale(domain=[False, True], range=[0.35, 0.9]), legend=None
    )
    marks = over(rows).mark_point(
        filled=True, size=52, opacity=1, stroke=PAPER.light, strokeWidth=0.7
    )
    names = _labels(points, x, y, path)
    return layered(
        *beneath,
        bars.encode(x=across, y=altair.Y("low:Q", scale=y.scale), y2="high:Q", color=paint, opacity=faint),
        reach.encode(x=altair.X("left:Q", scale=x.scale), x2="right:Q", y=up, color=paint, opacity=faint),
        marks.encode(x=across, y=up, color=paint, shape=altair.Shape("kind:N", scale=shape)),
        *_written(names),
    ).properties(width=WIDTH, height=HEIGHT)  # fmt: skip


def rule(y: float, text: str, axis: Axis) -> list[altair.Chart]:
    """A level line with its name at the right end, above it."""
    rows = [{"y": y, "text": text}]
    up = altair.Y("y:Q", scale=axis.scale)
    line = over(rows).mark_rule(color=MUTED.light, strokeDash=[6, 4], strokeWidth=1.2)
    name = over(rows).mark_text(
        align="right", baseline="bottom", dy=-4, fontSize=_SIZE, color=INK.light, limit=0
    )
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


def _ticks(axis: Axis) -> dict[str, object]:
    """Of a logarithmic axis 1, 1.5, 2, 3, 5, 7 and their tenfolds, and no exponents."""
    if not axis.log:
        return {"tickCount": 8}
    low, high = axis.shown.low, axis.shown.high
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wide = math.log10(high / low) > 1.3
    steps = (1, 2, 5) if wide else (1, 1.5, 2, 3, 4, 5, 7)
    values = [step * 10.0**ten for ten in decades for step in steps]
    return {"values": [one for one in values if low <= one <= high], "format": "~g"}


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
    texts = {"align": "left", "baseline": "middle", "fontSize": _SIZE, "limit": 0}
    halo = over(rows).mark_text(
        **texts, color=PAPER.light, stroke=PAPER.light, strokeWidth=3, strokeJoin="round"
    )
    ink = over(rows).mark_text(**texts, color=INK.light)
    return [
        over(leaders).mark_rule(color=MUTED.light, strokeWidth=0.8).encode(
            x=across("from_x"), x2="to_x:Q", y=down("from_y"), y2="to_y:Q"
        ),
        *(one.encode(x=across("left"), y=down("y"), text="text:N") for one in (halo, ink)),
    ]  # fmt: skip
