"""The types of a question: what a trial was asked, as canonical JSON, and its fingerprint."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kdbench.errors import UsageError
from kdbench.record.spec import Spec

PROTOCOL_VERSION = 1
"""Moves whenever the same question would give other weights or other metrics."""


def canonical(value: Any) -> str:  # noqa: ANN401 - any JSON
    """The one JSON text of `value`: keys sorted, no spaces, shortest floats, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: Any) -> str:  # noqa: ANN401 - any JSON
    """SHA-256 of the canonical JSON, hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class Frozen(BaseModel):
    """Base of everything that is asked: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainingProtocol(Frozen):
    """How a network is trained.

    Attributes:
        epochs: Passes over the rows that the full protocol asks for.
        budget: Share of it that is spent, in (0, 1]; below 1 the trial is kept off the full board.
        steps: Number of updates instead of epochs x budget; such a trial is kept off the full
            board.
        batch_size: Rows a step.
        last_batch: Whether the ragged last batch of an epoch is kept; a remainder of 1 never is.
        optimizer: SGD with momentum, or AdamW.
        learning_rate: Peak of the schedule.
        schedule: "multistep" multiplies by `gamma` at each of `milestones` (shares of the budget);
            "cosine" ends at 0.
        warmup: Share of the budget over which the learning rate rises linearly from 0.
        rows: The first so many rows of the training split, or all.
        shift: Zero padding in pixels of the random crop; 0 for none.
        flip: Mirror at random.
        precision: Of forward and backward pass.
    """

    epochs: float = Field(gt=0, le=1e6)
    budget: float = Field(1.0, gt=0, le=1)
    steps: int | None = Field(None, gt=0)
    batch_size: int = Field(gt=0)
    last_batch: Literal["keep", "drop"] = "keep"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["multistep", "cosine"] = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = Field(0.1, gt=0, le=1)
    warmup: float = Field(0.0, ge=0, lt=1)
    rows: int | None = Field(None, gt=0)
    shift: int = Field(0, ge=0)
    flip: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(value) or any(not 0 < share < 1 for share in value):
            raise ValueError("milestones are rising shares of the budget, in (0, 1)")
        return value

    @model_validator(mode="after")
    def _trainable(self) -> "TrainingProtocol":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum")
        return self

    @property
    def full(self) -> bool:
        """Whether the whole budget is spent."""
        return self.budget == 1 and self.steps is None

    def steps_per_epoch(self, rows: int) -> int:
        """Updates an epoch over `rows` rows."""
        whole, rest = divmod(rows, self.batch_size)
        return whole + (rest > 1 and (self.last_batch == "keep" or not whole))

    def total_steps(self, rows: int) -> int:
        """Updates of the whole training over `rows` rows, at least 1."""
        return self.steps or max(1, round(self.epochs * self.budget * self.steps_per_epoch(rows)))


class TeacherProtocol(TrainingProtocol):
    """How the teacher is trained, by cross-entropy, and from which seed.

    Attributes:
        seed: One shared teacher, or "trial" for one a trial seed.
        anchors: Checkpoints kept along the way, equally spaced shares of the training, the last at
            1.
    """

    seed: int | Literal["trial"] = 0
    anchors: int = Field(8, ge=1, le=1000)


class Evaluation(Frozen):
    """On what is measured.

    Attributes:
        split: "test"; or "validation", for choosing a protocol without touching the test split.
        validation_rows: Rows cut from the end of the training split, kept from teacher and student
            alike.
        curve: Points of the learning curve on the validation rows; 0 for none.
    """

    split: Literal["test", "validation"] = "test"
    validation_rows: int = Field(0, ge=0)
    curve: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_rows(self) -> "Evaluation":
        if not self.validation_rows and (self.curve or self.split == "validation"):
            raise ValueError(
                "validation_rows must be above 0 for a curve or for split = 'validation'"
            )
        return self


_SCHEME = r"(?:hf-hub:|hf_hub:|local-dir:)?"
_PAIR = re.compile(
    rf"(?P<teacher>(?:[1-9]\d*\*)?{_SCHEME}[^:\[\]]+(?:\[[^\]]*\])?):(?P<student>{_SCHEME}[^:\[\]]+(?:\[[^\]]*\])?)"
)


@dataclass(frozen=True, slots=True, order=True)
class Recipe:
    """How a teacher comes about: `size` members of one network, trained from consecutive seeds.

    Example:
        >>> Recipe.parse("3*resnet56").size
        3
    """

    network: Spec
    size: int = 1

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """The recipe that `text` writes: a network, or a number of members times a network."""
        head, bracket, options = text.strip().partition("[")
        size, star, name = head.rpartition("*")
        if star and (not size.isdigit() or not 1 <= int(size) <= 100):
            raise UsageError(
                f"{text!r} is not a teacher recipe",
                "expected NETWORK or 3*NETWORK, at most 100 members",
            )
        return cls(Spec.parse(name + bracket + options), int(size) if star else 1)

    def __str__(self) -> str:
        return f"{self.size}*{self.network}" if self.size > 1 else str(self.network)


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Teacher and student, written `resnet32x4:resnet8x4`.

    Example:
        >>> str(Pair.parse("resnet56:resnet8[width=0.5]").student)
        'resnet8[width=0.5]'
    """

    teacher: Recipe
    student: Spec

    @classmethod
    def parse(cls, text: str) -> "Pair":
        """The pair that `text` writes."""
        match = _PAIR.fullmatch(text.strip())
        if not match:
            raise UsageError(
                f"{text!r} is not a pair",
                "expected TEACHER:STUDENT",
                "for example resnet56:resnet20",
            )
        return cls(Recipe.parse(match["teacher"]), Spec.parse(match["student"]))

    def __str__(self) -> str:
        return f"{self.teacher}:{self.student}"


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
    seed: int = Field(ge=0)
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
    def full(self) -> bool:
        """Whether student and teacher spend their whole budgets."""
        return self.protocol.full and (self.teacher_protocol is None or self.teacher_protocol.full)
