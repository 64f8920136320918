"""Transformed teacher matching, plain and weighted (Zheng & Yang 2024, arXiv:2402.11148)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, widened
from kdbench_methods.ranges import check_ranges

PAPER = Paper(
    authors="Kaixiang Zheng and En-Hui Yang",
    title="Knowledge Distillation Based on Transformed Teacher Matching",
    year=2024,
    venue="ICLR",
    arxiv="2402.11148",
)


def transformed_kl(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    gamma: float,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """KL(transformed teacher || student) of each row, nats, and the row's power sum.

    The teacher's probabilities are raised to the power gamma; the power sum is what they then sum
    to, large where the teacher is smooth, and divides them. The student is not transformed.
    """
    student, teacher = widened(student_logits), widened(teacher_logits)
    powers = gamma * teacher
    power_sum = (powers.logsumexp(-1) - gamma * teacher.logsumexp(-1)).exp()
    log_s, log_t = student.log_softmax(-1), powers.log_softmax(-1)
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1), power_sum


@final
@dataclass(frozen=True)
class TTM(Method):
    """Cross-entropy + weight · KL(transformed teacher || student), the student at temperature 1.

    The teacher's probabilities are raised to the power gamma and made to sum to 1. Mean over rows;
    no factor for the temperature.

    Attributes:
        gamma: Exponent of the teacher's probabilities, one over a temperature, in (0, inf).
        weight: Weight of the soft term, in [0, inf).

    Reference:
        Zheng, Yang. Knowledge Distillation Based on Transformed Teacher Matching. 2024,
        arXiv:2402.11148, section 3. The authors tune both numbers by pair, gamma from 0.1 to 0.4
        and the weight from 7 to 101; the defaults are those of their example, VGG-13 to VGG-8 on
        CIFAR-100. For ResNet-56 to ResNet-20 they have 0.3 and 7.

    *Differs from the reference:* nothing known.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = PAPER
    gamma: float = 0.1
    weight: float = 45.0

    def __post_init__(self) -> None:
        check_ranges(self, gamma="(0, inf)", weight="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        rows, _ = transformed_kl(student.logits, teacher.logits.detach(), self.gamma)
        return {"hard": hard, "soft": self.weight * rows.mean()}


@final
@dataclass(frozen=True)
class WTTM(Method):
    """As TTM, each row's divergence times its power sum: where the teacher is smooth counts more.

    The power sum is the sum of the teacher's probabilities raised to the power gamma, between 1 and
    classes^(1 - gamma) for gamma below 1. The mean is over rows, not over weights.

    Attributes:
        gamma: Exponent of the teacher's probabilities, one over a temperature, in (0, inf).
        weight: Weight of the soft term, in [0, inf).

    Reference:
        Zheng, Yang. Knowledge Distillation Based on Transformed Teacher Matching. 2024,
        arXiv:2402.11148, section 4. The authors tune both numbers by pair, gamma from 0.1 to 0.4
        and the weight from 1.4 to 16; the defaults are those for VGG-13 to VGG-8 on CIFAR-100, as
        for TTM. For ResNet-56 to ResNet-20 they have 0.3 and 1.5.

    *Differs from the reference:* nothing known.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = PAPER
    gamma: float = 0.1
    weight: float = 2.25

    def __post_init__(self) -> None:
        check_ranges(self, gamma="(0, inf)", weight="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        rows, power_sums = transformed_kl(student.logits, teacher.logits.detach(), self.gamma)
        return {"hard": hard, "soft": self.weight * (power_sums * rows).mean()}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "ttm", TTM()
    yield "wttm", WTTM()
