"""Neuron selectivity transfer: match what channels fire at (Huang & Wang, arXiv:1707.01219)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, pooled_alike
from kdbench_methods.ranges import check_ranges


def affinity(
    first: Float[Tensor, "batch channels places"], second: Float[Tensor, "batch others places"]
) -> Float[Tensor, ""]:
    """Mean over rows and pairs of channels of the squared inner product of their maps.

    By the smaller of two equal sums: squared products of channels, or products of places' products.
    """
    rows, channels, places = first.shape
    others = second.shape[1]
    if channels * others <= places**2:
        return (first @ second.mT).square().mean()
    total = ((first.mT @ first) * (second.mT @ second)).sum()
    return total / (rows * channels * others)


@final
@dataclass(frozen=True)
class NST(Method):
    """Cross-entropy + weight · the squared maximum mean discrepancy of channels, summed over hints.

    A sample is a channel's map at unit L2 norm, the kernel is the squared inner product. A hint's
    term is a mean over rows and pairs of channels. Of two maps the larger is average-pooled to the
    smaller.

    Attributes:
        weight: Weight of the selectivity term, in [0, inf).

    Reference:
        Huang, Wang. Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. 2017,
        arXiv:1707.01219, section 4, polynomial kernel of degree 2 without offset. The weight is the
        field's for CIFAR-100 (Tian, Krishnan, Isola. Contrastive Representation Distillation. 2020,
        arXiv:1910.10699).

    *Differs from the reference:* all hints instead of the last one, as the field runs it; the
    weight goes with the whole of the discrepancy, where the paper halves it.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Zehao Huang and Naiyan Wang",
        title="Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
        year=2017,
        arxiv="1707.01219",
    )
    weight: float = 50.0

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        discrepancy = hard.new_zeros(())
        for pair in zip(student.hints, teacher.hints, strict=True):
            s, t = (F.normalize(map_.flatten(2), dim=2) for map_ in pooled_alike(*pair))
            t = t.detach()
            discrepancy = discrepancy + affinity(t, t) + affinity(s, s) - 2 * affinity(s, t)
        return {"hard": hard, "selectivity": self.weight * discrepancy}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "nst", NST()
