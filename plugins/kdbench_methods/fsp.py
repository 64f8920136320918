"""Flow of solution procedure: match how stages turn into each other (Yim et al., CVPR 2017)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api import (
    Batch,
    Family,
    Losses,
    Method,
    Needs,
    Outputs,
    Paper,
    Setup,
    Stage,
    Unsupported,
    hookimpl,
)
from kdbench.functional import cross_entropy, pooled_alike, widened
from kdbench_methods.connectors import fitted
from kdbench_methods.ranges import check_ranges


def flows(
    hints: Sequence[Float[Tensor, "batch channels height width"]],
) -> list[Float[Tensor, "batch channels others"]]:
    """Inner products of each hint's channels with the next one's, a mean over places.

    Of two hints the larger is average-pooled to the smaller.
    """
    pairs = [pooled_alike(*pair) for pair in pairwise(hints)]
    return [one.flatten(2) @ two.flatten(2).mT / two[0, 0].numel() for one, two in pairs]


@final
@dataclass(frozen=True)
class FSP(Method):
    """First weight · squared differences of flow matrices; then cross-entropy alone.

    A flow matrix is the mean over places of the products of one hint's channels with the next
    one's; its term is a mean over rows and entries, and the terms are summed. Where a hint's
    channels differ from the teacher's, a trainable 1x1 convolution with batch norm maps the
    student's first; sizes may differ.

    Attributes:
        weight: Weight of the flow term, in (0, inf).
        initial_share: Share of the budget that goes to the flow term, in (0, 1).

    Reference:
        Yim, Joo, Bae, Kim. A Gift from Knowledge Distillation: Fast Optimization, Network
        Minimization and Transfer Learning. CVPR 2017, sections 3.2 to 3.4. Reduction and stages are
        the field's for CIFAR-100 (Tian, Krishnan, Isola. Contrastive Representation Distillation.
        2020, arXiv:1910.10699).

    *Differs from the reference:* the paper asks for equal channels; the connector is an addition,
    and absent where they are equal. Mean over entries instead of their sum, average instead of max
    pooling, as the field has them. The flow starts at the first stage's hint, not at the stem's.
    The initial stage is a share of the one budget, and its learning rate follows the schedule
    instead of being constant.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Junho Yim and Donggyu Joo and Jihoon Bae and Junmo Kim",
        title="A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and "
        "Transfer Learning",
        year=2017,
        venue="CVPR",
        doi="10.1109/CVPR.2017.754",
    )
    extra: ClassVar[str] = "a connector for each hint whose channels differ"
    weight: float = 1.0
    initial_share: float = 1 / 9

    def __post_init__(self) -> None:
        check_ranges(self, weight="(0, inf)", initial_share="(0, 1)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def stages(self) -> tuple[Stage, ...]:
        first = Stage(share=self.initial_share, loss="initial", schedule="restart")
        return first, Stage(share=1 - self.initial_share, schedule="restart")

    def init(self, setup: Setup) -> list[nn.Module]:
        if len(setup.student.hints) < 2:
            raise Unsupported(
                "fsp: no two hints to flow between",
                "a flow matrix is the product of two consecutive hints",
                "name a pair whose networks both have two stages",
            )
        return [fitted(s, t) for s, t in zip(setup.student.hints, setup.teacher.hints, strict=True)]

    def initial(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: list[nn.Module]
    ) -> Losses:
        """The flow term alone."""
        ours = [connect(widened(s)) for s, connect in zip(student.hints, state, strict=True)]
        theirs = flows(teacher.detach().hints)
        gaps = [F.mse_loss(s, t) for s, t in zip(flows(ours), theirs, strict=True)]
        return {"flow": self.weight * sum(gaps[1:], gaps[0])}

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: list[nn.Module]
    ) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "fsp", FSP()
