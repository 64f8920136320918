"""What a board says of a row against a baseline: better, worse, or no difference shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kdbench.leaderboard import Row, Table
from kdbench.leaderboard.text import MISSING, figures, fixed, span, spread
from kdbench.statistics import MOST_SEEDS, Contrast

Told: TypeAlias = Literal["above", "below", "open", "reference", "none"]
"""Against the baseline by Holm; "reference" is the baseline itself, "none" without comparison."""

SIGNS: dict[Told, str] = {"above": "▲ ", "below": "▼ ", "open": "○ ", "reference": "", "none": ""}
"""What stands before a figure, so that its colour says nothing alone."""

_LEAST_P = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A row against the baseline.

    Attributes:
        gain: In points, with the half-width of its 95 % interval.
        p: Holm's p value, or why there is none.
        more: Seeds that would show a difference that is not shown.
        low, mean, high: Of the gain, in points; without an interval all the same.
    """

    told: Told
    gain: str
    p: str
    more: str = MISSING
    low: float = 0.0
    mean: float = 0.0
    high: float = 0.0


def verdict(row: Row, baseline: str) -> Verdict:
    """What is told of `row` against this baseline of its own kind of stream."""
    contrast = row.contrasts.get(baseline)
    if contrast is None:
        told: Told = "reference" if baseline and row.baseline == baseline else "none"
        return Verdict(told=told, gain=MISSING, p=MISSING)
    one, scale = contrast.difference, 100
    told = "open" if not contrast.differs else "above" if one.mean > 0 else "below"
    low = one.mean if one.low is None else one.low
    high = one.mean if one.high is None else one.high
    return Verdict(
        told=told, gain=spread(one, 2, scale=scale, sign=True), p=_p(contrast),
        more=_more(contrast), low=scale * low, mean=scale * one.mean, high=scale * high,
    )  # fmt: skip


def _p(contrast: Contrast) -> str:
    if contrast.adjusted is not None:
        return p_value(contrast.adjusted)
    return "identical" if contrast.difference.identical else "one seed tells nothing"


def _more(contrast: Contrast) -> str:
    if contrast.differs or contrast.p is None:
        return MISSING
    return f"over {MOST_SEEDS:,}" if contrast.more is None else f"{contrast.more:,}"


def p_value(p: float) -> str:
    """Two significant figures.

    Example:
        >>> p_value(0.01234), p_value(3e-9), p_value(1.0)
        ('0.012', '< 0.0001', '1.0')
    """
    return f"< {_LEAST_P:.4f}" if p < _LEAST_P else figures(p, 2)


def reach(verdicts: Sequence[Verdict]) -> float:
    """Points that a picture of these gains shows on either side of 0.

    Three of four intervals fit whole: a method that fails by far would flatten all the others.
    """
    ends = sorted(max(abs(one.low), abs(one.high)) for one in verdicts if one.told != "none")
    ends = [end for end in ends if end > 0]
    return ends[(3 * len(ends)) // 4] * 1.05 if ends else 1.0


def shown(limit: float) -> str:
    """What a picture shows that reaches so far, as its heading.

    Example:
        >>> shown(3.46)
        '−3.5 … +3.5 points'
    """
    return f"\u2212{fixed(limit, 1)} … +{fixed(limit, 1)} points"


def bar(one: Verdict, limit: float) -> tuple[float, float, float]:
    """Start, middle and end of the interval in hundredths of a picture's width, 50 being 0.

    Example:
        >>> bar(Verdict(told="open", gain="", p="", low=-1.0, mean=1.0, high=9.0), limit=2.0)
        (25.0, 75.0, 100.0)
    """
    low, mean, high = (
        round(50 + 50 * max(-1.0, min(1.0, points / limit)), 1)
        for points in (one.low, one.mean, one.high)
    )
    return low, mean, high


def kept(table: Table, told: Told, baseline: str) -> list[Row]:
    """The methods of which this is told, the largest difference first; what is open, by gain."""
    rows = [row for row in methods(table, baseline) if verdict(row, baseline).told == told]
    sign = 1 if told == "below" else -1
    return sorted(rows, key=lambda row: (sign * row.contrasts[baseline].difference.mean, row.name))


def methods(table: Table, baseline: str) -> list[Row]:
    """The rows that are compared with the baseline and are none themselves."""
    return [row for row in table.own if baseline in row.contrasts and not row.baseline]


def cost(row: Row) -> str:
    """Times a step of the first baseline; in processor time where only that is comparable."""
    if row.expense and row.expense.overhead:
        return span(row.expense.overhead, 2)
    return f"{span(row.cpu_overhead, 2)} CPU" if row.cpu_overhead else MISSING
