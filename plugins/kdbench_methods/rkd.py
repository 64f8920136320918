"""Relational KD: match distances and angles between samples (Park et al., arXiv:1904.05068)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, squared_distances, unit_rows, widened
from kdbench_methods.ranges import check_ranges


def distances(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """Euclidean distances over their mean; a row's with itself is 0 and left out of the mean.

    Squared distances are at least 1e-12, as in the authors' code: no slope is infinite.
    """
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    found = squared_distances(rows).clamp(min=1e-12).sqrt().masked_fill(itself, 0)
    return found / (found.sum() / max(len(rows) * (len(rows) - 1), 1)).clamp(min=1e-6)


def angles(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch batch"]:
    """Cosine of the angle at the first row between the ways to the second and the third.

    0 where either way has no length. The unit ways are batch² x dim, their products batch³; nothing
    is batch³ x dim.
    """
    ways = unit_rows(rows[None, :] - rows[:, None])
    return ways @ ways.mT


@final
@dataclass(frozen=True)
class RKD(Method):
    """Cross-entropy + distance · Huber of distances + angle · Huber of angles of pooled features.

    Of every pair of rows the Euclidean distance over the batch's mean distance, of every triple the
    cosine of the angle at its first row. Both terms are means over all pairs and triples,
    degenerate ones too, of the Huber loss (quadratic up to 1). Nothing of this sees a rotation, a
    shift or a scale of the features. A batch of two has no relation to match, and no such gradient.

    Attributes:
        distance: Weight of the distances' term, in [0, inf).
        angle: Weight of the angles' term, in [0, inf).

    Reference:
        Park, Kim, Lu, Cho. Relational Knowledge Distillation. 2019, arXiv:1904.05068, section 3.2.
        Weights are the field's for CIFAR-100 (Tian, Krishnan, Isola, arXiv:1910.10699).

    *Differs from the reference:* the paper sums over pairs and triples of different rows; the
    authors' code, followed here, takes the mean over all of them. The paper's weights for metric
    learning are 1 and 2.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Wonpyo Park and Dongju Kim and Yan Lu and Minsu Cho",
        title="Relational Knowledge Distillation",
        year=2019,
        venue="CVPR",
        arxiv="1904.05068",
    )
    distance: float = 25.0
    angle: float = 50.0

    def __post_init__(self) -> None:
        check_ranges(self, distance="[0, inf)", angle="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = widened(student.pooled), widened(teacher.pooled).detach()
        apart = F.smooth_l1_loss(distances(ours), distances(theirs))
        turned = F.smooth_l1_loss(angles(ours), angles(theirs))
        return {"hard": hard, "distance": self.distance * apart, "angle": self.angle * turned}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "rkd", RKD()
