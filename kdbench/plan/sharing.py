"""Cohorts -> tasks of which all workers have enough to the end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from kdbench.plan.nodes import Cohort, Trial


def shared(
    cohorts: Sequence[Cohort], workers: int, cost: Callable[[Trial], float] = lambda trial: 1.0
) -> tuple[Cohort, ...]:
    """The cohorts, of which the last ones come in parts where workers would else be idle.

    What a trial computes depends on nobody beside it, so several workers may train a cohort, each
    some of its methods. There are never more parts than workers to train them at once.

    Args:
        cohorts: In the order in which they are begun.
        workers: That work at the same time.
        cost: Of a trial, in any unit.
    """
    whole = len(cohorts) - len(cohorts) % workers
    last = cohorts[whole:]
    sums = [sum(map(cost, cohort.trials)) for cohort in last]
    counts = [1] * len(last)
    for _ in range(workers - len(last)) if last else ():
        more = [place for place, one in enumerate(last) if counts[place] < len(one.trials)]
        if more:
            counts[max(more, key=lambda place: sums[place] / counts[place])] += 1
    slowest = max((total / count for total, count in zip(sums, counts, strict=True)), default=0.0)
    found = list(cohorts[:whole])
    for cohort, total in zip(last, sums, strict=True):
        # no more parts than it takes to end with the slowest: each asks the teacher anew
        count = min(math.ceil(total / slowest - 1e-9), len(cohort.trials)) if slowest else 1
        found += _parts(cohort, count, cost)
    return tuple(found)


def _parts(cohort: Cohort, count: int, cost: Callable[[Trial], float]) -> list[Cohort]:
    """The cohort in so many parts of like cost, each in the cohort's order."""
    loads = [0.0] * count
    of: dict[int, int] = {}
    order = sorted(range(len(cohort.trials)), key=lambda place: -cost(cohort.trials[place]))
    for place in order:
        part = min(range(count), key=loads.__getitem__)
        of[place] = part
        loads[part] += cost(cohort.trials[place])
    return [
        replace(cohort, trials=tuple(one for i, one in enumerate(cohort.trials) if of[i] == part))
        for part in range(count)
    ]
