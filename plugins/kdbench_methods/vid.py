"""Variational information distillation: the teacher's hints, predicted (Ahn, arXiv:1904.05835)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cross_entropy, pooled_alike
from kdbench_methods.ranges import check_ranges

LEAST = 1e-5
"""Lower bound of every variance."""


class Gaussian(nn.Module):
    """Mean, of the student's hint, and variance, a channel each, of the teacher's hint.

    Args:
        channels: Of the student's hint.
        wanted: Of the teacher's hint, and of what lies between.
        variance: To start from, above `LEAST`.
    """

    def __init__(self, channels: int, wanted: int, variance: float) -> None:
        super().__init__()
        self.regressor = nn.Sequential(
            nn.Conv2d(channels, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
        )
        start = variance - LEAST
        raw = start + math.log(-math.expm1(-start))  # softplus, inverted
        self.raw = nn.Parameter(torch.full((wanted, 1, 1), raw))

    def forward(self, hint: Float[Tensor, "batch channels height width"]) -> tuple[Tensor, Tensor]:
        """Mean, a map, and variance, channels x 1 x 1."""
        return self.regressor(hint), F.softplus(self.raw) + LEAST


@final
@dataclass(frozen=True)
class VID(Method):
    """Cross-entropy + weight · negative log-likelihood of the teacher's hints, summed over hints.

    The likelihood is a Gaussian's: its mean is what three 1x1 convolutions make of the student's
    hint, its variance is learnt, a channel each. A hint's term is a mean over rows, channels and
    places, nats, without the constant log(2 pi) / 2. Of two maps the larger is average-pooled to
    the smaller.

    Attributes:
        weight: Weight of the likelihood term, in [0, inf).
        variance: Variance to start from, in (1e-5, inf).

    Reference:
        Ahn, Hu, Damianou, Lawrence, Dai. Variational Information Distillation for Knowledge
        Transfer. 2019, arXiv:1904.05835, section 3. Weight, regressor and first variance are the
        field's for CIFAR-100 (Tian, Krishnan, Isola. Contrastive Representation Distillation. 2020,
        arXiv:1910.10699).

    *Differs from the reference:* a mean over entries instead of a sum, as in the field's code;
    hints alone, where the paper allows for the logits, too. A softplus that does not overflow.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Sungsoo Ahn and Shell Xu Hu and Andreas Damianou and Neil D. Lawrence and "
        "Zhenwen Dai",
        title="Variational Information Distillation for Knowledge Transfer",
        year=2019,
        venue="CVPR",
        arxiv="1904.05835",
    )
    extra: ClassVar[str] = "a regressor and variances for each hint"
    weight: float = 1.0
    variance: float = 5.0

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", variance=f"({LEAST}, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> list[nn.Module]:
        return [
            Gaussian(s.channels, t.channels, self.variance)
            for s, t in zip(setup.student.hints, setup.teacher.hints, strict=True)
        ]

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: Sequence[nn.Module]
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        total = hard.new_zeros(())
        for s, t, gaussian in zip(student.hints, teacher.hints, state, strict=True):
            ours, theirs = pooled_alike(s, t.detach())
            mean, variance = gaussian(ours)
            total = total + ((mean - theirs).square() / variance + variance.log()).mean() / 2
        return {"hard": hard, "likelihood": self.weight * total}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "vid", VID()
