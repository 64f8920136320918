"""How like its teacher a student is as it trains: in train mode, before each update, as it learns.

A compared step is taken as the method's code runs it, because a recording does not tell what the
student said in it.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Maps, Outputs
from kdbench.train.runner import Runner


def likeness(
    student: Float[Tensor, "rows classes"], teacher: Float[Tensor, "rows classes"]
) -> Float[Tensor, "3"]:
    """Rows of equal top class, KL(teacher||student) at temperature 1 in nats, rows; sums, float64.

    Nothing waits for the device.
    """
    s, t = student.double().log_softmax(1), teacher.double().log_softmax(1)
    divergence = (t.exp() * (t - s)).sum(1).clamp_min(0)
    same = (student.argmax(1) == teacher.argmax(1)).double()
    return torch.stack([same, divergence, torch.ones_like(same)]).sum(1)


@final
class Online:
    """Hears what a runner's student says of each step's own images, and adds up its likeness.

    Of a step that asks several times only the first answer counts, which was given before its
    update; of one that never asks about these images (but about others, made of them), nothing.

    Args:
        runner: Its sums are in `heard`, and go on where an earlier run left them.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner, self._listen, self._launch = runner, runner.listen, runner.launch
        self._said: Tensor | None = None
        runner.listen, runner.launch = self._hear, None

    def add(self, teacher: Outputs) -> None:
        """Count the step that is over, of which the teacher says this."""
        if self._said is not None:
            found = likeness(self._said, teacher.logits)
            heard = self._runner.heard
            self._runner.heard = found if heard is None else heard + found
        self._said = None

    def close(self) -> None:
        """Have the runner train as before."""
        self._runner.listen, self._runner.launch = self._listen, self._launch

    def _hear(self, images: Tensor, maps: Maps) -> Outputs:
        said, step = self._listen(images, maps), self._runner.current
        if self._said is None and step is not None and images is step.batch.inputs:
            self._said = said.logits.detach().float().clone()
        return said
