"""What a run must not be: `ratio > 1.1`, or for one method `kd: step_ms > 30`; no torch."""

from collections.abc import Iterable, Mapping

from kdbench.leaderboard import Limit, Step, steps
from kdbench.record import SpeedRecord
from kdbench.testing.speed.earlier import Change

__all__ = ["CHANGES", "FIELDS", "broken", "parse"]

FIELDS = ("ratio", "cpu_ratio", "step_ms", "unaccounted", "peak_mb")
"""What a limit may be on; all medians."""

CHANGES = ("change", "wall_change")
"""And these where there is an earlier run: now over then, of the ratios and of the milliseconds."""


def parse(text: str) -> Limit:
    """The limit that `text` writes.

    Raises:
        UsageError: It is not of the form [METHOD:] FIELD SIGN NUMBER.
    """
    return Limit.parse(text, FIELDS + CHANGES, "ratio > 1.1")


def broken(
    limits: Iterable[Limit], record: SpeedRecord, changed: Mapping[str, Change]
) -> list[str]:
    """The limits that a run does not keep, a line each with what was measured.

    A method that is named and was not measured keeps no limit.
    """
    lines = []
    for limit in limits:
        for step in steps(record):
            value = _values(step, changed).get(limit.field)
            if value is None or limit.method not in ("", step.speed.method):
                continue
            if limit.broken_by(value):
                lines.append(f"{step.speed.method}: {limit.field} {value:.4g} {limit.bound}")
        gone = record.unsupported | record.failed
        if limit.method in gone:
            lines.append(f"{limit.method}: not measured, {gone[limit.method]}")
    return lines


def _values(step: Step, changed: Mapping[str, Change]) -> dict[str, float]:
    """What limits may be on, by field."""
    change = changed.get(step.speed.method)
    return {
        "ratio": step.ratio.value, "cpu_ratio": step.cpu_ratio.value,
        "step_ms": step.step_ms.value, "unaccounted": step.speed.unaccounted,
        "peak_mb": step.speed.peak_memory_mb,
        **({"change": change.ratio.value, "wall_change": change.wall.value} if change else {}),
    }  # fmt: skip
