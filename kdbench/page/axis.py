"""A linear axis for pictures made of lines of text: places in percent of its width, and ticks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kdbench.page.lettering import minus
from kdbench.page.plots.window import Window, window
from kdbench.statistics import Estimate

_TICKS, _FEW = 5, 3


@dataclass(frozen=True, slots=True)
class Mark:
    """A mean with its interval.

    Attributes:
        low, high: Ends of the interval in percent; None where there is none.
        at: The mean.
        beyond: On which side the mean leaves the picture, "left" or "right"; else "".
    """

    low: float | None
    at: float
    high: float | None
    beyond: str


@dataclass(frozen=True, slots=True)
class Axis:
    """What part of a line of numbers is shown.

    Attributes:
        ticks: Place in percent and text of each.
    """

    shown: Window
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Place of a value, in percent; of one beyond the ends, that end."""
        inside = self.shown.clamp(value) - self.shown.low
        return round(100 * inside / (self.shown.high - self.shown.low), 2)

    def mark(self, one: Estimate, scale: float) -> Mark:
        """Places of an estimate, whose numbers are multiplied by `scale` first."""
        mean = scale * one.mean
        low, high = (None if v is None else self.at(scale * v) for v in (one.low, one.high))
        beyond = "" if self.shown.holds(mean) else "left" if mean < self.shown.low else "right"
        return Mark(low, self.at(mean), high, beyond)


def axis(estimates: Sequence[Estimate], always: Iterable[float], scale: float) -> Axis:
    """Holds `always` and the estimates, all multiplied by `scale`; those far out may be cut.

    Example:
        >>> [text for _, text in axis([], [-0.01, 0.02], 100).ticks]
        ['−1', '0', '1', '2']
    """
    scaled = [
        Estimate(
            mean=scale * one.mean, n=one.n,
            low=None if one.low is None else scale * one.low,
            high=None if one.high is None else scale * one.high,
        )
        for one in estimates
    ]  # fmt: skip
    whole = [scale * value for value in always]
    if len(scaled) < _FEW:  # there is nothing that a long interval could squash
        whole += [end for one in scaled for end in (one.low, one.high) if end is not None]
    found = Axis(window(scaled, whole), ())
    low, high = found.shown.low, found.shown.high
    step = _step((high - low) / _TICKS)
    places = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    return Axis(found.shown, tuple((found.at(v), minus(f"{v + 0.0:.{digits}f}")) for v in places))


def _step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
