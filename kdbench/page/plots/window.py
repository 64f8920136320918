"""What part of an axis is shown: all values but those that would squash the others."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kdbench.statistics import Estimate

_FENCE = 3.0
"""Interquartile ranges from the quartiles, beyond which a value is far out (J. W. Tukey)."""

_LEAST = 8
"""Fewer values have no quartiles to speak of."""

_MARGIN = 0.04

CUT = " What reaches an edge goes on beyond it."
"""For the caption of a plot whose window cuts something."""


@dataclass(frozen=True, slots=True)
class Window:
    """Ends of an axis, in the values' unit."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value is in it."""
        return self.low <= value <= self.high

    def clamp(self, value: float) -> float:
        """The nearest value that is in it."""
        return min(max(value, self.low), self.high)

    def cuts(self, one: Estimate) -> bool:
        """Whether a mean or an end of its interval lies beyond it."""
        ends = (one.mean, one.low, one.high)
        return not all(self.holds(end) for end in ends if end is not None)

    @property
    def ends(self) -> list[float]:
        """As a scale's domain."""
        return [self.low, self.high]


def window(
    estimates: Sequence[Estimate], always: Iterable[float] = (), *, log: bool = False,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Window:  # fmt: skip
    """Holds `always`, all means but those far out, and their intervals as far as these are short.

    Args:
        log: Whether the axis is logarithmic; then all values must be above 0.
        within: What values can be at all, as shares are from 0 to 1.
    """
    forth, back = (math.log, math.exp) if log else (float, float)
    means = [forth(one.mean) for one in estimates]
    known = [forth(value) for value in always]
    near = means
    if len(means) >= _LEAST:
        first, third = np.quantile(means, [0.25, 0.75])
        reach = _FENCE * (third - first)
        near = [value for value in means if first - reach <= value <= third + reach]
    low, high = min([*near, *known]), max([*near, *known])
    room = (high - low) or abs(high) * 0.1 or 1.0
    ends = [
        forth(end)
        for one in estimates
        for end in (one.low, one.high)
        if forth(one.mean) in near and end is not None and (not log or end > 0)
    ]
    bottom = max(min([low, *ends]), low - room / 2)
    top = min(max([high, *ends]), high + room / 2)
    margin = _MARGIN * ((top - bottom) or room)
    least, most = within
    return Window(max(least, back(bottom - margin)), min(most, back(top + margin)))
