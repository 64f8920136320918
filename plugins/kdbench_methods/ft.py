"""Factor transfer: paraphrase the teacher, translate the student (Kim et al., arXiv:1802.04977)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, Setup, Stage, hookimpl
from kdbench.functional import attention, cross_entropy, pooled_alike, widened
from kdbench_methods.ranges import check_ranges

Parts = dict[str, nn.Module]


def convolutions(
    layer: type[nn.Conv2d] | type[nn.ConvTranspose2d], *widths: int, norm: bool
) -> nn.Sequential:
    """3x3 convolutions between these widths, each with batch norm (or none) and a leaky ReLU."""
    layers: list[nn.Module] = []
    for ours, wanted in pairwise(widths):
        norms = [nn.BatchNorm2d(wanted)] if norm else []
        layers += [layer(ours, wanted, 3, padding=1), *norms, nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


@final
@dataclass(frozen=True)
class FT(Method):
    """Cross-entropy + weight · the mean difference of factors at unit norm, of the last hint.

    The teacher's factor is the code of an autoencoder of its hint, the paraphraser, which an
    initial stage trains alone and which then stays; the student's is what a translator makes of its
    hint. Of two factors the larger is average-pooled to the smaller. A factor is compared whole, at
    unit L2 norm, entry by entry.

    Attributes:
        weight: Weight of the factor term, in [0, inf).
        rate: Channels of a factor as a share of the teacher's, in (0, 1].
        power: Exponent of the absolute differences, an integer in [1, 2].
        attention: Whether a factor is first reduced to the channel mean of its squares, as the
            field's code has it.
        initial_share: Share of the budget that trains the paraphraser, in (0, 1).

    Reference:
        Kim, Park, Kwak. Paraphrasing Complex Network: Network Compression via Factor Transfer.
        2018, arXiv:1802.04977, section 3. Weight, rate and stages are the field's for CIFAR-100
        (Tian, Krishnan, Isola. Contrastive Representation Distillation. 2020, arXiv:1910.10699).

    *Differs from the reference:* a mean over rows and entries, where the paper has the norm of the
    whole difference. The paraphraser has no batch norm, as in the field's code, and learns within
    the one budget, at the protocol's rate and by its schedule; the field's code has a constant 0.01
    for most networks.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Jangho Kim and SeongUk Park and Nojun Kwak",
        title="Paraphrasing Complex Network: Network Compression via Factor Transfer",
        year=2018,
        venue="NeurIPS",
        arxiv="1802.04977",
    )
    extra: ClassVar[str] = "a paraphraser of the teacher's hint and a translator of the student's"
    weight: float = 200.0
    rate: float = 0.5
    power: int = 1
    attention: bool = False
    initial_share: float = 1 / 9

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", rate="(0, 1]", power="[1, 2]", initial_share="(0, 1)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def stages(self) -> tuple[Stage, ...]:
        first = Stage(share=self.initial_share, loss="initial", trains="state", schedule="restart")
        return first, Stage(share=1 - self.initial_share, schedule="restart")

    def init(self, setup: Setup) -> Parts:
        ours, theirs = setup.student.hints[-1].channels, setup.teacher.hints[-1].channels
        width = max(1, int(self.rate * theirs))
        return {
            "encoder": convolutions(nn.Conv2d, theirs, theirs, width, width, norm=False),
            "decoder": convolutions(nn.ConvTranspose2d, width, width, theirs, theirs, norm=False),
            "translator": convolutions(nn.Conv2d, ours, ours, width, width, norm=True),
        }

    def initial(self, student: Outputs, teacher: Outputs, batch: Batch, state: Parts) -> Losses:
        """The paraphraser's mean squared error of reconstruction."""
        hint = widened(teacher.hints[-1]).detach()
        return {"reconstruction": F.mse_loss(state["decoder"](state["encoder"](hint)), hint)}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Parts) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        with torch.no_grad():
            theirs = state["encoder"](widened(teacher.hints[-1]))
        ours = state["translator"](widened(student.hints[-1]))
        s, t = (self.reduced(factor) for factor in pooled_alike(ours, theirs))
        return {"hard": hard, "factors": self.weight * (s - t).abs().pow(self.power).mean()}

    def reduced(self, factor: Tensor) -> Tensor:
        """What is compared of a factor: a flat row at unit norm."""
        return attention(factor) if self.attention else F.normalize(factor.flatten(1))


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "ft", FT()
