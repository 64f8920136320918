"""Activation boundaries: fire where the teacher fires (Heo et al. 2019, arXiv:1811.03233)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

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
    Stage,
    hookimpl,
)
from kdbench.functional import cross_entropy, widened
from kdbench_methods.connectors import connector
from kdbench_methods.ranges import check_ranges


def boundary(
    student: Float[Tensor, "batch channels height width"],
    teacher: Float[Tensor, "batch channels height width"],
    margin: float,
) -> Float[Tensor, ""]:
    """How far preacts are from the teacher's side of 0, squared: summed, mean over rows.

    Nothing where they are on that side by `margin` at least.
    """
    short = (margin - student * (2.0 * (teacher > 0) - 1)).relu()
    return short.square().sum() / len(student)


@final
@dataclass(frozen=True)
class AB(Method):
    """First weight · margin loss of preacts' signs, summed over hints; then cross-entropy alone.

    A hint's term is a sum over channels and places, a mean over rows; the last hint weighs 1, each
    one before it half the next. Where the shapes differ, a connector maps the student's preacts.

    Attributes:
        weight: Weight of the boundary term, in (0, inf).
        margin: Distance from 0 that is asked of the student, in (0, inf).
        initial_share: Share of the budget that goes to the boundary term, in (0, 1).

    Reference:
        Heo, Lee, Yun, Choi. Knowledge Transfer via Distillation of Activation Boundaries Formed by
        Hidden Neurons. 2019, arXiv:1811.03233, section 3. Margin, weights and stages are those of
        the authors' code and the field's for CIFAR-100 (Tian, Krishnan, Isola. Contrastive
        Representation Distillation. 2020, arXiv:1910.10699).

    *Differs from the reference:* the weights of the hints and the constant are the code's, not the
    paper's. The connector is a 1x1 convolution with batch norm, with pooling or interpolation
    where sizes differ; it is left out where shapes are equal, as the field does and the paper does
    not. The initial stage is a share of the one budget instead of epochs before it, and its
    learning rate follows the schedule instead of being constant.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Byeongho Heo and Minsik Lee and Sangdoo Yun and Jin Young Choi",
        title="Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden "
        "Neurons",
        year=2019,
        venue="AAAI",
        arxiv="1811.03233",
    )
    extra: ClassVar[str] = "a connector for each hint whose shape differs"
    weight: float = 0.003
    margin: float = 1.0
    initial_share: float = 1 / 9

    def __post_init__(self) -> None:
        check_ranges(self, weight="(0, inf)", margin="(0, inf)", initial_share="(0, 1)")

    def needs(self) -> Needs:
        return Needs(preacts=True)

    def stages(self) -> tuple[Stage, ...]:
        first = Stage(share=self.initial_share, loss="initial", schedule="restart")
        return first, Stage(share=1 - self.initial_share, schedule="restart")

    def init(self, setup: Setup) -> list[nn.Module]:
        return [
            nn.Identity() if shape(s) == shape(t) else connector(s, t)
            for s, t in zip(setup.student.hints, setup.teacher.hints, strict=True)
        ]

    def initial(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: list[nn.Module]
    ) -> Losses:
        """The boundary term alone."""
        total = widened(student.logits).new_zeros(())
        for s, t, connect in zip(student.preacts, teacher.preacts, state, strict=True):
            total = total / 2 + boundary(connect(widened(s)), widened(t).detach(), self.margin)
        return {"boundary": self.weight * total}

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: list[nn.Module]
    ) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}


def shape(hint: Hint) -> tuple[int, int, int]:
    """Channels, height, width."""
    return hint.channels, hint.height, hint.width


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "ab", AB()
