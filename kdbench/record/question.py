"""The types of a question: what a trial was asked, as canonical JSON, and its fingerprint."""

import hashlib
import json
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

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
        compile: Whether the student's pass is compiled, which moves results within rounding.
        answers: In which precision a teacher's answers are kept; students learn from what is kept.
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
    compile: Literal["off", "on"] = "off"
    answers: Literal["float32", "float16"] = "float32"

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

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is said of later choices that are not made: such questions keep their names."""
        found: dict[str, Any] = dump(self)
        later = {"compile": "off", "answers": "float32", "method": ""}
        return {k: v for k, v in found.items() if k not in later or v != later[k]}

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
    """How the teacher is trained, and from which seed.

    Attributes:
        method: By which a teacher learns that has a teacher of its own; all others learn by
            cross-entropy.
        seed: One shared teacher, or "trial" for one a trial seed.
        anchors: Checkpoints kept along the way, equally spaced shares of the training, the last at
            1.
    """

    method: str = ""
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
