"""DIST: correlate with the teacher, do not copy it (Huang et al. 2022, arXiv:2205.10536)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, widened
from kdbench_methods.ranges import check_ranges


def pearson(
    first: Float[Tensor, "rows columns"], second: Float[Tensor, "rows columns"], dim: int
) -> Float[Tensor, " others"]:
    """Pearson's correlation along `dim`, in [-1, 1]; 0 where one side is constant."""
    one, other = (x - x.mean(dim, keepdim=True) for x in (first, second))
    norms = [torch.linalg.vector_norm(x, dim=dim) for x in (one, other)]
    correlation: Tensor = (one * other).sum(dim) / (norms[0] * norms[1] + 1e-8)
    return correlation


@final
@dataclass(frozen=True)
class DIST(Method):
    """Cross-entropy + T² · (beta · distance of rows + gamma · distance of classes).

    A distance is 1 - Pearson's correlation of student's and teacher's softened probabilities: of a
    row's classes ("inter") or of a class's rows ("intra"), a mean over rows or classes.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        beta: Weight of the distance of rows, in [0, inf).
        gamma: Weight of the distance of classes, in [0, inf).

    Reference:
        Huang, You, Wang, Qian, Xu. Knowledge Distillation from A Stronger Teacher. 2022,
        arXiv:2205.10536, section 3. Temperature and weights are the authors' for CIFAR-100.

    *Differs from the reference:* the factor T² and the 1e-8 beside the product of norms are of the
    authors' code, not of the paper.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Tao Huang and Shan You and Fei Wang and Chen Qian and Chang Xu",
        title="Knowledge Distillation from A Stronger Teacher",
        year=2022,
        venue="NeurIPS",
        arxiv="2205.10536",
    )
    temperature: float = 4.0
    beta: float = 2.0
    gamma: float = 2.0

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", beta="[0, inf)", gamma="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = (
            (widened(z) / self.temperature).softmax(-1)
            for z in (student.logits, teacher.logits.detach())
        )
        inter, intra = (
            self.temperature**2 * (1 - pearson(ours, theirs, dim)).mean() for dim in (1, 0)
        )
        return {"hard": hard, "inter": self.beta * inter, "intra": self.gamma * intra}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "dist", DIST()
