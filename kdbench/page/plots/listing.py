"""Plots that list methods: a line each, names at the left, as tall as their number asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import altair

from kdbench.leaderboard import Row
from kdbench.page.drawing import layered, over
from kdbench.page.lettering import fitted
from kdbench.page.palette import INK, LINE, QUIET

NAMES = 170
"""Pixels for the names."""

_TALL, _DENSE, _MANY = 22, 16, 20


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines numbered from 0 at the top."""

    names: tuple[str, ...]
    bold: tuple[bool, ...]

    @property
    def step(self) -> int:
        """Pixels a line."""
        return _TALL if len(self.names) <= _MANY else _DENSE

    @property
    def height(self) -> int:
        """Pixels of all lines."""
        return self.step * len(self.names)

    def y(self, field: str = "line") -> altair.Y:
        """The lines' scale, without an axis."""
        ends = [-0.5, len(self.names) - 0.5]
        scale = altair.Scale(domain=ends, reverse=True, nice=False, zero=False)
        return altair.Y(field, type="quantitative", scale=scale, axis=None)

    def labels(self) -> altair.LayerChart:
        """The names, right-aligned at the left edge."""
        lines = [
            {"line": i, "text": fitted(name, NAMES), "bold": bold}
            for i, (name, bold) in enumerate(zip(self.names, self.bold, strict=True))
        ]
        return texts(lines, self.y(), -10, align="right")

    def stripes(self) -> altair.Chart:
        """A faint rule through every line, to lead the eye from the name."""
        lines = [{"line": i} for i in range(len(self.names))]
        rules = over(lines).mark_rule(color=LINE.light, strokeWidth=1, strokeDash=[1, 3])
        found: altair.Chart = rules.encode(y=self.y())
        return found


def listing(rows: Sequence[Row]) -> Listing:
    """A line a row; baselines are bold."""
    return Listing(tuple(row.name for row in rows), tuple(bool(row.baseline) for row in rows))


def texts(
    lines: Sequence[Mapping[str, object]], y: altair.Y, x: float, *,
    align: Literal["left", "center", "right"],
) -> altair.LayerChart:  # fmt: skip
    """Their `text` at x pixels; in ink and bold where they are `bold`, else muted."""
    layers = []
    for bold in (False, True):
        some = [line for line in lines if bool(line["bold"]) == bold]
        mark = over(some).mark_text(
            align=align, color=(INK if bold else QUIET).light,
            fontWeight="bold" if bold else "normal",
        )  # fmt: skip
        layers.append(mark.encode(y=y, x=altair.value(x), text="text:N"))
    return layered(*layers)
