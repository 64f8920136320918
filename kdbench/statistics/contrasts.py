"""Differences that are judged together: tests corrected for their number, and what would settle."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import nctdtr, stdtr, stdtrit

from kdbench.statistics.estimates import LEVEL, Estimate, Key

POWER = 0.8
"""With which a difference as large as the one seen is to be found."""

MOST_SEEDS = 1000
"""Beyond that, no number is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A difference among others that are judged together.

    Attributes:
        difference: Mean of the paired differences, in their unit.
        p: Two-sided, of the paired t test; None where it has no meaning: one value, or values that
            are all the same.
        adjusted: By Holm's procedure over all contrasts of the family that have a `p`.
        more: Further seeds, at which a difference as large and as variable as this one is told from
            0 with probability 0.8, however many others are tested; None where it is told already,
            where nothing is known of the variance, or where it takes more than 1,000 in all.
    """

    difference: Estimate
    p: float | None = None
    adjusted: float | None = None
    more: int | None = None

    @property
    def differs(self) -> bool:
        """Whether the difference is told from 0 at the 5 % level of the whole family."""
        return self.adjusted is not None and self.adjusted < 1 - LEVEL


def contrasts(differences: Mapping[Key, Estimate]) -> dict[Key, Contrast]:
    """The differences of a family, judged together.

    Example:
        >>> from kdbench.statistics import mean
        >>> found = contrasts({"a": mean([1.0, 1.1, 0.9]), "b": mean([1.0, -1.1, 0.2])})
        >>> found["a"].differs, found["b"].differs
        (True, False)
    """
    known = {key: p for key, one in differences.items() if (p := _p(one)) is not None}
    adjusted, found = holm(known), {}
    for key, one in differences.items():
        judged = Contrast(difference=one, p=known.get(key), adjusted=adjusted.get(key))
        needed = None if judged.differs else seeds_to_settle(one, (1 - LEVEL) / max(1, len(known)))
        more = None if needed is None else max(1, needed - one.n)
        found[key] = Contrast(difference=one, p=judged.p, adjusted=judged.adjusted, more=more)
    return found


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusted p values of a family: below a level with at most that probability of any error.

    Reference:
        S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
        Statistics 6, 1979, 65-70.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted, least = dict[Key, float](), 0.0
    # equal ones have equal results, whatever their order
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        least = max(least, min(1.0, (len(p) - rank) * p[key]))
        adjusted[key] = least
    return adjusted


def seeds_to_settle(difference: Estimate, level: float = 1 - LEVEL) -> int | None:
    """Seeds at which a two-sided paired t test finds such a difference with probability 0.8.

    Args:
        difference: Its mean and deviation are taken for the true ones.
        level: Of the test.

    Returns:
        At most 1,000; None where it takes more or the deviation says nothing.

    Reference:
        Noncentral t distribution: J. Cohen, Statistical Power Analysis for the Behavioral Sciences,
        second edition, 1988, chapter 2.
    """
    if not difference.deviation or difference.identical:
        return None
    effect = abs(difference.mean) / difference.deviation
    low, high = 2, MOST_SEEDS
    if not _power(effect, high, level) >= POWER:
        return None
    while low < high:  # power rises with n
        half = (low + high) // 2
        low, high = (low, half) if _power(effect, half, level) >= POWER else (half + 1, high)
    return low


def _power(effect: float, n: int, level: float) -> float:
    """Of the two-sided t test of n values, mean `effect` deviations; the near side alone."""
    bound, shift = float(stdtrit(n - 1, 1 - level / 2)), effect * math.sqrt(n)
    # far out, where the noncentral distribution is not computed well, nothing is left to find
    return 1.0 if shift > bound + 10 else 1.0 - float(nctdtr(n - 1, shift, bound))


def _p(difference: Estimate) -> float | None:
    """Two-sided p value of the t test against 0."""
    if not difference.deviation or difference.identical:
        return None
    statistic = abs(difference.mean) / (difference.deviation / math.sqrt(difference.n))
    return 2 * float(stdtr(difference.n - 1, -statistic))
