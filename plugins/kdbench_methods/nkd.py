"""NKD: match the classes beside the true one as if they were all (Yang et al. arXiv:2303.13005)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import (
    cross_entropy,
    labelled_mean,
    of_class,
    rest_log_softmax,
    widened,
)
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class NKD(Method):
    """Cross-entropy - p_t(y) · log p_s(y) - gamma · T² · sum of n_t · log n_s, mean over rows.

    p is a network's softmax, y the true class; n is the softmax at temperature T of the logits
    without that of y, so that both networks' n sum to 1.

    Attributes:
        temperature: What the logits of the other classes are divided by, in (0, inf).
        gamma: Weight of the other classes' term, in [0, inf).

    Reference:
        Yang, Zeng, Li, Zhang, Yuan, Li. From Knowledge Distillation to Self-Knowledge Distillation:
        A Unified Approach with Normalized Loss and Customized Soft Labels. 2023, arXiv:2303.13005,
        section 3.1. The values are those of the authors' code for their one pair on CIFAR-100,
        ResNet-34 to ResNet-18; on ImageNet it has a temperature of 1 and a gamma of 1.5.

    *Differs from the reference:* nothing known. Only labelled rows have a true class; the others
    are left out.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Zhendong Yang and Ailing Zeng and Zhe Li and Tianke Zhang and Chun Yuan and Yu Li",
        title="From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with "
        "Normalized Loss and Customized Soft Labels",
        year=2023,
        venue="ICCV",
        arxiv="2303.13005",
    )
    temperature: float = 3.0
    gamma: float = 3.5

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", gamma="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        ours, theirs = widened(student.logits), widened(teacher.logits.detach())
        true = of_class(batch.target, ours.shape[-1])
        surely = F.softmax(theirs, dim=-1) * F.log_softmax(ours, dim=-1)
        others = rest_log_softmax(theirs / self.temperature, true).exp() * rest_log_softmax(
            ours / self.temperature, true
        )
        rest = labelled_mean(-others.sum(-1), batch.labelled)
        return {
            "hard": cross_entropy(student.logits, batch.target, batch.labelled),
            "target": labelled_mean(-surely.masked_fill(~true, 0).sum(-1), batch.labelled),
            "rest": self.gamma * self.temperature**2 * rest,
        }


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "nkd", NKD()
