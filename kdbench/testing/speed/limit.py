"""What a run must not be: `ratio > 1.1`, or for one method `kd: step_ms > 30`; no torch."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kdbench.errors import UsageError
from kdbench.leaderboard import Step, steps
from kdbench.record import Spec, SpeedRecord
from kdbench.testing.speed.earlier import Change

__all__ = ["CHANGES", "FIELDS", "Limit", "broken"]

FIELDS = ("ratio", "cpu_ratio", "step_ms", "unaccounted", "peak_mb")
"""What a limit may be on; all medians."""

CHANGES = ("change", "wall_change")
"""And these where there is an earlier run: now over then, of the ratios and of the milliseconds."""

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_LIMIT = re.compile(r"(?:(?P<method>.+):)?\s*(?P<field>\w+)\s*(?P<sign>[<>]=?)\s*(?P<value>\S+)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """What no method may be, or not the one that is named.

    Attributes:
        text: As written.
        method: Spec, or "" for all.
    """

    text: str
    method: str
    field: str
    sign: str
    value: float

    @property
    def bound(self) -> str:
        """Sign and number."""
        return f"{self.sign} {self.value:g}"

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """The limit that `text` writes.

        Raises:
            UsageError: It is not of the form [METHOD:] FIELD SIGN NUMBER.

        Example:
            >>> limit = Limit.parse("kd[temperature=2]: ratio > 1.1")
            >>> limit.method, limit.field, limit.sign, limit.value
            ('kd[temperature=2]', 'ratio', '>', 1.1)
        """
        found = _LIMIT.fullmatch(text.strip())
        try:
            value = float(found["value"]) if found else math.nan
        except ValueError:
            value = math.nan
        if not found or not math.isfinite(value) or found["field"] not in FIELDS + CHANGES:
            raise UsageError(
                f"{text!r} is no limit",
                f"expected [METHOD:] FIELD SIGN NUMBER; fields: {', '.join(FIELDS + CHANGES)}",
                "for example --fail-if 'ratio > 1.1'",
            )
        method = str(Spec.parse(found["method"])) if found["method"] else ""
        return cls(text.strip(), method, found["field"], found["sign"], value)


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
            if _SIGNS[limit.sign](value, limit.value):
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
