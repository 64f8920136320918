"""The hooks, in the order in which the host calls them; each yields (name, object) pairs.

A plugin is a module under the entry-point group `kdbench`, or one file. None of these hooks runs
inside the training loop.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdbench.api import DataSet, Method, Transfer

hookspec = pluggy.HookspecMarker("kdbench")


@hookspec
def kdbench_models() -> "Iterator[tuple[str, Callable[..., nn.Module]]]":  # type: ignore[empty-body]  # a declaration
    """Networks, registered with timm on import: timm's name and its entry function."""


@hookspec
def kdbench_datasets() -> "Iterator[tuple[str, DataSet]]":  # type: ignore[empty-body]  # a declaration
    """Data sets: a name and a frozen dataclass of facts with `prepare` and `load`."""


@hookspec
def kdbench_transfers() -> "Iterator[tuple[str, Transfer]]":  # type: ignore[empty-body]  # a declaration
    """Transfer policies: a name and a frozen dataclass of options that says what students see."""


@hookspec
def kdbench_methods() -> "Iterator[tuple[str, Method]]":  # type: ignore[empty-body]  # a declaration
    """Methods: a name and a frozen dataclass of hyperparameters with the paper's defaults."""


@hookspec
def kdbench_metrics() -> "Iterator[tuple[str, Callable[[Tensor, Tensor | None, Tensor], float]]]":  # type: ignore[empty-body]  # a declaration
    """Metrics of stored logits: a name and a function of (logits, teacher, labels) to one number.

    Logits are float32, rows x classes, of the split that was measured; the teacher's are None for
    records made before these were kept; labels are int64. `kdbench metrics backfill` calls it.
    """
