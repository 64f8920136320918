"""Scratch: the student alone, from the labels, without a teacher (the baseline of every gain)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, hookimpl
from kdbench.functional import cross_entropy


@final
@dataclass(frozen=True)
class Scratch(Method):
    """Cross-entropy with the labels.

    *Differs from the reference:* there is none to differ from.
    """

    family: ClassVar[Family] = "baseline"

    def needs(self) -> Needs:
        return Needs(teacher="none")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "scratch", Scratch()
