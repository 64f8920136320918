"""Methods by their ranks over many cells: average ranks and the difference that tells two apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import chdtrc

from kdbench.statistics.estimates import LEVEL
from kdbench.statistics.standings import LEAST_CELLS

LEAST_METHODS = 3
"""Fewer have no ranks to speak of: a sign test would say all."""

_DIGITS = 6
"""Significant figures of what is integrated numerically."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Critical:
    """What a critical-difference diagram shows.

    Attributes:
        cells: How many ranked the methods.
        ranks: Average rank of each method, 1 for the best, ties sharing the mean of their places;
            the best method first.
        difference: Two methods whose average ranks are further apart are told apart, at the 5 %
            level of all pairs together.
        p: Of Friedman's test that no method ranks differently.
        cliques: The largest runs of methods of which no two are told apart, the best first; a
            method told from all others is in none.
    """

    cells: int
    ranks: Mapping[str, float]
    difference: float
    p: float
    cliques: tuple[tuple[str, ...], ...]


def critical(values: Mapping[str, Mapping[str, float]]) -> Critical | None:
    """Ranks over cells and what they tell; None with fewer than six cells or three methods.

    Args:
        values: By method and cell, higher is better.

    Raises:
        ValueError: A method has other cells than the first.

    Reference:
        J. Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, Journal of
        Machine Learning Research 7, 2006, section 3.2.2.

    Example:
        >>> cells = range(8)
        >>> found = critical({m: {f"c{k}": -i for k in cells} for i, m in enumerate("abc")})
        >>> found.ranks, round(found.difference, 2), found.cliques
        ({'a': 1.0, 'b': 2.0, 'c': 3.0}, 1.17, (('a', 'b'), ('b', 'c')))
    """
    names = sorted(values)
    cells = sorted(values[names[0]]) if names else []
    for name in names:
        if sorted(values[name]) != cells:
            raise ValueError(f"{name} has other cells than {names[0]}")
    if len(cells) < LEAST_CELLS or len(names) < LEAST_METHODS:
        return None
    ranks = average_ranks([[values[name][cell] for name in names] for cell in cells])
    by_name = dict(sorted(zip(names, ranks, strict=True), key=lambda item: (item[1], item[0])))
    difference = critical_difference(len(names), len(cells))
    return Critical(
        cells=len(cells), ranks=by_name, difference=difference,
        p=_friedman(ranks, len(cells)), cliques=_cliques(by_name, difference),
    )  # fmt: skip


def average_ranks(cells: Sequence[Sequence[float]]) -> list[float]:
    """Each method's mean rank, 1 for the highest value of a cell, ties sharing the mean.

    Args:
        cells: For each cell a value of every method.

    Example:
        >>> average_ranks([[0.9, 0.8, 0.8], [0.7, 0.9, 0.1]])
        [1.5, 1.75, 2.75]
    """
    from scipy.stats import rankdata

    ranks = rankdata(-np.asarray(cells, dtype=np.float64), axis=1)
    return [math.fsum(column) / len(cells) for column in ranks.T.tolist()]


@lru_cache
def critical_difference(methods: int, cells: int, level: float = LEVEL) -> float:
    """Of average ranks, after Nemenyi: the studentized range's quantile times its deviation."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(level, methods, math.inf)) / math.sqrt(2)
    return _short(quantile * math.sqrt(methods * (methods + 1) / (6 * cells)))


def _friedman(ranks: Sequence[float], cells: int) -> float:
    """P value by the chi-squared distribution; ties, not corrected for, only raise it."""
    count = len(ranks)
    spread = math.fsum((rank - (count + 1) / 2) ** 2 for rank in ranks)
    return _short(float(chdtrc(count - 1, 12 * cells / (count * (count + 1)) * spread)))


def _cliques(ranks: Mapping[str, float], difference: float) -> tuple[tuple[str, ...], ...]:
    """Runs of methods, in the order of `ranks`, that no other run holds."""
    names, found, reached = list(ranks), list[tuple[str, ...]](), 0
    for first, name in enumerate(names):
        run = [one for one in names[first:] if ranks[one] - ranks[name] <= difference]
        if len(run) > 1 and first + len(run) > reached:
            found.append(tuple(run))
            reached = first + len(run)
    return tuple(found)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
