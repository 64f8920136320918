"""SemCKD: attention says which teacher layer teaches which student layer (Chen et al. 2021)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api import (
    Batch,
    Family,
    Hint,
    Losses,
    Method,
    Needs,
    Outputs,
    Paper,
    Setup,
    hookimpl,
)
from kdbench.functional import cross_entropy, pooled_alike, softened_kl, widened
from kdbench_methods.connectors import bottleneck
from kdbench_methods.ranges import check_ranges


def _embedding(rows: int) -> nn.Sequential:
    width = max(1, rows // 4)
    return nn.Sequential(nn.Linear(rows, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


class CrossLayer(nn.Module):
    """Queries of the student's layers, keys of the teacher's, a regressor for every two of them.

    Args:
        students: The student's layers.
        teachers: The teacher's.
        rows: How many of a batch's rows each row is compared with.
    """

    def __init__(self, students: Sequence[Hint], teachers: Sequence[Hint], rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.queries = nn.ModuleList(_embedding(rows) for _ in students)
        self.keys = nn.ModuleList(_embedding(rows) for _ in teachers)
        self.regressors = nn.ModuleList(
            nn.ModuleList(bottleneck(s.channels, 2 * t.channels, t.channels) for t in teachers)
            for s in students
        )

    def similarities(
        self, layer: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch rows"]:
        """Inner products with the first rows of the batch; 0 for those that it lacks."""
        flat = layer.flatten(1)
        first = flat[: self.rows]
        return F.pad(flat @ first.T, (0, self.rows - len(first)))

    def attention(
        self, students: Sequence[Tensor], teachers: Sequence[Tensor]
    ) -> Float[Tensor, "batch students teachers"]:
        """How much of each teacher layer a student layer takes; sums to 1 over the teacher's."""
        queries, keys = (
            torch.stack(
                [
                    F.normalize(embed(self.similarities(layer)))
                    for embed, layer in zip(embeddings, layers, strict=True)
                ],
                1,
            )
            for embeddings, layers in ((self.queries, students), (self.keys, teachers))
        )
        return (queries @ keys.mT).softmax(-1)

    def forward(self, students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
        """The attended squared differences, mean over rows and the student's layers."""
        rows = []
        for regressors, student in zip(self.regressors, students, strict=True):
            gaps = []
            for regressor, teacher in zip(regressors, teachers, strict=True):  # type: ignore[call-overload]
                ours, theirs = pooled_alike(student, teacher)
                gaps.append((regressor(ours) - theirs).square().flatten(1).mean(1))
            rows.append(torch.stack(gaps, 1))
        return (self.attention(students, teachers) * torch.stack(rows, 1)).sum(2).mean()


@final
@dataclass(frozen=True)
class SemCKD(Method):
    """Cross-entropy + alpha · T² · KL(teacher || student) + weight · the gap of attended layers.

    For each row and hint of the student, the mean squared differences to all hints of the teacher
    are weighed by a softmax of <query, key>: embeddings, at unit norm, of how alike the row is to
    the rows of the batch in either hint.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, inf).
        weight: Weight of the layer term, in [0, inf).
        rows: How many rows of the batch each row is compared with, an integer in [1, inf); the
            paper's formula where it is the batch size.

    Reference:
        Chen, Mei, Zhang, Wang, Wang, Feng, Chen. Cross-Layer Distillation with Semantic
        Calibration. 2021, arXiv:2012.03236, section 3. Weights are those of the authors' code for
        CIFAR-100.

    *Differs from the reference:* an embedding reads as many similarities as the batch has rows; so
    that any batch will do, it reads those with the first `rows` rows, and 0 for rows that a smaller
    batch lacks. The paper adds up the student's layers; the authors' code, followed here, takes
    their mean. Maps that are not square are pooled by height and width.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Defang Chen and Jian-Ping Mei and Yuan Zhang and Can Wang and Zhe Wang"
        " and Yan Feng and Chun Chen",
        title="Cross-Layer Distillation with Semantic Calibration",
        year=2021,
        venue="AAAI",
        arxiv="2012.03236",
    )
    extra: ClassVar[str] = "an embedding a layer and a regressor for every two layers"
    temperature: float = 4.0
    alpha: float = 1.0
    weight: float = 400.0
    rows: int = 64

    def __post_init__(self) -> None:
        check_ranges(
            self, temperature="(0, inf)", alpha="[0, inf)", weight="[0, inf)", rows="[1, inf)"
        )

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> CrossLayer:
        return CrossLayer(setup.student.hints, setup.teacher.hints, self.rows)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: CrossLayer) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        soft = softened_kl(student.logits, teacher.logits.detach(), self.temperature)
        ours = [widened(hint) for hint in student.hints]
        theirs = [widened(hint).detach() for hint in teacher.hints]
        gap = state(ours, theirs)
        return {"hard": hard, "soft": self.alpha * soft, "layers": self.weight * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "semckd", SemCKD()
