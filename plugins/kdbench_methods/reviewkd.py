"""ReviewKD: each level of the teacher from that level and all deeper (Chen et al. 2021)."""

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
from kdbench.functional import cross_entropy, warmed_up, widened
from kdbench_methods.ranges import check_ranges


class Fusion(nn.Module):
    """One level's map and what the deeper levels hand up, weighed by attention, added.

    Args:
        channels: Of the student's map.
        middle: Channels of what is handed from level to level.
        towards: Shape of the teacher's map.
        fuses: Whether there is a deeper level.
    """

    def __init__(self, channels: int, middle: int, towards: Hint, *, fuses: bool) -> None:
        super().__init__()
        self.size = (towards.height, towards.width)
        enter = nn.Conv2d(channels, middle, 1, bias=False)
        leave = nn.Conv2d(middle, towards.channels, 3, padding=1, bias=False)
        for convolution in (enter, leave):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.enter = nn.Sequential(enter, nn.BatchNorm2d(middle))
        self.leave = nn.Sequential(leave, nn.BatchNorm2d(towards.channels))
        self.attend = nn.Conv2d(2 * middle, 2, 1) if fuses else None

    def forward(self, own: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """A map of the teacher's shape, and what is handed up."""
        own = self.enter(own)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, own.shape[-2:], mode="nearest")
            shares = self.attend(torch.cat([own, deeper], 1)).sigmoid()
            own = own * shares[:, :1] + deeper * shares[:, 1:]
        if own.shape[-2:] != self.size:
            own = F.interpolate(own, self.size, mode="nearest")
        return self.leave(own), own


def context_gap(
    first: Float[Tensor, "batch channels height width"],
    second: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, ""]:
    """Weighted mean of mean squared differences: of the maps, and pooled to 4 x 4, 2 x 2, 1 x 1.

    Only sizes below the smaller side of the map count; each weighs half of the one before.
    """
    sizes = [size for size in (4, 2, 1) if size < min(first.shape[-2:])]
    gaps = [F.mse_loss(first, second)]
    for size in sizes:
        ours, theirs = (F.adaptive_avg_pool2d(map_, size) for map_ in (first, second))
        gaps.append(F.mse_loss(ours, theirs))
    weights = [0.5**place for place in range(len(gaps))]
    parts = [weight * gap for weight, gap in zip(weights, gaps, strict=True)]
    return torch.stack(parts).sum() / sum(weights)


@final
@dataclass(frozen=True)
class ReviewKD(Method):
    """Cross-entropy + weight · warm-up · the gap to the teacher's levels, pooled at four sizes.

    The levels are the hints and, deepest, the pooled features. The student's are fused from deep to
    shallow and compared with the teacher's hints before their activation. A level's gap is a mean;
    levels are added.

    Attributes:
        weight: Weight of the review term, in [0, inf).
        warmup: Share of the budget in which the weight rises linearly from 0, in [0, 1].

    Reference:
        Chen, Liu, Zhao, Jia. Distilling Knowledge via Knowledge Review. 2021, arXiv:2104.09044,
        section 3. The weight is the authors' for resnet32x4 and resnet8x4; they set it for every
        pair, from 0.6 to 8.

    *Differs from the reference:* the paper gives no weights of the sizes; the authors' code,
    followed here, halves them in the order in which they are used and divides by their sum. Sizes
    are held against the smaller side, not against the height. The warm-up rises with every step,
    not every epoch. For a few students the authors' code takes their hints, too, before the
    activation.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Pengguang Chen and Shu Liu and Hengshuang Zhao and Jiaya Jia",
        title="Distilling Knowledge via Knowledge Review",
        year=2021,
        venue="CVPR",
        arxiv="2104.09044",
    )
    extra: ClassVar[str] = "a fusion module a level"
    weight: float = 5.0
    warmup: float = 1 / 12

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", warmup="[0, 1]")

    def needs(self) -> Needs:
        return Needs(hints=True, preacts=True)

    def init(self, setup: Setup) -> nn.ModuleList:
        student, teacher = setup.student, setup.teacher
        middle = min(512, student.pooled_dim)
        pooled = Hint(channels=teacher.pooled_dim, height=1, width=1, stride=1)
        deepest = Fusion(student.pooled_dim, middle, pooled, fuses=False)
        pairs = reversed(list(zip(student.hints, teacher.hints, strict=True)))
        return nn.ModuleList(
            [deepest, *(Fusion(ours.channels, middle, to, fuses=True) for ours, to in pairs)]
        )

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: Sequence[nn.Module]
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours = [*student.hints, student.pooled[..., None, None]]
        theirs = [*teacher.preacts, teacher.pooled[..., None, None]]
        gaps, deeper = [], None
        for fusion, own, target in zip(state, reversed(ours), reversed(theirs), strict=True):
            guess, deeper = fusion(widened(own), deeper)
            gaps.append(context_gap(guess, widened(target).detach()))
        warm = warmed_up(batch.progress, self.warmup)
        return {"hard": hard, "review": self.weight * warm * torch.stack(gaps).sum()}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "reviewkd", ReviewKD()
