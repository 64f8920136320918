"""Claims -> what the records say of each: a contrast with its interval, a verdict and why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from kdbench.leaderboard.board import Board
from kdbench.leaderboard.claims.lookup import Unanswered, name, tables, values
from kdbench.leaderboard.claims.units import CONTRASTS, Unit
from kdbench.leaderboard.claims.verdicts import Verdict, judged, more, sentence, settled
from kdbench.leaderboard.words import listed
from kdbench.statistics import Estimate, mean, rank_correlation
from kdbench.suite import Claim, Point, Series

_ROUNDING = 1e-12

BySeed: TypeAlias = Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the records say of a claim.

    Attributes:
        why: A sentence with the numbers, or what is missing.
        notes: What else a reader should know, a sentence each.
        values: The contrast or the correlation, by seed.
        estimate: Their mean. A contrast that is the same in all seeds has no interval: one without
            width would say too much. Nor has a correlation of what never varied.
        more: Further seeds that would settle what is not testable, where that is known.
        tables: That a value is the mean over; of several rows, the most.
    """

    claim: Claim
    verdict: Verdict
    why: str
    notes: tuple[str, ...] = ()
    values: BySeed
    estimate: Estimate | None = None
    more: int | None = None
    tables: int = 0

    @property
    def unit(self) -> Unit:
        """Of the contrast."""
        return CONTRASTS[self.claim.unit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A published figure with ours.

    Attributes:
        ours: None where `why` says why not.
    """

    point: Point
    ours: Estimate | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A series with our figures, in the paper's order."""

    series: Series
    figures: tuple[Figure, ...]


def finding(board: Board, claim: Claim) -> Finding:
    """What the records say of the claim.

    Raises:
        UsageError: It means several rows of one table.
    """
    try:
        measured = _measured(board, claim)
    except Unanswered as reason:
        return Finding(claim=claim, verdict="not answered", why=_line(reason), values={})
    every = set[int]().union(*measured)
    common = sorted(set(measured[0]).intersection(*measured))
    wanted = sorted(set(board.spec.seeds) or every)
    lost = [seed for seed in wanted if seed not in common]
    if not common:
        why = "Its rows have no seed in common."
        return Finding(claim=claim, verdict="not answered", why=why, values={})
    notes = [f"Left out, as not every row has them: {listed(lost)}."] if lost else []
    by_seed = _contrasts(claim, measured, common)
    if flat := [seed for seed in common if seed not in by_seed]:
        notes.append(f"No correlation in {listed(flat)}: all rows have the same value.")
    varied = any(len({one[seed] for seed in by_seed}) > 1 for one in measured)
    most = max(len(tables(board, row)) for row in claim.terms or claim.along)
    return replace(_found(claim, by_seed, varied=varied), notes=tuple(notes), tables=most)


def shown(board: Board, series: Series) -> Shown:
    """The series with our figures.

    Raises:
        UsageError: A point means several rows of one table.
    """
    return Shown(
        series=series, figures=tuple(_figure(board, series, point) for point in series.points)
    )


def _figure(board: Board, series: Series, point: Point) -> Figure:
    try:
        by_seed = values(board, point, series.measure)
    except Unanswered as reason:
        return Figure(point=point, ours=None, why=_line(reason))
    if not by_seed:
        return Figure(point=point, ours=None, why=f"The tables of {name(point)} share no seed.")
    return Figure(point=point, ours=_varied(mean(list(by_seed.values()))))


def _measured(board: Board, claim: Claim) -> list[BySeed]:
    """Of each term its measure; of a correlation x and then y of each row."""
    if claim.terms:
        return [values(board, term, term.measure) for term in claim.terms]
    return [values(board, row, key) for key in (claim.x, claim.y) for row in claim.along]


def _contrasts(claim: Claim, measured: Sequence[BySeed], seeds: Sequence[int]) -> BySeed:
    """By seed, of the seeds that have one."""
    if claim.terms:
        pairs = [(term.weight, one) for term, one in zip(claim.terms, measured, strict=True)]
        return {s: _sum([claim.constant, *(w * one[s] for w, one in pairs)]) for s in seeds}
    rows = len(claim.along)
    known = {
        seed: rank_correlation(
            [x[seed] for x in measured[:rows]], [y[seed] for y in measured[rows:]]
        )
        for seed in seeds
    }
    return {seed: value for seed, value in known.items() if value is not None}


def _sum(parts: Sequence[float]) -> float:
    """Exact in any order, and 0 where only rounding is left."""
    total = math.fsum(parts)
    return total if abs(total) > _ROUNDING * max(map(abs, parts)) else 0.0


def _found(claim: Claim, by_seed: BySeed, *, varied: bool) -> Finding:
    estimate = mean(list(by_seed.values())) if by_seed else None
    if estimate and (claim.terms or not varied):
        estimate = _varied(estimate)
    if estimate and claim.along:
        estimate = _correlation(estimate)
    verdict: Verdict = "not testable"
    more_seeds = None
    if estimate is None:
        why = "There is no seed with a correlation."
    elif estimate.n < 2:
        why = "One seed has no interval."
    elif estimate.low is None or estimate.high is None:
        what, then = (
            ("The contrast", "; what is compared may be one and the same thing")
            if varied
            else ("What is compared", "")
        )
        why = (
            f"{what} is the same in all {estimate.n} seeds: they do not tell how sure it is{then}."
        )
    else:
        ends = estimate.low, estimate.high
        verdict = judged(claim.direction, claim.effect, *ends)
        why = sentence(claim.direction, claim.effect, *ends, CONTRASTS[claim.unit])
        if verdict == "not testable" and not estimate.identical:
            more_seeds = settled(claim.direction, claim.effect, estimate)
            why += f" {more(more_seeds, estimate)}"
    return Finding(
        claim=claim, verdict=verdict, why=why, values=by_seed, estimate=estimate,
        more=more_seeds,
    )  # fmt: skip


def _line(reason: Unanswered) -> str:
    """As a sentence."""
    text = str(reason)
    return f"{text[:1].upper()}{text[1:]}."


def _correlation(one: Estimate) -> Estimate:
    """The mean with what of its interval a correlation can be."""
    if one.low is None or one.high is None:
        return one
    return replace(one, low=max(-1.0, one.low), high=min(1.0, one.high))


def _varied(one: Estimate) -> Estimate:
    """The mean without an interval where nothing varied: one without width would say too much."""
    return replace(one, low=None, high=None) if one.identical else one
