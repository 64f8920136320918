"""A trial's question, whose canonical JSON's fingerprint names it."""

from typing import Any

from pydantic import Field

from kdbench.record.canonical import Count, Frozen, fingerprint
from kdbench.record.protocol import Evaluation, TeacherProtocol, TrainingProtocol

PROTOCOL_VERSION = 1
"""Moves whenever the same question would give other weights or other metrics."""

_OF_ROWS = {"method", "hyperparameters", "quiz", "seed"}
"""What differs within a table of a board."""


class Question(Frozen):
    """All that decides a trial's weights and metrics; two equal questions have one answer.

    Attributes:
        dataset: Spec of the data set; a user's own by name and content hash, never by path.
        teacher, student: Canonical specs.
        teacher_protocol: None where the teacher's weights were given.
        method: Name of the method.
        hyperparameters: All of them, defaults filled in.
        protocol: The student's training protocol.
        quiz: Share of the transfer set that the cohort's stream leaves out as the quiz split.
        evaluation: On what is measured.
        seed: From which init, order, augmentation and method randomness derive, by name.
    """

    dataset: str
    teacher: str
    student: str
    teacher_protocol: TeacherProtocol | None
    method: str
    hyperparameters: dict[str, Any]
    protocol: TrainingProtocol
    quiz: float = Field(0.0, ge=0, lt=1)
    evaluation: Evaluation
    seed: Count
    protocol_version: int = PROTOCOL_VERSION

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the question, hex."""
        return fingerprint(self.model_dump(mode="json"))

    @property
    def cell(self) -> str:
        """Fingerprint of the question without its seed, shared by trials that differ only in it."""
        return fingerprint(self.model_dump(mode="json", exclude={"seed"}))

    @property
    def table(self) -> str:
        """Fingerprint of what all rows of a table share: data, pair, protocols and evaluation."""
        return fingerprint(self.model_dump(mode="json", exclude=_OF_ROWS))

    @property
    def full(self) -> bool:
        """Whether student and teacher spend their whole budgets."""
        return self.protocol.full and (self.teacher_protocol is None or self.teacher_protocol.full)
