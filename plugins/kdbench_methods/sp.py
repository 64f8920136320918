"""Similarity-preserving KD: alike for the teacher, alike for the student (arXiv:1907.09682)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, unit_rows, widened
from kdbench_methods.ranges import check_ranges


def similarities(hint: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch batch"]:
    """Inner products of every two rows' flattened features, each row at unit L2 norm."""
    rows = widened(hint).flatten(1)
    return unit_rows(rows @ rows.T)


@final
@dataclass(frozen=True)
class SP(Method):
    """Cross-entropy + weight · mean squared difference of similarities, of the last hint.

    Similarities of a batch are the Gram matrix of the flattened hints with rows at unit L2 norm;
    the mean is over pairs of rows. No rotation of the features changes them, and no scale.

    Attributes:
        weight: Weight of the similarities' term, in [0, inf).

    Reference:
        Tung, Mori. Similarity-Preserving Knowledge Distillation. 2019, arXiv:1907.09682, section 3.
        The weight is the field's for CIFAR-100 (Tian, Krishnan, Isola, arXiv:1910.10699).

    *Differs from the reference:* the paper sums over pairs of layers; the field, followed here, has
    the last one alone.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Frederick Tung and Greg Mori",
        title="Similarity-Preserving Knowledge Distillation",
        year=2019,
        venue="ICCV",
        arxiv="1907.09682",
    )
    weight: float = 3000.0

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = similarities(student.hints[-1]), similarities(teacher.hints[-1].detach())
        return {"hard": hard, "similarity": self.weight * F.mse_loss(ours, theirs)}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "sp", SP()
