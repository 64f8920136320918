"""Overhaul of feature distillation: preacts at a partial distance (Heo, arXiv:1904.01866)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypedDict, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cross_entropy, pooled_alike, widened
from kdbench_methods.connectors import projector
from kdbench_methods.ranges import check_ranges


class State(TypedDict):
    """Connectors, and the margin of each of the teacher's channels, a hint each."""

    connectors: list[nn.Module]
    margins: list[Tensor]


def margin_of(norm: nn.BatchNorm2d) -> Float[Tensor, " channels"]:
    """Mean of the negative values of N(bias, weight²), which a batch norm's output is taken for.

    Where hardly any are negative (a share of 1e-3 at most), -3 · |weight|, as the authors have it.
    Computed in float64 without a quotient of two vanishing numbers; given in the norm's precision.
    """
    mean, spread = norm.bias.detach().cpu().double(), norm.weight.detach().cpu().double().abs()
    z = mean / spread.clamp(min=1e-300)
    hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(z / math.sqrt(2))
    rare = torch.special.ndtr(-z) <= 1e-3
    return torch.where(rare, -3 * spread, mean - spread * hazard).to(norm.weight)


def margins_measured(setup: Setup) -> list[Float[Tensor, " channels"]]:
    """Mean of the teacher's negative preacts over the transfer set, 0 for a channel without any."""
    sums: list[Tensor] = []
    for teacher, _ in setup.teacher_passes("transfer"):
        low = [widened(map_).detach().clamp(max=0) for map_ in teacher.preacts]
        new = [torch.stack([m.sum((0, 2, 3)), (m < 0).sum((0, 2, 3)).to(m)]) for m in low]
        sums = [old + more for old, more in zip(sums, new, strict=True)] if sums else new
    return [total / count.clamp(min=1) for total, count in sums]


def partial_distance(
    student: Sequence[Float[Tensor, "batch channels height width"]],
    teacher: Sequence[Float[Tensor, "batch channels tall wide"]],
    margins: Sequence[Float[Tensor, " channels"]],
) -> Float[Tensor, ""]:
    """Squared distance to the teacher's preacts raised to a margin, 0 where student <= it <= 0.

    A hint's is a sum over channels and places, a mean over rows; the last hint weighs 1, each one
    before it half the next. Of two maps the larger is average-pooled to the smaller.
    """
    total = student[0].new_zeros(())
    for s, t, margin in zip(student, teacher, margins, strict=True):
        ours, theirs = pooled_alike(s, t)
        target = torch.maximum(theirs, margin.to(theirs)[:, None, None])
        counts = (ours > target) | (target > 0)
        total = total / 2 + ((ours - target).square() * counts).sum() / len(ours)
    return total


@final
@dataclass(frozen=True)
class OFD(Method):
    """Cross-entropy + weight · partial squared distance of preacts, summed over hints.

    Targets are the teacher's preacts, raised to a negative margin, a channel's own; the distance is
    none where student <= target <= 0. A hint's term is a sum over channels and places, a mean over
    rows; the last hint weighs 1, each one before it half the next. The student's preacts go through
    a 1x1 convolution with batch norm; of two maps the larger is average-pooled to the smaller. The
    teacher's batch norms use the batch's statistics.

    Attributes:
        weight: Weight of the distance, in [0, inf).

    Reference:
        Heo, Kim, Yun, Park, Kwak, Choi. A Comprehensive Overhaul of Feature Distillation. 2019,
        arXiv:1904.01866, section 3. Weights are those of the authors' code for CIFAR-100.

    *Differs from the reference:* where a preact is not made by a batch norm, the margin is measured
    on the transfer set, with the teacher's running statistics; the code knows only batch norms. The
    norm of a residual block is its last, the shortcut left out, and where hardly any value is
    negative the margin is three standard deviations below 0; both are the code's, not the paper's.
    The authors' maps are of equal size; where not, pooling is the field's. The authors pad images
    by reflection and train for 200 epochs at a rate of 0.1, which is the protocol's business here.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Byeongho Heo and Jeesoo Kim and Sangdoo Yun and Hyojin Park and Nojun Kwak and "
        "Jin Young Choi",
        title="A Comprehensive Overhaul of Feature Distillation",
        year=2019,
        venue="ICCV",
        arxiv="1904.01866",
    )
    extra: ClassVar[str] = "a connector for each hint"
    weight: float = 1e-3

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)")

    def needs(self) -> Needs:
        return Needs(preacts=True, statistics="batch")

    def init(self, setup: Setup) -> State:
        hints = list(zip(setup.student.hints, setup.teacher.hints, strict=True))
        norms = setup.teacher.norms or (None,) * len(hints)
        known = [isinstance(norm, nn.BatchNorm2d) and norm.affine for norm in norms]
        measured = [] if all(known) else margins_measured(setup)
        return {
            "connectors": [projector(s.channels, t.channels) for s, t in hints],
            "margins": [
                margin_of(norm) if isinstance(norm, nn.BatchNorm2d) and norm.affine else measured[i]
                for i, norm in enumerate(norms)
            ],
        }

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: State) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        pairs = zip(state["connectors"], student.preacts, strict=True)
        ours = [connect(widened(map_)) for connect, map_ in pairs]
        gap = partial_distance(ours, teacher.detach().preacts, state["margins"])
        return {"hard": hard, "preacts": self.weight * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "ofd", OFD()
