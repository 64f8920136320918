"""The base of all methods, and the loop that a method may take over."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api.needs import Needs, Stage
from kdbench.api.outputs import Batch, Outputs
from kdbench.api.paper import Paper
from kdbench.api.setup import Setup
from kdbench.record import TrainingProtocol

Family: TypeAlias = Literal["baseline", "logits", "features", "relations", "function", "teacher"]

Losses: TypeAlias = Mapping[str, Float[Tensor, ""]]
"""Weighted scalar terms by name; their sum is descended. `hard` is the labels' cross-entropy."""


class Loop(Protocol):
    """The training loop as a method's `step` sees it; exactly one student update a step.

    Attributes:
        student: `student(images)` gives `Outputs`; use with `torch.func.functional_call` for a
            virtual step.
    """

    student: nn.Module

    @property
    def teacher(self) -> nn.Module:
        """The private teacher; an error without `Needs(teacher="private")`."""

    @property
    def progress(self) -> float:
        """Share of the budget spent, in [0, 1), on the host."""

    @property
    def decay(self) -> float:
        """The schedule's learning rate as a factor of the protocol's, in [0, 1]."""

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        """Student (with a graph) and teacher (without one) on `batch`."""

    def ask_student(self, batch: Batch) -> Outputs:
        """The student alone."""

    def ask_teacher(self, batch: Batch) -> Outputs:
        """The teacher alone."""

    def gradients(self, losses: Losses, *, keep_graph: bool = False) -> Sequence[Tensor | None]:
        """Gradients of the summed losses, one for each weight of student and state.

        `keep_graph` leaves the graph for another call.
        """

    def update(self, gradients: Sequence[Tensor | None]) -> None:
        """The one step of the student's optimizer."""

    def descend(self, losses: Losses) -> Losses:
        """`gradients` and `update` together; gives back the losses, to be recorded."""

    def quiz_batch(self) -> Batch:
        """The next batch of the quiz split, unaugmented."""

    def teacher_update(self, gradients: Sequence[Tensor | None], learning_rate: float) -> None:
        """One step of the private teacher: SGD with the protocol's momentum and weight decay."""


class Method(ABC):
    """Base of all methods: override `loss`, and of the other rungs only those the method needs."""

    family: ClassVar[Family | None] = None
    """What is matched: logits, features, relations between rows, or the whole function; "teacher"
    where the teacher's side is what is new, "baseline" where nothing is matched."""

    paper: ClassVar[Paper | None] = None
    """The source."""

    extra: ClassVar[str] = ""
    """Weights that are trained beside the student and thrown away, in words; empty for none."""

    def needs(self) -> Needs:
        """What the host must give."""
        return Needs()

    def stages(self) -> tuple[Stage, ...]:
        """Shares of the one budget, in order."""
        return (Stage(),)

    def init(self, setup: Setup) -> Any:  # noqa: ANN401 - each method has its own state
        """The state: None, a Module, or a tree of Modules, tensors and optimizers.

        A Module's weights join the student's optimizer.
        """
        return None

    @abstractmethod
    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:  # noqa: ANN401 - as for init
        """Weighted scalar terms of one batch."""

    def step(self, loop: Loop, batch: Batch, state: Any) -> Losses:  # noqa: ANN401 - as for init
        """One step of training; override to take it over."""
        student, teacher = loop.forward(batch)
        losses = getattr(self, self.stages()[batch.stage].loss)(student, teacher, batch, state)
        return loop.descend(losses)

    def optimizer(
        self, parameters: Sequence[nn.Parameter], protocol: TrainingProtocol
    ) -> torch.optim.Optimizer | None:
        """Another optimizer for student and state, or None for the protocol's.

        The host sets the learning rate of all its groups to the schedule's, before every step.
        """
        return None

    def deploy(self, student: nn.Module, state: Any) -> nn.Module:  # noqa: ANN401 - as for init
        """What is measured and exported: images in [0, 1] to logits or `Outputs`."""
        return student
