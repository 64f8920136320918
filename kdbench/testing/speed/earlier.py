"""An earlier run beside a new one: what changed, each paired with its own reference; no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdbench.errors import UsageError
from kdbench.leaderboard import Figure
from kdbench.record import SpeedRecord
from kdbench.statistics import medians_ratio

__all__ = ["Change", "changes", "read"]

_QUESTION = ("pair", "batch_size", "image_shape", "classes", "rows", "reference")
"""What two runs must share, beside the hardware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One method now, over what it was; 1 where nothing changed.

    Attributes:
        ratio: Of the ratios to the reference of its own run: a machine that is slower today has no
            part in it.
        wall: Of the milliseconds a step.
    """

    ratio: Figure
    wall: Figure


def read(path: Path) -> SpeedRecord:
    """The run that a file of `kdbench speed` holds.

    Raises:
        UsageError: It is no such file.
    """
    try:
        data = json.loads(path.read_bytes())
        return SpeedRecord.model_validate(data["kdbench"])
    except OSError as error:
        raise UsageError(f"cannot read {path}", str(error), "see kdbench speed --out") from error
    except (ValueError, TypeError, KeyError) as error:
        reason = (
            str(error).splitlines()[0] if isinstance(error, ValidationError) else "not its form"
        )
        raise UsageError(
            f"{path} holds no run of kdbench speed", reason, "give a file that kdbench speed wrote"
        ) from error


def check(now: Mapping[str, Any], then: SpeedRecord, file: str) -> None:
    """Raise where an earlier run is not of the same question, or of another machine.

    Args:
        now: What is known of the new one: fields of a `SpeedRecord`, or its "hardware".
        then: The earlier run, and `file` its file.

    Raises:
        UsageError: Times of the two cannot be compared.
    """
    for field in (*_QUESTION, "hardware"):
        if field in now and now[field] != getattr(then, field):
            raise UsageError(
                f"{file} is of another {field.replace('_', ' ')}",
                f"there {getattr(then, field)}, here {now[field]}",
                "compare runs of one question on one machine",
            )


def changes(now: SpeedRecord, then: SpeedRecord) -> dict[str, Change]:
    """What changed, by method, for each that is in both runs."""
    before = {one.method: one for one in then.methods}
    found = {}
    for one in now.methods:
        if one.method in before:
            other = before[one.method]
            found[one.method] = Change(
                ratio=_figure(one.ratios, other.ratios), wall=_figure(one.step_ms, other.step_ms)
            )
    return found


def _figure(ours: tuple[float, ...], theirs: tuple[float, ...]) -> Figure:
    value, interval = medians_ratio(ours, theirs)
    return Figure(value=value, interval=interval)
