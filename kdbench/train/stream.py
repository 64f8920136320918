"""One stream of batches for all methods, each with what the shared teacher says of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from kdbench.api import Batch, Outputs, Seen
from kdbench.data import Views, strengthened
from kdbench.record import TrainingProtocol


@dataclass(frozen=True, slots=True)
class Asked:
    """What the shared teacher is asked.

    Attributes:
        anchor: Share of its training.
        statistics: Whose its batch norms use, "running" or the "batch"'s.
        images: In [0, 1].
        rows, epoch, second: Of which rows, and drawn when, these are the first or second views.
    """

    anchor: float
    statistics: str
    images: Tensor
    rows: Tensor
    epoch: int
    second: bool


Teach: TypeAlias = Callable[[Asked], Outputs]
"""The shared teacher."""


def nobody(asked: Asked) -> Outputs:
    """The teacher of who has none.

    Raises:
        AssertionError: It was asked.
    """
    raise AssertionError("there is no teacher to ask")


class Step:
    """One batch of the stream, and what the shared teacher says of it when first asked.

    Args:
        views: The stream's rows.
        rows: Those of this batch.
        epoch: From which the views are drawn.
        progress: Share of the budget spent.
        teach: The shared teacher.
    """

    def __init__(
        self, views: Views, rows: Tensor, epoch: int, progress: float, teach: Teach
    ) -> None:
        self._views, self._rows, self._epoch, self._teach = views, rows, epoch, teach
        self.batch = batch = _batch(views, rows, views.seen(rows, epoch), progress)
        self._answers: dict[tuple[float, str, bool], Outputs] = {}
        self._born: list[tuple[Tensor, int, Tensor]] = []
        self._keep(batch.inputs, batch.target, batch.labelled, batch.index, batch.progress)

    @cached_property
    def second(self) -> Tensor:
        """The second view of the batch's rows, images in [0, 1]."""
        images = strengthened(self.batch.inputs, self._rows, self._views.seed, self._epoch)
        self._keep(images)
        return images

    def seen(self, stage: int, second: bool) -> Batch:
        """The batch as one method sees it."""
        return replace(self.batch, stage=stage, second=self.second if second else None)

    def teacher(self, anchor: float, statistics: str, second: bool) -> Outputs:
        """The shared teacher's outputs at this anchor of its training, of the second view too."""
        said = self._answer(anchor, statistics, False)
        if not second:
            return said
        return replace(said, second=self._answer(anchor, statistics, True))

    @property
    def written(self) -> bool:
        """Whether somebody wrote into what is shared."""
        return any(
            tensor._version != version or tensor.requires_grad  # torch's own counter
            for tensor, version, _ in self._born
        )

    def differs(self) -> Tensor:
        """Whether a bit of what is shared is another one, as no counter tells of all writes; a
        scalar on the device, for which nobody waits.
        """
        pairs = [(bits(tensor), copy) for tensor, _, copy in self._born]
        if self.batch.inputs.device.type == "cpu":
            return torch.tensor(not all(torch.equal(now, copy) for now, copy in pairs))
        return torch.stack([(now != copy).any() for now, copy in pairs]).any()

    def _answer(self, anchor: float, statistics: str, second: bool) -> Outputs:
        key = (anchor, statistics, second)
        if key not in self._answers:
            images = self.second if second else self.batch.inputs
            asked = Asked(anchor, statistics, images, self._rows, self._epoch, second)
            self._answers[key] = self._teach(asked)
            self._keep(*self._answers[key].tensors())
        return self._answers[key]

    def _keep(self, *tensors: Tensor) -> None:
        self._born += [(tensor, tensor._version, bits(tensor).clone()) for tensor in tensors]


def bits(tensor: Tensor) -> Tensor:
    """The same memory as integers, which are equal exactly where all bits are."""
    return tensor.detach().view(_INTEGERS[tensor.itemsize])


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def make_batch(views: Views, rows: Tensor, images: Tensor, progress: float) -> Batch:
    """A Batch of these rows by these images, as no policy has changed them."""
    return _batch(views, rows, views.unchanged(rows, images), progress)


def _batch(views: Views, rows: Tensor, seen: Seen, progress: float) -> Batch:
    return Batch(
        inputs=seen.images, target=views.labels[rows], labelled=seen.labelled, index=seen.index,
        progress=torch.full((), progress, device=seen.images.device),
    )  # fmt: skip


def last_epoch(rows: int, protocol: TrainingProtocol, total: int) -> int:
    """The step that the last epoch begins with; where `total` ends within it, a part is seen."""
    each = protocol.steps_per_epoch(rows)
    return (total - 1) // each * each


def stream(
    views: Views, protocol: TrainingProtocol, total: int, first: int = 0
) -> Iterator[tuple[int, int, Tensor]]:
    """Epoch, step and rows of each batch from step `first` on, the same for every method."""
    each = protocol.steps_per_epoch(len(views))
    epoch, order = -1, torch.empty(0, dtype=torch.int64)
    for step in range(first, total):
        if step // each != epoch:
            epoch, order = step // each, views.order(step // each)
        start = step % each * protocol.batch_size
        yield epoch, step, order[start : start + protocol.batch_size]
