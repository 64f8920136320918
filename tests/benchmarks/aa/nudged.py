"""KD from initial weights that are a millionth off: what no board should tell from KD."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch

from kdbench.api import Batch, Losses, Method, Outputs, Setup, hookimpl
from kdbench_methods.kd import KD


@final
@dataclass(frozen=True)
class Nudged(Method):
    """KD, after every initial weight of the student was multiplied by 1 + share · normal noise.

    Attributes:
        share: Standard deviation of the noise.
    """

    share: float = 1e-6

    def init(self, setup: Setup) -> Any:
        with torch.no_grad():
            for weight in setup.student.model.parameters():
                weight.mul_(1 + self.share * torch.randn_like(weight))
        return KD().init(setup)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return KD().loss(student, teacher, batch, state)


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "nudged", Nudged()
