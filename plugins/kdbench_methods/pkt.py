"""Probabilistic knowledge transfer: match who is near whom (Passalis & Tefas, arXiv:1803.10837)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, widened
from kdbench_methods.ranges import check_ranges

EPSILON = 1e-7
"""Added to norms and inside the logarithm, as in the authors' code."""


def affinities(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """For each row a distribution over the batch, in proportion to (cosine + 1) / 2."""
    rows = widened(rows)
    unit: Tensor = rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + EPSILON)
    similarity = ((unit @ unit.T + 1) / 2).clamp(min=0)  # rounding leaves cosines just below -1
    return similarity.div(similarity.sum(1, keepdim=True))


@final
@dataclass(frozen=True)
class PKT(Method):
    """Cross-entropy + weight · KL(teacher || student) of affinities of pooled features.

    A row's affinities are (cosine + 1) / 2 with each row of the batch, itself too, over their sum.
    The term is a mean over all pairs of rows. Rotating the features or scaling a row does not
    change it.

    Attributes:
        weight: Weight of the affinities' term, in [0, inf).

    Reference:
        Passalis, Tefas. Learning Deep Representations with Probabilistic Knowledge Transfer. 2018,
        arXiv:1803.10837, section 3. The weight is the field's for CIFAR-100 (Tian, Krishnan, Isola,
        arXiv:1910.10699).

    *Differs from the reference:* the paper sums over pairs and leaves a row's affinity with itself
    out; the authors' code, followed here, takes the mean and has it in. The code sets features that
    are not finite to 0.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Nikolaos Passalis and Anastasios Tefas",
        title="Learning Deep Representations with Probabilistic Knowledge Transfer",
        year=2018,
        venue="ECCV",
        arxiv="1803.10837",
    )
    weight: float = 30000.0

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = affinities(student.pooled), affinities(teacher.pooled.detach())
        gaps = theirs * ((theirs + EPSILON).log() - (ours + EPSILON).log())
        return {"hard": hard, "affinity": self.weight * gaps.mean()}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "pkt", PKT()
