"""What a row costs: medians and ratios over the trials whose times may be compared."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from statistics import median

from kdbench.leaderboard.board import Expense
from kdbench.record import Cost, Record
from kdbench.statistics import Estimate, ratio


def expense(records: Sequence[Record], hardware: int) -> Expense | None:
    """Of trials on one class of hardware; None where one has no cost, or none has a valid one."""
    costs = [record.cost for record in records if record.cost and record.cost.valid]
    if not costs or not all(record.cost for record in records):
        return None
    over = ratios(costs, lambda cost: cost.overhead)
    if over and len(costs) == 1 and costs[0].overhead_interval:
        low, high = costs[0].overhead_interval
        over = Estimate(mean=over.mean, n=1, low=low, high=high)
    parts = sorted({part for cost in costs for part in cost.parts_ms})
    discarded = _known([cost.discarded for cost in costs])
    return Expense(
        hardware=hardware,
        step_ms=median(cost.step_ms for cost in costs),
        images_per_second=median(cost.images_per_second for cost in costs),
        parts_ms={part: median(cost.parts_ms.get(part, 0.0) for cost in costs) for part in parts},
        overhead=over,
        teacher_passes=median(cost.teacher_passes for cost in costs),
        training_parameters=max(cost.training_parameters for cost in costs),
        peak_memory_mb=median(cost.peak_memory_mb for cost in costs),
        unaccounted=_median([cost.unaccounted for cost in costs]),
        foreign_load=_median([cost.foreign_load for cost in costs]),
        discarded=None if discarded is None else int(sum(discarded)),
        warm_ms=_median([cost.warm_ms for cost in costs]),
        amortised_ms=_median([cost.amortised_ms for cost in costs]),
        cells=_median([cost.cells for cost in costs]),
    )


def cpu(records: Sequence[Record]) -> tuple[float | None, Estimate | None]:
    """Milliseconds a step in processor time, and their overhead, of all trials.

    Others who use the machine hardly move them, so that they stand where times do not.
    """
    costs = [record.cost for record in records if record.cost]
    if len(costs) < len(records):
        return None, None
    return _median([cost.cpu_ms for cost in costs]), ratios(costs, lambda cost: cost.cpu_overhead)


def remarks(records: Sequence[Record]) -> list[str]:
    """Why times are not shown, or not of all trials."""
    doubtful = [record.cost for record in records if record.cost and not record.cost.valid]
    reasons = sorted({cost.why_not or "no reason given" for cost in doubtful})
    if doubtful and len(doubtful) < len(records):
        kept, why = len(records) - len(doubtful), "; ".join(reasons)
        return [
            f"times are of {kept} of {len(records)} trials, of the others not comparable: {why}"
        ]
    return [f"times are not comparable: {reason}" for reason in reasons]


def ratios(costs: Sequence[Cost], of: Callable[[Cost], float | None]) -> Estimate | None:
    """Geometric mean of a ratio that every trial has."""
    known = _known([of(cost) for cost in costs])
    return ratio(known) if known else None


def _known(values: Sequence[float | None]) -> list[float] | None:
    """The values, if none is missing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _median(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return median(known) if known else None


NUMBERS = tuple(
    field.name
    for field in fields(Expense)
    if field.name not in ("hardware", "parts_ms", "overhead")
)
"""Fields of an `Expense` that are a number or None."""
