"""MGD: make the teacher's map from a masked one (Yang et al. 2022, arXiv:2205.01529)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import nn

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cross_entropy, widened
from kdbench_methods.connectors import Resize
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class MGD(Method):
    """Cross-entropy + weight · squared difference of the teacher's last hint and a generated one.

    It is generated (3x3 convolution, ReLU, 3x3 convolution) from the student's last hint, of which
    a random part of the channels is 0. Sum over channels and places, mean over rows.

    Attributes:
        weight: Weight of the generation term, in [0, inf).
        ratio: Chance that a channel is masked, in [0, 1).

    Reference:
        Yang, Li, Shao, Shi, Yuan, Yuan. Masked Generative Distillation. 2022, arXiv:2205.01529,
        section 3: channels are masked, as for ImageNet. Weight and ratio are those of the authors'
        settings for ImageNet; a comment of theirs has a ratio of 0.5.

    *Differs from the reference:* the authors' networks have last maps of equal size; a student's
    map of another size is pooled or interpolated to the teacher's. The paper has no CIFAR-100; the
    sum over channels and places makes the weight depend on the map's size.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Zhendong Yang and Zhe Li and Mingqi Shao and Dachuan Shi and Zehuan Yuan"
        " and Chun Yuan",
        title="Masked Generative Distillation",
        year=2022,
        venue="ECCV",
        arxiv="2205.01529",
    )
    extra: ClassVar[str] = "a generation block, and a convolution where channels differ"
    weight: float = 7e-5
    ratio: float = 0.15

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", ratio="[0, 1)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> dict[str, nn.Module]:
        ours, theirs = setup.student.hints[-1], setup.teacher.hints[-1]
        align: list[nn.Module] = [Resize(theirs.height, theirs.width)]
        if ours.channels != theirs.channels:
            align.append(nn.Conv2d(ours.channels, theirs.channels, 1))
        first, second = (nn.Conv2d(theirs.channels, theirs.channels, 3, padding=1) for _ in "12")
        return {
            "align": nn.Sequential(*align),
            "generate": nn.Sequential(first, nn.ReLU(), second),
        }

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: dict[str, nn.Module]
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        aligned = state["align"](widened(student.hints[-1]))
        kept = torch.rand(aligned.shape[:2], device=aligned.device) >= self.ratio
        made = state["generate"](aligned * kept[..., None, None])
        gap = (made - widened(teacher.hints[-1]).detach()).square().sum((1, 2, 3)).mean()
        return {"hard": hard, "generation": self.weight * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "mgd", MGD()
