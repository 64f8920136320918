"""KD++: large features towards the teacher's class means (Wang et al. 2024, arXiv:2305.17007)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, cast, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cross_entropy, labelled_mean, softened_kl, warmed_up, widened
from kdbench_methods.ranges import check_ranges


class Connector(nn.Sequential):
    """From the student's width to the teacher's: batch norm, dropout of one half, linear."""

    def __init__(self, before: int, after: int) -> None:
        linear = nn.Linear(before, after)
        nn.init.zeros_(linear.bias)
        super().__init__(nn.BatchNorm1d(before), nn.Dropout(0.5), linear)


def class_directions(setup: Setup) -> Float[Tensor, "classes dim"]:
    """Mean of the teacher's pooled features over each class's labelled rows, at unit L2 norm.

    A class without rows has 0.
    """
    sums: Tensor | float = 0.0
    for said, batch in setup.teacher_passes("transfer"):
        pooled = widened(said.pooled).detach()
        known = F.one_hot(batch.target.where(batch.labelled, 0), setup.num_classes)
        sums = sums + (known * batch.labelled[:, None]).to(pooled).T @ pooled
    return F.normalize(cast(Tensor, sums))  # the norm takes the number of rows away


def misdirection(
    student: Float[Tensor, "batch dim"],
    teacher: Float[Tensor, "batch dim"],
    directions: Float[Tensor, "classes dim"],
    target: Int[Tensor, " batch"],
    labelled: Bool[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """1 - <student, direction of its class> / the larger norm, mean over labelled rows."""
    along = (student * directions[target.where(labelled, 0)]).sum(1)
    longer = torch.maximum(student.norm(dim=1), teacher.norm(dim=1)).clamp(min=1e-12)
    return labelled_mean(1 - along / longer, labelled)


@final
@dataclass(frozen=True)
class KDpp(Method):
    """Cross-entropy + alpha · warm-up · T² · KL(teacher || student) + beta · direction.

    Direction is 1 - <s, c> / max(|s|, |t|), mean over rows, with pooled features s of the student
    and t of the teacher, and c the mean of the teacher's over the row's class, at unit norm: least
    where s points to c and is at least as long as t.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, inf).
        beta: Weight of the direction term, in [0, inf).
        warmup: Share of the budget in which alpha rises linearly from 0, in [0, 1].

    Reference:
        Wang, Cheng, Duan, Wang, Feng, Kong. Improving Knowledge Distillation via Regularizing
        Feature Direction and Norm. 2024, arXiv:2305.17007, section 3. Weights are the authors' for
        resnet32x4 and resnet8x4.

    *Differs from the reference:* the warm-up rises with every step, not every epoch. Any pair of
    different widths has the authors' connector (batch norm, dropout, linear), which they have for
    networks that they name. They train at a rate of 0.1 with Nesterov's momentum, which is the
    protocol's business here, and set both weights for every pair.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Yuzhu Wang and Lechao Cheng and Manni Duan and Yongheng Wang and Zunlei Feng"
        " and Shu Kong",
        title="Improving Knowledge Distillation via Regularizing Feature Direction and Norm",
        year=2024,
        venue="ECCV",
        arxiv="2305.17007",
    )
    extra: ClassVar[str] = "a connector of pooled features, where widths differ"
    temperature: float = 4.0
    alpha: float = 3.5
    beta: float = 2.0
    warmup: float = 1 / 12

    def __post_init__(self) -> None:
        check_ranges(
            self, temperature="(0, inf)", alpha="[0, inf)", beta="[0, inf)", warmup="[0, 1]"
        )

    def init(self, setup: Setup) -> dict[str, Any]:
        ours, theirs = setup.student.pooled_dim, setup.teacher.pooled_dim
        connector = nn.Identity() if ours == theirs else Connector(ours, theirs)
        return {"connector": connector, "directions": class_directions(setup)}

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: dict[str, Any]
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        soft = softened_kl(student.logits, teacher.logits.detach(), self.temperature)
        warm = warmed_up(batch.progress, self.warmup)
        direction = misdirection(
            state["connector"](widened(student.pooled)),
            widened(teacher.pooled).detach(),
            state["directions"],
            batch.target,
            batch.labelled,
        )
        return {
            "hard": hard,
            "soft": self.alpha * warm * soft,
            "direction": self.beta * direction,
        }


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "kdpp", KDpp()
