"""Many methods over one or several cells: mean values, rank intervals, groups not told apart."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from string import ascii_lowercase
from typing import TypeAlias, TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit

from kdbench.statistics.contrasts import holm
from kdbench.statistics.estimates import LEVEL

Name = TypeVar("Name", bound=Hashable)
Cells: TypeAlias = Mapping[str, Mapping[int, float]]
"""Values by cell and seed."""

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"

LEAST_CELLS = 6
"""From so many cells on they are resampled too; fewer cannot stand for others like them."""

_MOST_GROUPS = 12
"""Beyond that, letters tell nobody anything."""

_NORMAL = 1.959963984540054  # the 97.5 % point


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A method among others.

    Attributes:
        mean: Of its cells' means, each of which counts the same; in the values' unit.
        low, high: Ends of the 95 % interval of that; None where a cell has one seed only.
        rank: Lowest and highest rank, 1 for the best, that 95 % of the resamples give it; None as
            above.
        letters: Two methods that share a letter are not told apart; "" as above, and where it would
            take more than a dozen letters to say so.
        contender: Whether it may be the best: with 95 % confidence, the method that truly is the
            best is a contender, however many there are; None as above.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    rank: tuple[int, int] | None = None
    letters: str = ""
    contender: bool | None = None


@dataclass(frozen=True, slots=True)
class _Apart:
    """What is seen between two methods: the first's lead and its two-sided p value."""

    lead: float
    p: float


def standings(values: Mapping[Name, Cells], *, resamples: int = 2000) -> dict[Name, Standing]:
    """Where each method stands; all resamples are shared, so that pairing is kept.

    Intervals and ranks come from a bootstrap in two levels: cells, where there are at least six,
    then seeds within each; with fewer cells they hold for these cells and no others. Deviations of
    a resample are enlarged to what few values need: a mean of n that is resampled falls short by
    the factor sqrt((n - 1) / n), and its quantiles by that of the normal distribution's to the t
    distribution's. Which methods are told apart is found by a test of every pair (t, paired by seed
    within each cell, degrees of freedom after Welch and Satterthwaite), by Holm at the 5 % level
    of all pairs together. No contender is who is worse than any other method by the one-sided test,
    at the 5 % level of its own pairs together (Bonferroni).

    Args:
        values: Higher is better; every method has the same cells, and the same seeds in each.

    Raises:
        ValueError: They do not.

    Reference:
        A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, section
        3.8 (levels); T. C. Hesterberg, What Teachers Should Know About the Bootstrap, The American
        Statistician 69, 2015 (enlarged quantiles); H.-P. Piepho, An Algorithm for a Letter-Based
        Representation of All-Pairwise Comparisons, Journal of Computational and Graphical
        Statistics 13, 2004 (letters); J. C. Hsu, Multiple Comparisons: Theory and Methods, 1996,
        chapter 4 (with the best); C. Bron and J. Kerbosch, Algorithm 457: Finding All Cliques of an
        Undirected Graph, Communications of the ACM 16, 1973 (groups).

    Example:
        >>> a, b = {0: 0.9, 1: 0.91, 2: 0.92}, {0: 0.5, 1: 0.51, 2: 0.49}
        >>> found = standings({"a": {"digits": a}, "b": {"digits": b}})
        >>> found["a"].rank, found["a"].letters, found["b"].letters
        ((1, 1), 'a', 'b')
    """
    if not values:
        return {}
    names, cells = _arrays(values)
    means = np.mean([cell.mean(axis=1) for cell in cells], axis=0)
    if min(cell.shape[1] for cell in cells) < 2:
        return {name: Standing(mean=float(m)) for name, m in zip(names, means, strict=True)}
    draws = means[:, None] + _enlarged(cells) * (_resampled(cells, resamples) - means[:, None])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=1)
    ranks = 1 + (draws[None, :, :] > draws[:, None, :]).sum(axis=1)
    first, last = np.quantile(ranks, [tail, 1 - tail], axis=1, method="nearest")
    apart = _apart(cells)
    letters = _letters(len(names), _told(apart), np.argsort(-means, kind="stable").tolist())
    beaten = _beaten(len(names), apart)
    return {
        name: Standing(
            mean=float(means[i]), low=float(low[i]), high=float(high[i]),
            rank=(int(first[i]), int(last[i])), letters=letters[i], contender=i not in beaten,
        )
        for i, name in enumerate(names)
    }  # fmt: skip


def _arrays(values: Mapping[Name, Cells]) -> tuple[list[Name], list[Array]]:
    """Names, and for each cell the values of every method by seed, all in one order."""
    names = sorted(values, key=str)
    first = values[names[0]]
    keys = {cell: sorted(by_seed) for cell, by_seed in first.items()}
    for name in names:
        if {cell: sorted(by_seed) for cell, by_seed in values[name].items()} != keys:
            raise ValueError(f"{name} has other cells or seeds than {names[0]}")
    return names, [
        np.array([[values[name][cell][seed] for seed in keys[cell]] for name in names])
        for cell in sorted(keys)
    ]


def _resampled(cells: Sequence[Array], resamples: int) -> Array:
    """Means of every method in every resample."""
    stream, count = np.random.default_rng(0), len(cells)
    total = np.zeros((len(cells[0]), resamples))
    for place in range(count):
        random = count >= LEAST_CELLS
        chosen = stream.integers(0, count, resamples) if random else np.full(resamples, place)
        for which, cell in enumerate(cells):
            asked = np.flatnonzero(chosen == which)
            seeds = stream.integers(0, cell.shape[1], (len(asked), cell.shape[1]))
            total[:, asked] += cell[:, seeds].mean(axis=2)
    return total / count


def _enlarged(cells: Sequence[Array]) -> float:
    """By how much deviations of a resample are to be enlarged."""
    if len(cells) >= LEAST_CELLS:
        size, freedom = len(cells), len(cells) - 1
    else:
        size = min(cell.shape[1] for cell in cells)
        freedom = sum(cell.shape[1] - 1 for cell in cells)
    return math.sqrt(size / (size - 1)) * float(stdtrit(freedom, (1 + LEVEL) / 2)) / _NORMAL


def _apart(cells: Sequence[Array]) -> dict[tuple[int, int], _Apart]:
    """Of every pair of methods whose difference varies."""
    found = {}
    for i, j in combinations(range(len(cells[0])), 2):
        apart = [cell[i] - cell[j] for cell in cells]
        shares = [float(one.var(ddof=1)) / len(one) / len(cells) ** 2 for one in apart]
        scale = max(float(np.abs(cell[[i, j]]).max()) for cell in cells)
        if (variance := math.fsum(shares)) > (1e-12 * scale) ** 2:
            parts = (share**2 / (len(one) - 1) for share, one in zip(shares, apart, strict=True))
            freedom = variance**2 / math.fsum(parts)
            lead = math.fsum(float(one.mean()) for one in apart) / len(cells)
            p = 2 * float(stdtr(freedom, -abs(lead) / math.sqrt(variance)))
            found[i, j] = _Apart(lead, p)
    return found


def _told(apart: Mapping[tuple[int, int], _Apart]) -> set[tuple[int, int]]:
    """The pairs that are told apart."""
    adjusted = holm({pair: one.p for pair, one in apart.items()})
    return {pair for pair, p in adjusted.items() if p < 1 - LEVEL}


def _beaten(count: int, apart: Mapping[tuple[int, int], _Apart]) -> set[int]:
    """The methods that cannot be the best."""
    bound = (1 - LEVEL) / max(1, count - 1)
    return {
        j if one.lead > 0 else i for (i, j), one in apart.items() if one.lead and one.p / 2 < bound
    }


def _letters(count: int, told: set[tuple[int, int]], order: Sequence[int]) -> list[str]:
    """For each method the letters of its groups; the best one's come first."""
    apart = told | {(j, i) for i, j in told}
    alike = [{j for j in range(count) if j != i and (i, j) not in apart} for i in range(count)]
    found = _groups(frozenset(), set(range(count)), set(), alike)
    groups = list(islice(found, _MOST_GROUPS + 1))  # there may be more than anybody could wait for
    if len(groups) > _MOST_GROUPS:
        return [""] * count
    place = {method: rank for rank, method in enumerate(order)}
    groups.sort(key=lambda group: sorted(place[one] for one in group))
    names = ascii_lowercase[: len(groups)]
    return [
        "".join(name for name, group in zip(names, groups, strict=True) if one in group)
        for one in range(count)
    ]


def _groups(
    group: frozenset[int], may: set[int], done: set[int], alike: Sequence[set[int]]
) -> Iterator[frozenset[int]]:
    """The largest groups of methods that are all alike, which hold `group`: Bron and Kerbosch.

    Args:
        may: Others that are alike all of the group and may still join it.
        done: Others that are alike all of it, whose groups were found already.
        alike: Of each method those that it is not told from.
    """
    if not (may or done):
        yield group
        return
    pivot = max(may | done, key=lambda one: len(may & alike[one]))
    for one in sorted(may - alike[pivot]):
        yield from _groups(group | {one}, may & alike[one], done & alike[one], alike)
        may, done = may - {one}, done | {one}
