"""How networks are trained, and on what they are measured."""

from typing import Any, Literal, TypeAlias

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from kdbench.record.canonical import Frozen

Probe: TypeAlias = Literal["seen", "control", "hints", "classes"]
"""What is measured of a student only where it is asked for."""

_LATER: dict[str, Any] = {
    "compile": "off", "answers": "float32", "method": "", "first": 0, "transfer": "", "start": None,
    "alone": "", "anchor": 1.0,
}  # fmt: skip
"""Choices that older questions did not have, at their defaults."""


class Start(Frozen):
    """A student's weights before its first step: share x the teacher's + (1 - share) x random ones.

    Attributes:
        share: Of the teacher's weights and buffers, in (0, 1].
        of: Which: the "converged" ones that teach, or the "initial" ones from before its training.
        statistics: Of batch norms: "mixed" like the weights, or "estimated" anew by one pass over
            the transfer set.
    """

    share: float = Field(1.0, gt=0, le=1)
    of: Literal["converged", "initial"] = "converged"
    statistics: Literal["mixed", "estimated"] = "mixed"


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
        rows: So many rows of the training split, from `first` on, or all.
        shift: Zero padding in pixels of the random crop; 0 for none.
        flip: Mirror at random.
        precision: Of forward and backward pass.
        compile: Whether the student's pass is compiled, which moves results within rounding.
        answers: In which precision a teacher's answers are kept; students learn from what is kept.
        first: Number of the first of the rows.
        transfer: Spec of what else is done to the rows that are learnt from, all options spelled
            out; see `kdbench.api.Transfer`. Several, in order, are joined by `+`.
        start: Where the network starts; None for the random weights that timm gives it.
    """

    epochs: float = Field(gt=0, le=1e6)
    budget: float = Field(1.0, gt=0, le=1)
    steps: int | None = Field(None, gt=0, lt=2**63)
    batch_size: int = Field(gt=0, lt=2**63)
    last_batch: Literal["keep", "drop"] = "keep"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(gt=0, le=1e100)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0, le=1e100)
    schedule: Literal["multistep", "cosine"] = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = Field(0.1, gt=0, le=1)
    warmup: float = Field(0.0, ge=0, lt=1)
    rows: int | None = Field(None, gt=0, lt=2**63)
    shift: int = Field(0, ge=0, lt=2**63)
    flip: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: Literal["off", "on"] = "off"
    answers: Literal["float32", "float16"] = "float32"
    first: int = Field(0, ge=0, lt=2**63)
    transfer: str = ""
    start: Start | None = None

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
        return {k: v for k, v in found.items() if k not in _LATER or v != _LATER[k]}

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
        method: By which a teacher learns that has a teacher of its own.
        seed: One shared teacher, or "trial" for one a trial seed.
        anchors: Checkpoints kept along the way, equally spaced shares of the training, the last at
            1.
        alone: By which a teacher learns that has none of its own; "" for cross-entropy.
        anchor: Share of the training at which it is taken to teach: below 1 it is stopped early.
    """

    method: str = ""
    alone: str = ""
    anchor: float = Field(1.0, gt=0, le=1)
    seed: int | Literal["trial"] = 0
    anchors: int = Field(8, ge=1, le=1000)


class Evaluation(Frozen):
    """On what is measured.

    Attributes:
        split: "test"; or "validation", for choosing a protocol without touching the test split.
        validation_rows: Rows cut from the end of the training split, kept from teacher and student
            alike.
        curve: Points of the learning curve on the validation rows; 0 for none.
        probes: What else is measured. "seen": fidelity on the views of the last epoch, after
            training and as they were trained on. "control": agreement with an independent teacher.
            "hints": similarity of feature maps by depth. "classes": geometry of the class weights.
    """

    split: Literal["test", "validation"] = "test"
    validation_rows: int = Field(0, ge=0, lt=2**63)
    curve: int = Field(0, ge=0, lt=2**63)
    probes: tuple[Probe, ...] = ()

    @field_validator("probes")
    @classmethod
    def _sorted(cls, value: tuple[Probe, ...]) -> tuple[Probe, ...]:
        return tuple(sorted(set(value)))

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is said of probes that are not made: such questions keep their names."""
        found: dict[str, Any] = dump(self)
        return {k: v for k, v in found.items() if v or k != "probes"}

    @model_validator(mode="after")
    def _has_rows(self) -> "Evaluation":
        if not self.validation_rows and (self.curve or self.split == "validation"):
            raise ValueError(
                "validation_rows must be above 0 for a curve or for split = 'validation'"
            )
        return self
