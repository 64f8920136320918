"""Cost of a training step, from timed rounds in which the methods of a cohort take turns."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdbench.statistics import median_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The measured part of `kdbench.record.Cost`, with the same names and units."""

    step_ms: float
    parts_ms: dict[str, float]
    images_per_second: float
    overhead: float | None
    overhead_interval: tuple[float, float] | None
    rounds: int


def summarise_rounds(
    rounds: Sequence[Mapping[str, Mapping[str, float]]], baseline: str | None, *, batch_size: int
) -> dict[str, Timing]:
    """Timing of each method from interleaved rounds, milliseconds by method and phase.

    A step is the sum of its phases in one round. The overhead pairs method and baseline within a
    round, so that a machine that slows down for a while slows both; None where there is no
    baseline. Its interval needs six rounds.
    """
    methods = {method: None for one in rounds for method in one}  # in order of appearance
    steps = [
        {method: math.fsum(phases.values()) for method, phases in one.items()} for one in rounds
    ]
    return {method: _timing(method, rounds, steps, baseline, batch_size) for method in methods}


def _timing(
    method: str,
    rounds: Sequence[Mapping[str, Mapping[str, float]]],
    steps: Sequence[Mapping[str, float]],
    baseline: str | None,
    batch_size: int,
) -> Timing:
    own = [one[method] for one in rounds if method in one]
    step = statistics.median([one[method] for one in steps if method in one])
    ratios = [
        one[method] / one[baseline]
        for one in steps
        if baseline is not None and {method, baseline} <= one.keys()
    ]
    return Timing(
        step_ms=step,
        parts_ms={
            phase: statistics.median([one.get(phase, 0.0) for one in own]) for phase in own[0]
        },
        images_per_second=1000 * batch_size / step,
        overhead=statistics.median(ratios) if ratios else None,
        overhead_interval=median_interval(ratios),
        rounds=len(own),
    )
