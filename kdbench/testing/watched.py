"""The training loop as a method's `step` sees it, keeping what the step did."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from kdbench.api import Batch, Losses, Outputs
from kdbench.train import Runner
from kdbench.train.contract import total_loss


class Watched:
    """The loop of one runner, as a method's `step` sees it; keeps what is asked of it.

    Attributes:
        batch: What the step is called with.
        losses: All terms whose gradients were asked for, with their graph.
        found: Gradients of student and state, a row for every time they were asked for.
        returned: What the step gave.
    """

    def __init__(
        self,
        runner: Runner,
        batch: Batch,
        outputs: Callable[[Outputs], Outputs],
        teacher: Callable[[Outputs], Outputs],
    ) -> None:
        self._runner, self._outputs, self._teacher = runner, outputs, teacher
        self.batch = batch
        self._said: Outputs | None = None
        self._taught: Outputs | None = None
        self.losses: dict[str, Tensor] = {}
        self.found: list[Sequence[Tensor | None]] = []
        self.returned: Losses = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the loop has
        return getattr(self._runner, name)

    @property
    def heard(self) -> tuple[Outputs, Outputs] | None:
        """What student and teacher said last, or None."""
        return (self._said, self._taught) if self._said and self._taught else None

    @property
    def total(self) -> Tensor:
        """The sum of all terms."""
        return total_loss(self.losses)

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        """As the loop's, but for the changes that were asked for."""
        teacher = self.ask_teacher(batch)
        return self.ask_student(batch), teacher

    def ask_student(self, batch: Batch) -> Outputs:
        """As the loop's, but for the changes that were asked for."""
        self._said = self._outputs(self._runner.ask_student(batch))
        return self._said

    def ask_teacher(self, batch: Batch) -> Outputs:
        """As the loop's, but for the changes that were asked for."""
        self._taught = self._teacher(self._runner.ask_teacher(batch))
        return self._taught

    def gradients(self, losses: Losses, *, keep_graph: bool = False) -> Sequence[Tensor | None]:
        """As the loop's; the graph is kept."""
        found = self._runner.gradients(losses, keep_graph=True)
        self.losses |= losses
        self.found.append(found)
        return found

    def descend(self, losses: Losses) -> Losses:
        """As the loop's."""
        self._runner.update(self.gradients(losses))
        return losses
