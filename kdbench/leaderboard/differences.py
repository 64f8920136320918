"""What differs between two sides: paired differences of accuracy, fidelity and time, and how sure.

Differences are the second side's value less the first's; times are the second's over the first's.
Every place and seed counts once: where several methods are compared there, by their mean.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeAlias

from kdbench.errors import NothingSelected, UsageError
from kdbench.leaderboard.cells import Cell
from kdbench.leaderboard.conditions import (
    FIELDS,
    RATIOS,
    incomparable,
    remarks,
    same,
    value,
)
from kdbench.leaderboard.limit import Limit
from kdbench.leaderboard.pairing import Matched, pair
from kdbench.leaderboard.text import stored
from kdbench.statistics import Estimate, paired, ratio, standings

_Unit: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The differences in one place.

    Attributes:
        place: Data set and pair of networks, or "all".
        name: Of one method; "" for all that are compared there.
        trials: How many pairs of trials.
        differences: By field; those that every one of these pairs of trials has, and of times those
            of the pairs whose times may be compared.
    """

    place: str
    name: str
    trials: int
    differences: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sides, paired.

    Attributes:
        first, second: What they are.
        differing: Fields of the question that all pairs differ in.
        lines: Of each place; below it of each method, where several are compared.
        overall: Of all places: the mean of their means.
        same: How many pairs of trials have the same logits and weights, to the bit.
        unpaired: What has no partner and why, a line each.
        remarks: What a reader should know.
    """

    first: str
    second: str
    differing: tuple[str, ...]
    lines: tuple[Line, ...]
    overall: Line
    same: int
    unpaired: tuple[str, ...]
    remarks: tuple[str, ...]

    def broken(self, limits: Iterable[Limit]) -> list[str]:
        """The limits that the means over all places do not keep, a line each.

        What was not measured keeps no limit.
        """
        lines = []
        for limit in limits:
            found = self.overall.differences.get(limit.field)
            if found is None:
                lines.append(f"{limit.field} {limit.bound}: not measured on both sides")
            elif limit.broken_by(found.mean):
                lines.append(f"{limit.field} {found.mean:.4g} {limit.bound}, the mean of all pairs")
        return lines

    def plain(self) -> dict[str, Any]:
        """All of it as JSON; numbers have ten significant figures."""
        return {
            "first": self.first, "second": self.second, "differing": list(self.differing),
            "lines": [_line(one) for one in self.lines], "overall": _line(self.overall),
            "identical_trials": self.same, "unpaired": list(self.unpaired),
            "remarks": list(self.remarks),
        }  # fmt: skip


def limit(text: str) -> Limit:
    """What the mean difference must not be, as `accuracy < -0.3`.

    Raises:
        UsageError: It is not of the form FIELD SIGN NUMBER.
    """
    found = Limit.parse(text, FIELDS, "accuracy < -0.3")
    if found.method:
        raise UsageError(
            f"{text!r} names a method", "limits are on the mean of all pairs", "compare it alone"
        )
    return found


def compare(first: Sequence[Cell], second: Sequence[Cell], names: tuple[str, str]) -> Comparison:
    """The differences between two sides.

    Args:
        names: What the sides are.

    Raises:
        NothingSelected: No trial of one has a partner in the other.
        UsageError: Several have the same.
    """
    found = pair(first, second, names)
    if not found.matched:
        raise NothingSelected(
            f"nothing of {names[0]} can be compared with {names[1]}",
            found.unpaired[0] if found.unpaired else "there are no records",
            "pairs share data set, networks, seed, evaluation and a quiz split",
        )
    places = dict.fromkeys(one.place for one in found.matched)
    lines = []
    for place in places:
        there = [one for one in found.matched if one.place == place]
        lines.append(_of(place, "", there))
        methods = dict.fromkeys(one.name for one in there)
        if len(methods) > 1:
            lines += [_of(place, name, [o for o in there if o.name == name]) for name in methods]
    return Comparison(
        first=names[0], second=names[1], differing=found.differing, lines=tuple(lines),
        overall=_of("all", "", found.matched), same=sum(map(same, found.matched)),
        unpaired=found.unpaired, remarks=tuple(remarks(found)),
    )  # fmt: skip


def _of(place: str, name: str, matched: Sequence[Matched]) -> Line:
    differences = {
        field: estimate for field in FIELDS if (estimate := _estimate(field, matched)) is not None
    }
    return Line(place=place, name=name, trials=len(matched), differences=differences)


def _estimate(field: str, matched: Sequence[Matched]) -> Estimate | None:
    """One field's; None where a pair lacks it, and of times where no pair's may be compared."""
    values = defaultdict[_Unit, list[tuple[float, float]]](list)
    for one in matched:
        if field in RATIOS and incomparable(one, field):
            continue
        both = value(one.first, field), value(one.second, field)
        if both[0] is None or both[1] is None:
            return None
        values[one.place, one.seed].append((both[0], both[1]))
    if not values:
        return None
    first = {unit: fmean(one for one, _ in found) for unit, found in values.items()}
    second = {unit: fmean(other for _, other in found) for unit, found in values.items()}
    if field not in RATIOS:
        apart = {unit: second[unit] - first[unit] for unit in first}
        return _across(apart, paired(second, first))
    logs = {
        unit: fmean(math.log(other / one) for one, other in found) for unit, found in values.items()
    }
    found = _across(logs, ratio([math.exp(log) for log in logs.values()]))
    if len({place for place, _ in logs}) == 1 or found.identical:
        return found
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return replace(found, mean=math.exp(found.mean), low=low, high=high)


def _across(values: Mapping[_Unit, float], alone: Estimate) -> Estimate:
    """The mean of the places' means, resampled in two levels; of one place `alone`."""
    places = defaultdict[str, dict[int, float]](dict)
    for (place, seed), apart in values.items():
        places[place][seed] = apart
    if len(places) == 1 or alone.identical:
        return alone
    stand = standings({"": places})[""]
    return Estimate(mean=stand.mean, n=len(values), low=stand.low, high=stand.high)


def _line(line: Line) -> dict[str, Any]:
    return {
        "place": line.place, "method": line.name, "trials": line.trials,
        "differences": {field: _numbers(one) for field, one in line.differences.items()},
    }  # fmt: skip


def _numbers(one: Estimate) -> dict[str, Any]:
    low, high = (None if end is None else stored(end) for end in (one.low, one.high))
    return {
        "mean": stored(one.mean), "low": low, "high": high, "n": one.n, "identical": one.identical,
    }  # fmt: skip
