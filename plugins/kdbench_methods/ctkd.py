"""Curriculum temperature: a temperature that learns to be hard (Li et al., arXiv:2211.16231)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cross_entropy, softened_kl, warmed_up
from kdbench_methods.ranges import check_ranges


class Reversed(nn.Module):
    """One number whose gradient comes out times -strength: what descends the loss raises it."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(1))

    def forward(self, strength: Float[Tensor, ""]) -> Float[Tensor, " 1"]:
        """The number, exactly; `strength` in [0, 1] acts on the gradient alone."""
        fixed = self.theta.detach()
        return fixed - strength * (self.theta - fixed)


@final
@dataclass(frozen=True)
class CTKD(Method):
    """The terms of KD at a trained temperature lowest + span · sigmoid(theta), theta reversed.

    One theta for all rows, 1 at first; its gradient is reversed, so that it makes the soft term
    harder while the student makes it easier. The reversal's strength goes from 0 to 1 by half a
    cosine over the warm-up.

    Attributes:
        alpha: Weight of the soft term, in [0, 1].
        lowest: Lower end of the temperature, in (0, inf).
        span: Upper less lower end of the temperature, in [0, inf).
        warmup: Share of the budget until the reversal has its full strength, in [0, 1]; 0 is at
            once.

    Reference:
        Li, Li, Yang, Zhao, Song, Luo, Li, Yang. Curriculum Temperature for Knowledge Distillation.
        2023, arXiv:2211.16231, section 3 (the global version). Defaults are those of the authors'
        code for CIFAR-100: 10 of 240 epochs.

    *Differs from the reference:* the strength grows with every step, not once an epoch. The
    paper's second version, in which a small network says a temperature for each row, is left out.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Zheng Li and Xiang Li and Lingfeng Yang and Borui Zhao and Renjie Song and "
        "Lei Luo and Jun Li and Jian Yang",
        title="Curriculum Temperature for Knowledge Distillation",
        year=2023,
        venue="AAAI",
        arxiv="2211.16231",
    )
    extra: ClassVar[str] = "one temperature"
    alpha: float = 0.9
    lowest: float = 1.0
    span: float = 20.0
    warmup: float = 1 / 24

    def __post_init__(self) -> None:
        check_ranges(self, alpha="[0, 1]", lowest="(0, inf)", span="[0, inf)", warmup="[0, 1]")

    def init(self, setup: Setup) -> nn.Module:
        return Reversed()

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        strength = (1 - torch.cos(math.pi * warmed_up(batch.progress, self.warmup))) / 2
        temperature = self.lowest + self.span * state(strength).sigmoid()
        soft = softened_kl(student.logits, teacher.logits.detach(), temperature)
        return {"hard": (1 - self.alpha) * hard, "soft": self.alpha * soft}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "ctkd", CTKD()
