"""What a method may size its extra weights by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Int
from torch import Tensor, nn

from kdbench.api.outputs import Batch, Outputs
from kdbench.errors import ContractError


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
        model: Takes images in [0, 1]; `model(images, Maps(hints=True))` gives `Outputs`.
        pooled_dim: Width of `Outputs.pooled`.
        hints: One entry for each of `Outputs.hints`; `Outputs.preacts` have the same shapes.
        norms: For each of them the norm that makes the preact, or None where there is no such one.
        classifier: From pooled to logits, or None where it is not one linear layer.
        class_map: Shape of the map whose mean over places is pooled, or None where there is no such
            map; then there are no `Outputs.class_maps`.
    """

    model: nn.Module
    pooled_dim: int
    hints: tuple[Hint, ...]
    norms: tuple[nn.Module | None, ...] = ()
    classifier: nn.Linear | None = None
    class_map: Hint | None = None


def _no_builder(role: str) -> nn.Module:
    raise ContractError(
        f"setup.build({role!r}) has no networks to build from",
        "this Setup was built by hand",
        "pass build=",
    )


def _no_passes(split: str) -> Iterator[tuple[Outputs, Batch]]:
    raise ContractError(
        f"setup.teacher_passes({split!r}) has no data",
        "this Setup was built by hand",
        "pass teacher_passes=",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a method may size its extra weights by.

    Attributes:
        student, teacher: The two networks.
        num_classes: Number of classes.
        num_train: Rows of the transfer set that batches are drawn from; `Batch.index` is below it.
        targets: Class of each of these rows, 0 of those that joined without a label; None where all
            labels are hidden, and in a Setup built by hand.
        class_tree: Coarse label of each class, or None.
        build: `build("student")` gives a further, freshly initialised network of that role.
        teacher_passes: `teacher_passes("transfer")` yields the teacher's (Outputs, Batch) on
            unaugmented rows.
    """

    student: Port
    teacher: Port
    num_classes: int
    num_train: int
    targets: Int[Tensor, " rows"] | None = None
    class_tree: tuple[int, ...] | None = None
    build: Callable[[str], nn.Module] = field(default=_no_builder)
    teacher_passes: Callable[[str], Iterator[tuple[Outputs, Batch]]] = field(default=_no_passes)
