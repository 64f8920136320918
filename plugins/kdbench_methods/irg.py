"""Instance relationship graph: match rows, their distances and how both change (CVPR 2019)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kdbench.api import (
    Batch,
    Family,
    Losses,
    Method,
    Needs,
    Outputs,
    Paper,
    Setup,
    Unsupported,
    hookimpl,
)
from kdbench.functional import cross_entropy, pooled_alike, squared_distances, widened
from kdbench_methods.ranges import check_ranges


def over_largest(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Values over the largest of them; all 0 where all rows are alike."""
    return values / values.amax().clamp(min=1e-12)


def edges(features: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch batch"]:
    """Squared distances between rows over the largest of them."""
    return over_largest(squared_distances(features.flatten(1)))


def change(
    first: Float[Tensor, "batch channels height width"],
    second: Float[Tensor, "batch others tall wide"],
) -> Float[Tensor, " batch"]:
    """How far a row moves from one map to the next: squared distance over the batch's largest.

    Of two maps the larger is average-pooled to the smaller, over places and over channels.
    """
    first, second = pooled_alike(first, second)
    channels = min(first.shape[1], second.shape[1])
    first, second = (
        flat
        if flat.shape[1] == channels
        else F.adaptive_avg_pool2d(flat, (channels, flat.shape[2]))
        for flat in (first.flatten(2), second.flatten(2))
    )
    return over_largest((first - second).square().sum((1, 2)))


@final
@dataclass(frozen=True)
class IRG(Method):
    """Cross-entropy + squared differences of instance relationship graphs, of three kinds.

    Vertices are the logits; edges the distances between rows, of the last two hints and of the
    pooled features; transformations the distance of a row from the one hint to the other. Squared
    distances are over the batch's largest; each kind is a mean over its entries.

    Attributes:
        vertex: Weight of the logits' term, in [0, inf).
        edge: Weight of the distances' term, a mean over the three features, in [0, inf).
        transformation: Weight of the term of changes, in [0, inf).

    Reference:
        Liu et al. Knowledge Distillation via Instance Relationship Graph. 2019, CVPR,
        doi:10.1109/CVPR.2019.00726, section 3. The form and the weights are those of
        AberHu/Knowledge-Distillation-Zoo.

    *Differs from the reference:* the authors' Caffe code halves sums of squares over rows, has the
    weight 0.005 and a gradient that takes the largest distance for a constant and half of the
    edges; here means and the true gradient. It knows maps of the same or twice the channels; here
    channels are average-pooled at any ratio, which is the same at these.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Yufan Liu and Jiajiong Cao and Bing Li and Chunfeng Yuan and Weiming Hu and "
        "Yangxi Li and Yunqiang Duan",
        title="Knowledge Distillation via Instance Relationship Graph",
        year=2019,
        venue="CVPR",
        doi="10.1109/CVPR.2019.00726",
    )
    vertex: float = 0.1
    edge: float = 5.0
    transformation: float = 5.0

    def __post_init__(self) -> None:
        check_ranges(self, vertex="[0, inf)", edge="[0, inf)", transformation="[0, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> None:
        if len(setup.student.hints) < 2:
            raise Unsupported(
                "irg: this pair has a single hint",
                "a transformation goes from one map to the next",
                "take networks of two strides or more",
            )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        vertex = F.mse_loss(widened(student.logits), widened(teacher.logits).detach())
        ours, theirs = (
            [widened(map_) for map_ in (*said.hints[-2:], said.pooled)]
            for said in (student, teacher.detach())
        )
        gaps = [F.mse_loss(edges(s), edges(t)) for s, t in zip(ours, theirs, strict=True)]
        moved = F.mse_loss(change(ours[0], ours[1]), change(theirs[0], theirs[1]))
        return {
            "hard": hard,
            "vertex": self.vertex * vertex,
            "edge": self.edge * sum(gaps, hard.new_zeros(())) / len(gaps),
            "transformation": self.transformation * moved,
        }


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "irg", IRG()
