"""What networks said about a batch, and the batch itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdbench.api.needs import Maps
from kdbench.errors import ContractError


class _Undeclared(tuple[Tensor, ...]):
    """Stands for maps that the method's `needs()` did not ask for; any use of it is an error."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise ContractError(
            "the method reads maps that it did not declare",
            "the host computes only what needs() declares",
            "return Needs(hints=True), preacts=True or class_maps=True from needs()",
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
        preacts: The hints before their last activation; a hint that is not activated is its own, or
            what the next activation reads, if that is but a norm away.
        class_maps: One map: the classifier at every place of the map that is pooled; its mean over
            places is the logits.
        second: What the network said about the second view, from a forward pass of its own.
    """

    logits: Float[Tensor, "batch classes"]
    pooled: Float[Tensor, "batch dim"]
    hints: tuple[Float[Tensor, "batch channels height width"], ...] = UNDECLARED
    preacts: tuple[Float[Tensor, "batch channels height width"], ...] = UNDECLARED
    class_maps: tuple[Float[Tensor, "batch classes height width"], ...] = UNDECLARED
    second: "Outputs | None" = None

    def detach(self) -> "Outputs":
        """The same values without their graph."""
        return self.map(Tensor.detach)

    def float(self) -> "Outputs":
        """The same values in float32."""
        return self if self.logits.dtype == torch.float32 else self.map(Tensor.float)

    def only(self, maps: Maps) -> "Outputs":
        """The same values without the maps that `maps` does not name."""
        return replace(
            self,
            hints=self.hints if maps.hints else UNDECLARED,
            preacts=self.preacts if maps.preacts else UNDECLARED,
            class_maps=self.class_maps if maps.class_maps else UNDECLARED,
            second=None if self.second is None else self.second.only(maps),
        )

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, of the second view too."""
        yield from (self.logits, self.pooled)
        for maps in (self.hints, self.preacts, self.class_maps):
            yield from () if maps is UNDECLARED else maps
        if self.second is not None:
            yield from self.second.tensors()

    def map(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        """The same with every tensor changed, of the second view too."""

        def each(maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return maps if maps is UNDECLARED else tuple(change(one) for one in maps)

        return Outputs(
            logits=change(self.logits),
            pooled=change(self.pooled),
            hints=each(self.hints),
            preacts=each(self.preacts),
            class_maps=each(self.class_maps),
            second=None if self.second is None else self.second.map(change),
        )


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
        second: The second view of the same rows, where the method needs one.
    """

    inputs: Float[Tensor, "batch channels height width"]
    target: Int[Tensor, " batch"]
    labelled: Bool[Tensor, " batch"]
    index: Int[Tensor, " batch"]
    progress: Float[Tensor, ""]
    stage: int = 0
    second: Float[Tensor, "batch channels height width"] | None = None
