"""Graph KD: match graphs of similarity between samples (Lassance et al., arXiv:1911.03080)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import cosines, cross_entropy, widened
from kdbench_methods.ranges import check_ranges


def graph(rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """Cosines of different rows over the roots of both rows' degrees; 0 on the diagonal.

    A degree is the sum of absolute cosines, the plain sum where no feature is negative. So signed
    features have no root of a negative number, and every entry lies in [-1, 1]. A row that is
    similar to none, a row of zeros above all, has no edges.
    """
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    similarity = cosines(rows).masked_fill(itself, 0)
    degree = torch.where(similarity < 0, -similarity, similarity).sum(1)  # slope 1 at 0, unlike abs
    scale = degree.masked_fill(degree == 0, 1).rsqrt()
    return scale[:, None] * similarity * scale[None, :]


def nearest(weights: Float[Tensor, "batch batch"], count: int) -> Bool[Tensor, "batch batch"]:
    """Which pairs have one row among the `count` largest weights of the other."""
    chosen = weights.topk(min(count, len(weights)), dim=1).indices
    found = torch.zeros_like(weights, dtype=torch.bool).scatter(1, chosen, True)
    return found | found.T


def levels(hints: Sequence[Float[Tensor, "batch ..."]]) -> list[Float[Tensor, "batch dim"]]:
    """The hints, flattened; the last one averaged over places."""
    return [*(widened(map_).flatten(1) for map_ in hints[:-1]), widened(hints[-1]).mean((2, 3))]


@final
@dataclass(frozen=True)
class GKD(Method):
    """Cross-entropy + weight · squared difference of similarity graphs, a mean over hints.

    A hint's graph has a node a row and an edge of cosine similarity between every two, normalised
    by both degrees; the last hint is averaged over places first. The squared difference is a sum
    over all pairs of rows. Rotating the features or scaling a row does not change it.

    Attributes:
        weight: Weight of the graph term, in [0, inf).
        power: Exponent of the graphs' matrices, an integer in [1, 16]: paths of so many edges.
        neighbours: Keep only pairs with one row among so many nearest of the other, by the
            teacher's graph and for both networks, an integer in [0, inf); 0 keeps all.
        edges: "all", or those within ("intra") or between ("inter") classes.
        last: Whether the last hint alone counts.

    Reference:
        Lassance, Bontonou, Hacene, Gripon, Tang, Ortega. Deep Geometric Knowledge Distillation with
        Graphs. 2020, arXiv:1911.03080, section 3. Settings are those of the authors' code for
        a WRN28-1 that teaches half its width on CIFAR-10.

    *Differs from the reference:* degrees are sums of absolute cosines, because signed features
    (tokens) give the code a NaN; equal where features are not negative. A row of zeros has no
    edges; in the code, NaN. A pair with an unlabelled row is neither within nor between classes.
    The code adds KD in its CIFAR-100 runs; here the graphs stand alone. The authors train for 200
    epochs at a rate of 0.1, which is the protocol's business here.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Carlos Lassance and Myriam Bontonou and Ghouthi Boukli Hacene and Vincent Gripon "
        "and Jian Tang and Antonio Ortega",
        title="Deep Geometric Knowledge Distillation with Graphs",
        year=2020,
        venue="ICASSP",
        arxiv="1911.03080",
    )
    weight: float = 25.0
    power: int = 1
    neighbours: int = 0
    edges: Literal["all", "intra", "inter"] = "all"
    last: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", power="[1, 16]", neighbours="[0, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def gap(
        self, ours: Float[Tensor, "batch dim"], theirs: Float[Tensor, "batch wide"], batch: Batch
    ) -> Float[Tensor, ""]:
        """Squared Frobenius norm of the difference of two graphs, the kept edges' alone."""
        student, teacher = graph(ours), graph(theirs)
        if self.edges != "all":
            alike = batch.target[:, None] == batch.target[None, :]
            known = batch.labelled[:, None] & batch.labelled[None, :]
            kept = (alike if self.edges == "intra" else ~alike) & known
            student, teacher = student * kept, teacher * kept
        if self.neighbours:
            near = nearest(teacher, self.neighbours)
            student, teacher = student * near, teacher * near
        ours, theirs = (torch.linalg.matrix_power(one, self.power) for one in (student, teacher))
        return (ours - theirs).square().sum()

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = levels(student.hints), levels(teacher.detach().hints)
        first = -1 if self.last else 0
        gaps = [self.gap(s, t, batch) for s, t in zip(ours[first:], theirs[first:], strict=True)]
        return {"hard": hard, "graph": self.weight * sum(gaps, hard.new_zeros(())) / len(gaps)}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "gkd", GKD()
