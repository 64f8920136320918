"""All that a plugin author imports: a method is a frozen dataclass of hyperparameters with pure functions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn, Protocol, TypeAlias

import numpy as np
import pluggy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kdbench.errors import ContractError, Unsupported
from kdbench.record import TrainingProtocol

__all__ = [
    "Batch", "ContractError", "DataSet", "Hint", "Loop", "Losses", "Method", "Needs", "Outputs", "Port", "Rows",
    "Setup", "Stage", "TrainingProtocol", "Unsupported", "hookimpl",
]  # fmt: skip

hookimpl = pluggy.HookimplMarker("kdbench")

Losses: TypeAlias = Mapping[str, Float[Tensor, ""]]
"""Weighted scalar terms by name; their sum is descended, each is recorded. `hard` is the labels' cross-entropy."""


class _Undeclared(tuple[Tensor, ...]):
    """Stands for a field that the method did not declare in `needs()`; any use of it is an error."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise ContractError(
            "the method reads hints that it did not declare",
            "the host computes only what needs() declares",
            "return Needs(hints=True) from needs()",
        )

    __iter__ = __len__ = __getitem__ = __eq__ = __hash__ = _refuse  # type: ignore[assignment]  # all refuse alike


UNDECLARED = _Undeclared()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What one network said about one batch.

    Attributes:
        logits: Unnormalised class scores, never probabilities.
        pooled: Exactly the classifier's input.
        hints: Feature maps, one a stride, shallow to deep, aligned between teacher and student.
    """

    logits: Float[Tensor, "batch classes"]
    pooled: Float[Tensor, "batch dim"]
    hints: tuple[Float[Tensor, "batch channels height width"], ...] = UNDECLARED

    def detach(self) -> "Outputs":
        """The same values without their graph."""
        return self._map(Tensor.detach)

    def float(self) -> "Outputs":
        """The same values in float32."""
        return self if self.logits.dtype == torch.float32 else self._map(Tensor.float)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        hints = self.hints if self.hints is UNDECLARED else tuple(change(hint) for hint in self.hints)
        return Outputs(logits=change(self.logits), pooled=change(self.pooled), hints=hints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch of the transfer set, as both networks see it.

    Attributes:
        inputs: Images in [0, 1]; networks normalise for themselves.
        target: Class of each row.
        labelled: False where a row has no label.
        index: Row in the transfer set, -1 for a synthesised one.
        progress: Share of the budget spent, in [0, 1), on the device.
        stage: Index into the method's `stages()`.
    """

    inputs: Float[Tensor, "batch channels height width"]
    target: Int[Tensor, " batch"]
    labelled: Bool[Tensor, " batch"]
    index: Int[Tensor, " batch"]
    progress: Float[Tensor, ""]
    stage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a method asks of the host; the planner reads it before anything is trained.

    Attributes:
        hints: Feature maps of both networks.
        teacher: "shared" is frozen and paid once for all methods of a cohort; "private" is a trainable copy for
            this trial alone; "none" leaves the teacher out.
        quiz: Share of the transfer set held out as the quiz split, in [0, 1); it changes the stream of batches.
    """

    hints: bool = False
    teacher: Literal["shared", "private", "none"] = "shared"
    quiz: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A share of the budget and the teacher anchor that teaches in it.

    Attributes:
        share: Part of the budget, in (0, 1]; the shares of a method sum to 1.
        anchor: Which checkpoint of the teacher teaches, as a share of the teacher's own training, in (0, 1].
        loss: Name of the method's function that gives this stage's losses.
        trains: "all", or "state" for the method's extra weights alone.
        schedule: "continue" the learning-rate schedule, or "restart" it (and the momentum) for this stage.
    """

    share: float = 1.0
    anchor: float = 1.0
    loss: str = "loss"
    trains: Literal["all", "state"] = "all"
    schedule: Literal["continue", "restart"] = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Shape of one feature map, and where it comes from.

    Attributes:
        channels, height, width: Shape without the batch.
        stride: Input pixels a map's pixel.
        kind: "map" of a convolutional stage, or "tokens" laid out as a map, class token left out.
    """

    channels: int
    height: int
    width: int
    stride: int
    kind: Literal["map", "tokens"] = "map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One network as a method's `init` sees it.

    Attributes:
        model: Takes images in [0, 1]; `model(images, hints=True)` gives `Outputs`.
        pooled_dim: Width of `Outputs.pooled`.
        hints: One entry for each of `Outputs.hints`.
    """

    model: nn.Module
    pooled_dim: int
    hints: tuple[Hint, ...]


def _no_builder(role: str) -> nn.Module:
    raise ContractError(f"setup.build({role!r}) has no networks to build from", "this Setup was built by hand", "pass build=")


def _no_passes(split: str) -> Iterator[tuple[Outputs, Batch]]:
    raise ContractError(f"setup.teacher_passes({split!r}) has no data", "this Setup was built by hand", "pass teacher_passes=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a method may size its extra weights by.

    Attributes:
        student, teacher: The two networks.
        num_classes: Number of classes.
        num_train: Rows of the transfer set.
        class_tree: Coarse label of each class, or None.
        build: `build("student")` gives a further, freshly initialised network of that role.
        teacher_passes: `teacher_passes("transfer")` yields the teacher's (Outputs, Batch) on unaugmented rows.
    """

    student: Port
    teacher: Port
    num_classes: int
    num_train: int
    class_tree: tuple[int, ...] | None = None
    build: Callable[[str], nn.Module] = field(default=_no_builder)
    teacher_passes: Callable[[str], Iterator[tuple[Outputs, Batch]]] = field(default=_no_passes)


class Loop(Protocol):
    """The training loop as a method's `step` sees it; exactly one student update a step.

    Attributes:
        student: `student(images)` gives `Outputs`; use with `torch.func.functional_call` for a virtual step.
        teacher: The private teacher where `Needs(teacher="private")`, else the shared frozen one.
        progress: Share of the budget spent, in [0, 1), on the host.
        decay: The schedule's learning rate as a factor of the protocol's, in [0, 1].
    """

    student: nn.Module
    teacher: nn.Module
    progress: float
    decay: float

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        """Student (with a graph) and teacher (without one) on `batch`."""

    def gradients(self, losses: Losses) -> Sequence[Tensor | None]:
        """Gradients of the summed losses, one for each weight of student and state."""

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

    paper: ClassVar[str] = ""
    """arXiv number or DOI of the source."""

    def needs(self) -> Needs:
        """What the host must give."""
        return Needs()

    def stages(self) -> tuple[Stage, ...]:
        """Shares of the one budget, in order."""
        return (Stage(),)

    def init(self, setup: Setup) -> Any:  # noqa: ANN401 - each method has its own state
        """None, a Module (joins the student's optimizer), or a tree of Modules, tensors and optimizers."""
        return None

    @abstractmethod
    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:  # noqa: ANN401
        """Weighted scalar terms of one batch."""

    def step(self, loop: Loop, batch: Batch, state: Any) -> Losses:  # noqa: ANN401
        """One step of training; override to take it over."""
        student, teacher = loop.forward(batch)
        losses = getattr(self, self.stages()[batch.stage].loss)(student, teacher, batch, state)
        return loop.descend(losses)

    def optimizer(self, parameters: Sequence[nn.Parameter], protocol: TrainingProtocol) -> torch.optim.Optimizer | None:
        """Another optimizer for student and state, or None for the protocol's."""
        return None

    def deploy(self, student: nn.Module, state: Any) -> nn.Module:  # noqa: ANN401
        """What is measured and exported: images in [0, 1] to logits or `Outputs`."""
        return student


class Rows(ABC):
    """One split of a data set, not yet decoded.

    Attributes:
        labels: Class of every row.
        digest: Hash of the content (or of the published file), hex.
    """

    labels: Int[np.ndarray, " rows"]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def images(self, rows: Sequence[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Decoded pixels of these rows, uint8, rows x height x width x channels."""


class DataSet(ABC):
    """Base of all data sets: a frozen dataclass of facts, `prepare` and `load`.

    Attributes:
        num_classes: Number of classes.
        image_shape: Channels, height, width.
        sizes: Rows of each split, "train" and "test".
        mean, std: Of the training pixels in [0, 1], a channel each.
        flips: Whether a mirrored image keeps its class.
        class_names: Name of each class.
        class_tree: Coarse label of each class, or None.
        licence, source: Terms of use and where it comes from.
    """

    num_classes: int
    image_shape: tuple[int, int, int]
    sizes: Mapping[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: bool
    class_names: tuple[str, ...]
    class_tree: tuple[int, ...] | None
    licence: str
    source: str

    def prepare(self, root: str) -> None:
        """Bring the data under `root`; idempotent, and the only place that may use the network."""

    @abstractmethod
    def load(self, root: str, split: Literal["train", "test"]) -> Rows:
        """The rows of one split; never uses the network."""
