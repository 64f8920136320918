"""ICKD: how channels go together (Liu et al. 2021, arXiv:2202.03680)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cross_entropy, widened
from kdbench_methods.connectors import fitted
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class ICKD(Method):
    """Cross-entropy + weight · the squared differences of channel correlations, of the last hint.

    A row's correlations are the inner products over places of every two channels. With
    `normalize`, those of each channel have unit L2 norm and a row's term is their summed squared
    difference over the number of channels; without, over its square. The mean over rows is taken.

    Attributes:
        weight: Weight of the correlation term, in [0, inf).
        normalize: Whether each channel's correlations have unit norm (0 stays 0), as in the
            authors' code, which the weight belongs to; the paper's formula has them as they are.

    Reference:
        Liu et al. Exploring Inter-Channel Correlation for Diversity-preserved Knowledge
        Distillation. 2021, arXiv:2202.03680, section 3.

    *Differs from the reference:* as the paper says, and unlike the authors' code, the student's
    channels are embedded (1x1 convolution, batch norm) only where the teacher has another number;
    the convolution starts as all connectors do, not as torch has it.
    The last hint alone is matched, as in the authors' code for CIFAR-100.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Li Liu and Qingle Huang and Sihao Lin and Hongwei Xie and Bing Wang"
        " and Xiaojun Chang and Xiaodan Liang",
        title="Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation",
        year=2021,
        venue="ICCV",
        arxiv="2202.03680",
    )
    extra: ClassVar[str] = "an embedding of channels, where their numbers differ"
    weight: float = 2.5
    normalize: bool = True

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> nn.Module:
        return fitted(setup.student.hints[-1], setup.teacher.hints[-1])

    def correlations(self, hint: Tensor) -> Tensor:
        """Of every two channels of a row, scaled so that squared differences are summed."""
        flat = hint.flatten(2)
        products, channels = flat @ flat.mT, flat.shape[1]
        return (
            F.normalize(products, dim=2) / channels**0.5 if self.normalize else products / channels
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = state(widened(student.hints[-1])), widened(teacher.hints[-1]).detach()
        gap = (self.correlations(ours) - self.correlations(theirs)).square().sum((1, 2)).mean()
        return {"hard": hard, "correlation": self.weight * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "ickd", ICKD()
