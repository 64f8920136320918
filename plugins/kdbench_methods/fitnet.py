"""FitNet: regress the teacher's middle feature map (Romero et al. 2015, arXiv:1412.6550)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from torch import nn

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
    Unsupported,
    hookimpl,
)
from kdbench.functional import cross_entropy, widened
from kdbench_methods.connectors import Resize
from kdbench_methods.ranges import check_ranges


def regressor(student: Hint, teacher: Hint) -> nn.Sequential:
    """From student's to teacher's shape: convolution, batch norm and, towards a map, ReLU."""
    ours, theirs = (student.height, student.width), (teacher.height, teacher.width)
    widths = student.channels, teacher.channels
    fit: tuple[nn.Module, ...]
    if ours == (2 * theirs[0], 2 * theirs[1]):
        fit = (nn.Conv2d(*widths, 3, stride=2, padding=1),)
    elif (2 * ours[0], 2 * ours[1]) == theirs:
        fit = (nn.ConvTranspose2d(*widths, 4, stride=2, padding=1),)
    elif all(t <= s < 2 * t for s, t in zip(ours, theirs, strict=True)):
        fit = (nn.Conv2d(*widths, (1 + ours[0] - theirs[0], 1 + ours[1] - theirs[1])),)
    else:
        fit = (Resize(*theirs), nn.Conv2d(*widths, 1))
    return nn.Sequential(
        *fit, nn.BatchNorm2d(teacher.channels), *([nn.ReLU()] if teacher.kind == "map" else [])
    )


@final
@dataclass(frozen=True)
class FitNet(Method):
    """Cross-entropy + weight · mean squared difference of one hint, the student's regressed.

    Attributes:
        weight: Weight of the hint term, in [0, inf).
        hint: Which hint, an integer in [0, inf), shallow to deep; 1 is the middle of the field's
            three-stage networks.

    Reference:
        Romero et al. FitNets: Hints for Thin Deep Nets. 2015, arXiv:1412.6550, section 2.2.

    *Differs from the reference:* one stage, as the field runs it (arXiv:1910.10699); the paper
    trains the lower half by the hint first, then all by KD. Mean instead of half the sum of
    squares. The field's regressor (a strided or transposed convolution at a ratio of 2, else a
    valid one) covers no other ratios: a student map at least twice the teacher's is pooled, a
    smaller one interpolated, with a 1x1 convolution. No ReLU towards tokens, which are signed.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Adriana Romero and Nicolas Ballas and Samira Ebrahimi Kahou and Antoine Chassang "
        "and Carlo Gatta and Yoshua Bengio",
        title="FitNets: Hints for Thin Deep Nets",
        year=2015,
        venue="ICLR",
        arxiv="1412.6550",
    )
    extra: ClassVar[str] = "a regressor of the student's hint"
    weight: float = 100.0
    hint: int = 1

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", hint="[0, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> nn.Module:
        count = min(len(setup.student.hints), len(setup.teacher.hints))
        if self.hint >= count:
            raise Unsupported(
                f"fitnet: no hint {self.hint}",
                f"this pair has {count} hints",
                "ask for fitnet[hint=0]",
            )
        return regressor(setup.student.hints[self.hint], setup.teacher.hints[self.hint])

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        guess = state(widened(student.hints[self.hint]))
        return {
            "hard": hard,
            "hint": self.weight * F.mse_loss(guess, widened(teacher.hints[self.hint]).detach()),
        }


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "fitnet", FitNet()
