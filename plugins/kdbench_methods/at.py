"""Attention transfer: look where the teacher looks (Zagoruyko & Komodakis, arXiv:1612.03928)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import attention, cross_entropy, pooled_alike
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class AT(Method):
    """Cross-entropy + weight · the squared differences of attention maps, summed over hints.

    A hint's term is a mean over batch and places. Of two maps the larger is average-pooled to the
    smaller.

    Attributes:
        weight: Weight of the attention term, in [0, inf).
        power: Exponent of the activations, an integer in [1, inf).

    Reference:
        Zagoruyko, Komodakis. Paying More Attention to Attention. 2017, arXiv:1612.03928, section
        3.1.

    *Differs from the reference:* the paper's equation 2 has the norm of the difference and half the
    weight; the authors' code, followed here, has the mean of the squared difference. Odd powers
    take the absolute value, as the paper does and the code does not. Maps that are not square are
    pooled by height and width, not by height alone.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Sergey Zagoruyko and Nikos Komodakis",
        title="Paying More Attention to Attention: Improving the Performance of Convolutional "
        "Neural Networks via Attention Transfer",
        year=2017,
        venue="ICLR",
        arxiv="1612.03928",
    )
    weight: float = 1000.0
    power: int = 2

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", power="[1, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        pairs = [
            pooled_alike(s, t.detach()) for s, t in zip(student.hints, teacher.hints, strict=True)
        ]
        gaps = [F.mse_loss(attention(s, self.power), attention(t, self.power)) for s, t in pairs]
        return {"hard": hard, "attention": self.weight * sum(gaps, hard.new_zeros(()))}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "at", AT()
