"""Where a training stands that was put away: the head of its safetensors file. No torch here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kdbench.record.schema import Record

_LONGEST = 100_000_000
"""Bytes of a head, by the format's own definition."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a training is, and what it may go on with.

    Attributes:
        step: Updates made.
        total: Updates of its whole budget.
        environment: Group of environments that give equal bits; see `Environment`.
        teacher: Content hash of the teacher's weights; empty where there is no teacher.
    """

    step: int
    total: int
    environment: str
    teacher: str

    @property
    def share(self) -> float:
        """Share of the updates made."""
        return self.step / self.total


class PutAway(Exception):
    """A training was left before its end and lies in its checkpoint; the next run goes on with it.

    Args:
        where: It stands.
        records: Of the trials that left before, if it is a cohort's.
    """

    def __init__(self, where: Standing, records: tuple[Record, ...] = ()) -> None:
        super().__init__(where, records)
        self.where, self.records = where, records


def standing(path: Path) -> Standing | None:
    """Where the training stands that this checkpoint is of.

    None where there is no checkpoint, or none that can be read: the training then starts anew.
    """
    if not path.is_file():  # opening a pipe would wait for whoever writes into it
        return None
    try:
        with path.open("rb") as file:
            found = Standing(**told(file)["standing"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    counts, names = (found.step, found.total), (found.environment, found.teacher)
    sound = all(type(count) is int for count in counts) and all(type(n) is str for n in names)
    return found if sound and 0 <= found.step <= found.total and found.total else None


def told(file: BinaryIO) -> dict[str, Any]:
    """What the head of a safetensors file says beside its tensors, each entry as JSON.

    Raises:
        ValueError: It is no such file.
    """
    size = int.from_bytes(file.read(8), "little")
    if size > _LONGEST:
        raise ValueError("no head of a safetensors file")
    try:
        head = json.loads(file.read(size))
        return {name: json.loads(text) for name, text in head.get("__metadata__", {}).items()}
    except (AttributeError, TypeError, RecursionError) as error:
        raise ValueError("the head of a safetensors file is another") from error
