"""What networks said about a batch, and the batch itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdbench.errors import ContractError


class _Undeclared(tuple[Tensor, ...]):
    """Stands for a field that the method's `needs()` did not ask for; any use of it is an error."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise ContractError(
            "the method reads hints that it did not declare",
            "the host computes only what needs() declares",
            "return Needs(hints=True) from needs()",
        )

    __iter__ = __len__ = __getitem__ = __eq__ = __hash__ = _refuse


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
        hints = self.hints
        if hints is not UNDECLARED:
            hints = tuple(change(hint) for hint in hints)
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
