"""Logit regression: match the logits themselves (Ba & Caruana 2014, arXiv:1312.6184)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench_thirdparty.scale import FACTOR


@dataclass(frozen=True)
class LogitRegression(Method):
    """Half the mean squared difference of the logits.

    Attributes:
        weight: Of that term, above 0.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Lei Jimmy Ba and Rich Caruana",
        title="Do Deep Nets Really Need to be Deep?",
        year=2014,
        venue="NeurIPS",
        arxiv="1312.6184",
    )
    weight: float = 1.0

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        """Weighted scalar terms of one batch."""
        return {"soft": self.weight * FACTOR * (student.logits - teacher.logits).pow(2).mean()}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    """What this distribution adds to kdbench."""
    yield "thirdparty_mse", LogitRegression()
