"""Contrasts and figures as text, in the unit that a claim or a series has."""

from dataclasses import dataclass
from typing import Final

from kdbench.leaderboard.text import MISSING, fixed
from kdbench.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Unit:
    """How numbers are printed.

    Attributes:
        name: Behind a number; "" for none.
        scale: A number is multiplied by this first.
        digits: After the point.
        sign: Whether a plus is printed.
    """

    name: str
    scale: float
    digits: int
    sign: bool = True

    def number(self, value: float) -> str:
        """A value without the unit's name, its minus as wide as a plus.

        Example:
            >>> CONTRASTS["points"].number(0.01234), CONTRASTS["nats"].number(-0.5)
            ('+1.23', '−0.5000')
        """
        return fixed(self.scale * value, self.digits, sign=self.sign).replace("-", "−")

    def of(self, value: float) -> str:
        """A value with the unit's name."""
        return f"{self.number(value)} {self.name}".rstrip()

    def size(self, value: float) -> str:
        """A value without its sign, with the unit's name."""
        return f"{fixed(abs(self.scale * value), self.digits)} {self.name}".rstrip()

    def ends(self, low: float, high: float) -> str:
        """An interval."""
        return f"[{self.number(low)}, {self.number(high)}]"

    def span(self, one: Estimate | None) -> str:
        """A mean with its interval, where there is one, and the unit's name."""
        if one is None:
            return MISSING
        if one.low is None or one.high is None:
            return self.of(one.mean)
        return f"{self.number(one.mean)} {self.ends(one.low, one.high)} {self.name}".rstrip()


CONTRASTS: Final = {
    "points": Unit("points", 100, 2),
    "nats": Unit("nats", 1, 4),
    "correlation": Unit("", 1, 2),
    "": Unit("", 1, 4),
}
"""Of claims."""

FIGURES: Final = {"percent": Unit("%", 100, 2, sign=False), "": Unit("", 1, 4, sign=False)}
"""Of series."""
