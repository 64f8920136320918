"""What a board says of a row against a baseline: above, below, or not told apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kdbench.leaderboard import Row, Table
from kdbench.leaderboard.text import MISSING, figures, fixed, spread
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
        sure: How sure that is: Holm's p value, or what would settle it.
        low, mean, high: Of the gain, in points; without an interval all the same.
    """

    told: Told
    gain: str
    sure: str
    low: float = 0.0
    mean: float = 0.0
    high: float = 0.0


def verdict(row: Row, baseline: str) -> Verdict:
    """What is told of `row` against this baseline of its own kind of stream."""
    contrast = row.contrasts.get(baseline)
    if contrast is None:
        told: Told = "reference" if baseline and row.baseline == baseline else "none"
        return Verdict(told=told, gain=MISSING, sure=MISSING)
    one, scale = contrast.difference, 100
    told = "open" if not contrast.differs else "above" if one.mean > 0 else "below"
    low = one.mean if one.low is None else one.low
    high = one.mean if one.high is None else one.high
    return Verdict(
        told=told, gain=spread(one, 2, scale=scale, sign=True), sure=sure(contrast),
        low=scale * low, mean=scale * one.mean, high=scale * high,
    )  # fmt: skip


def sure(contrast: Contrast) -> str:
    """Holm's p value where the difference is told from 0, else what would tell it."""
    if contrast.differs and contrast.adjusted is not None:
        return f"p {p_value(contrast.adjusted)}"
    if contrast.difference.identical:
        return "identical"
    if contrast.p is None:
        return "one seed tells nothing"
    if contrast.more is None:
        return f"needs over {MOST_SEEDS - contrast.difference.n:,} more seeds"
    return f"needs {contrast.more:,} more seed{'s' * (contrast.more != 1)}"


def p_value(p: float) -> str:
    """Two significant figures.

    Example:
        >>> p_value(0.01234), p_value(3e-9), p_value(1.0)
        ('= 0.012', '< 0.0001', '= 1.0')
    """
    return f"< {_LEAST_P:.4f}" if p < _LEAST_P else f"= {figures(p, 2)}"


def reach(verdicts: Sequence[Verdict]) -> float:
    """Points that a picture of these gains shows on either side of 0.

    Three of four intervals fit whole: a method that fails by far would flatten all the others.
    """
    ends = sorted(max(abs(one.low), abs(one.high)) for one in verdicts if one.told != "none")
    ends = [end for end in ends if end > 0]
    return ends[(3 * len(ends)) // 4] * 1.05 if ends else 1.0


def bar(one: Verdict, limit: float) -> tuple[float, float, float]:
    """Start, middle and end of the interval in hundredths of a picture's width, 50 being 0.

    Example:
        >>> bar(Verdict(told="open", gain="", sure="", low=-1.0, mean=1.0, high=9.0), limit=2.0)
        (25.0, 75.0, 100.0)
    """
    low, mean, high = (
        round(50 + 50 * max(-1.0, min(1.0, points / limit)), 1)
        for points in (one.low, one.mean, one.high)
    )
    return low, mean, high


def kept(table: Table, told: Told, baseline: str) -> list[Row]:
    """The rows of which this is told, the largest difference first."""
    rows = [row for row in table.own if verdict(row, baseline).told == told]
    return sorted(rows, key=lambda row: (-abs(row.contrasts[baseline].difference.mean), row.name))


def overhead(row: Row) -> str:
    """Times a step of the first baseline; in processor time where only that is comparable."""
    if row.expense and row.expense.overhead:
        return f"{fixed(row.expense.overhead.mean, 2)}×"
    return f"{fixed(row.cpu_overhead.mean, 2)}× CPU" if row.cpu_overhead else MISSING
