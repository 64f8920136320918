"""The loop as a step that is recorded sees it."""

from collections.abc import Sequence
from typing import NoReturn

from torch import Tensor, nn

from kdbench.api import Batch, Losses, Outputs
from kdbench.train.runner import Runner


class Uncapturable(Exception):
    """A recording would freeze what the host decides anew at every step."""


class Still:
    """The loop of a step that is recorded: what a recording would freeze is refused.

    Args:
        runner: Whose step it is.
        batch: In buffers.
        said: By the shared teacher of it, in buffers; None where the teacher is private.
    """

    def __init__(self, runner: Runner, batch: Batch, said: Outputs | None) -> None:
        self._runner, self._batch, self._said = runner, batch, said
        self.student: nn.Module = runner.student

    def __getattr__(self, name: str) -> NoReturn:
        raise Uncapturable(f"the method's step asks the host for {name}")

    @property
    def teacher(self) -> nn.Module:
        """The private teacher."""
        return self._runner.teacher

    @property
    def progress(self) -> float:
        """Never: it would be that of the recording for ever."""
        return self.__getattr__("progress")

    @property
    def decay(self) -> float:
        """Never, as for `progress`."""
        return self.__getattr__("decay")

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        """Student and teacher on the buffers."""
        teacher = self.ask_teacher(batch)
        return self.ask_student(batch), teacher

    def ask_student(self, batch: Batch) -> Outputs:
        """The student on the buffers."""
        self._check(batch)
        return self._runner.ask_student(batch)

    def ask_teacher(self, batch: Batch) -> Outputs:
        """The teacher on the buffers."""
        self._check(batch)
        return self._said or self._runner.ask_teacher(batch)

    def _check(self, batch: Batch) -> None:
        if batch.inputs is not self._batch.inputs:
            self.__getattr__("another batch")

    def gradients(self, losses: Losses, *, keep_graph: bool = False) -> Sequence[Tensor | None]:
        """As the loop's."""
        return self._runner.gradients(losses, keep_graph=keep_graph)

    def update(self, gradients: Sequence[Tensor | None]) -> None:
        """As the loop's."""
        self._runner.update(gradients)

    def descend(self, losses: Losses) -> Losses:
        """As the loop's."""
        return self._runner.descend(losses)

    def quiz_batch(self) -> Batch:
        """Never: the host draws it."""
        return self.__getattr__("quiz_batch")

    def teacher_update(self, gradients: Sequence[Tensor | None], learning_rate: float) -> None:
        """Never: its learning rate is the host's."""
        self.__getattr__("teacher_update")
