"""Means, paired differences and ratios with 95 % intervals, from a few seeds."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

Key = TypeVar("Key", bound=Hashable)

LEVEL = 0.95
LEAST_FOR_MEDIAN = 6
"""Even the whole range of n values covers their median with probability 1 - 2^(1 - n) only.

That is 0.9375 at n = 5.
"""

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over n values, in their unit, and how sure it is.

    Attributes:
        mean: Arithmetic mean; of ratios, the geometric one.
        n: Number of values.
        low, high: Ends of the 95 % t interval, or None where n is 1.
        deviation: Sample standard deviation (n - 1), of ratios that of their logarithms; None where
            n is 1.
        identical: More than one value, and all the same: the interval has no width, which is no
            certainty.
    """

    mean: float
    n: int
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    identical: bool = False

    @property
    def half(self) -> float | None:
        """Half the width of the interval, in the unit of the mean."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean(values: Sequence[float]) -> Estimate:
    """Arithmetic mean of `values`, in their unit, with its t interval.

    Raises:
        ValueError: There is no value, or one is not finite.

    Example:
        >>> estimate = mean([1.0, 2.0, 3.0])
        >>> estimate.mean, estimate.n, round(estimate.half, 4)
        (2.0, 3, 2.4841)
        >>> mean([1.0]).low is None
        True
    """
    return _estimate(values, max((abs(value) for value in values), default=0.0))


def paired(ours: Mapping[Key, float], theirs: Mapping[Key, float]) -> Estimate:
    """Mean of the differences ours - theirs, pair by pair, with its t interval.

    Args:
        ours: A value for each seed (or cell, or cohort).
        theirs: The reference's, for the same ones.

    Raises:
        ValueError: The keys differ: a mean over whatever happens to be there would compare
            different trials.

    Example:
        >>> paired({0: 0.75, 1: 0.5}, {0: 0.5, 1: 0.25}).mean
        0.25
    """
    _same_keys(ours, theirs)
    scale = max((abs(value) for value in (*ours.values(), *theirs.values())), default=0.0)
    return _estimate([value - theirs[key] for key, value in ours.items()], scale)


def ratio(values: Sequence[float]) -> Estimate:
    """Geometric mean of ratios (overheads, one a cohort), with the t interval of their logarithms.

    Raises:
        ValueError: There is no value, or one is not above 0.

    Example:
        >>> round(ratio([2.0, 0.5]).mean, 12)
        1.0
    """
    if any(not value > 0 for value in values):
        raise ValueError("ratios must be above 0")
    logs = _estimate([math.log(value) for value in values], 1.0)
    ends = [None if end is None else _exp(end) for end in (logs.low, logs.high)]
    # `values[0]` and not its logarithm's exponential, so that 1 stays 1.
    centre = values[0] if logs.n == 1 or logs.identical else math.exp(logs.mean)
    return Estimate(
        mean=centre,
        n=logs.n,
        low=ends[0],
        high=ends[1],
        deviation=logs.deviation,
        identical=logs.identical,
    )


def median_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = 2000
) -> tuple[float, float] | None:
    """95 % interval of the median, in the values' unit, by bootstrap; None below six values.

    Reference:
        B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3 (percentile
        intervals).
    """
    if len(values) < LEAST_FOR_MEDIAN:
        return None
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    draws = np.random.default_rng(seed).integers(0, len(ordered), (resamples, len(ordered)))
    low, high = np.quantile(np.median(ordered[draws], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def medians_ratio(
    ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0, resamples: int = 2000
) -> tuple[float, tuple[float, float] | None]:
    """Median of `ours` over that of `theirs`, not paired, with its 95 % interval by bootstrap.

    The interval is None where either has fewer than six values.

    Raises:
        ValueError: One is empty, or a value is not above 0.

    Example:
        >>> medians_ratio([2.0] * 6, [1.0] * 6)
        (2.0, (2.0, 2.0))
    """
    if not (ours and theirs) or any(not value > 0 for value in (*ours, *theirs)):
        raise ValueError("medians of values above 0 have a ratio")
    centre = float(np.median(ours) / np.median(theirs))
    if min(len(ours), len(theirs)) < LEAST_FOR_MEDIAN:
        return centre, None
    stream, drawn = np.random.default_rng(seed), list[np.ndarray]()
    for values in (ours, theirs):
        ordered = np.sort(np.asarray(values, dtype=np.float64))
        draws = stream.integers(0, len(ordered), (resamples, len(ordered)))
        drawn.append(np.median(ordered[draws], axis=1))
    low, high = np.quantile(drawn[0] / drawn[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return centre, (float(low), float(high))


def _estimate(values: Sequence[float], scale: float) -> Estimate:
    """Mean and t interval; values closer than rounding at `scale` count as one and the same."""
    n = len(values)
    if not n or not all(map(math.isfinite, values)):
        raise ValueError("a mean needs at least one value, and only finite ones")
    centre = math.fsum(values) / n  # exact sum, so that the order of the records cannot show
    if n == 1:
        return Estimate(mean=centre, n=1)
    if max(values) - min(values) <= _ROUNDING * scale:
        return Estimate(mean=centre, n=n, low=centre, high=centre, deviation=0.0, identical=True)
    deviation = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * deviation / math.sqrt(n)
    return Estimate(mean=centre, n=n, low=centre - half, high=centre + half, deviation=deviation)


def _same_keys(ours: Mapping[Key, float], theirs: Mapping[Key, float]) -> None:
    if set(ours) != set(theirs):
        alone = sorted(map(str, set(ours) ^ set(theirs)))
        raise ValueError(f"values cannot be paired: {', '.join(alone)} on one side only")


def _exp(value: float) -> float:
    """exp, bounded to finite numbers: wildly different ratios give a useless interval, no error."""
    return math.exp(min(max(value, -700.0), 700.0))
