"""One stream of batches for all methods, each with what the shared teacher says of it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kdbench.api import Batch, Outputs
from kdbench.data import Views
from kdbench.record import TrainingProtocol


class Step:
    """One batch of the stream, and what the shared teacher says of it when first asked.

    Args:
        batch: As all methods see it.
        teach: The shared teacher at an anchor, on images in [0, 1].
    """

    def __init__(self, batch: Batch, teach: Callable[[float, Tensor], Outputs]) -> None:
        self.batch, self._teach = batch, teach
        self._answers: dict[float, Outputs] = {}
        self._born: list[tuple[Tensor, int]] = []
        self._keep(batch.inputs, batch.target, batch.labelled, batch.index, batch.progress)

    def teacher(self, anchor: float) -> Outputs:
        """The shared teacher's outputs at this anchor of its training."""
        if anchor not in self._answers:
            outputs = self._answers[anchor] = self._teach(anchor, self.batch.inputs)
            hints = outputs.hints if type(outputs.hints) is tuple else ()
            self._keep(outputs.logits, outputs.pooled, *hints)
        return self._answers[anchor]

    @property
    def written(self) -> bool:
        """Whether somebody wrote into what is shared."""
        return any(
            tensor._version != version or tensor.requires_grad  # torch's own counter
            for tensor, version in self._born
        )

    def _keep(self, *tensors: Tensor) -> None:
        self._born += [(tensor, tensor._version) for tensor in tensors]


def make_batch(views: Views, rows: Tensor, images: Tensor, progress: float) -> Batch:
    """A Batch of these rows."""
    target = views.labels[rows]
    return Batch(
        inputs=images, target=target, labelled=torch.ones_like(target, dtype=torch.bool),
        index=rows.clone(), progress=torch.tensor(progress, device=images.device),
    )  # fmt: skip


def stream(
    views: Views, protocol: TrainingProtocol, total: int
) -> Iterator[tuple[int, int, Tensor]]:
    """Epoch, step and rows of each batch of the budget, the same for every method of a cohort."""
    each = protocol.steps_per_epoch(len(views))
    epoch, order = -1, torch.empty(0, dtype=torch.int64)
    for step in range(total):
        if step // each != epoch:
            epoch, order = step // each, views.order(step // each)
        start = step % each * protocol.batch_size
        yield epoch, step, order[start : start + protocol.batch_size]
