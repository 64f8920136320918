"""LONDON: match blocks' Lipschitz constants, on top of OFD (Shang et al., arXiv:2108.12905)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.api import (
    Batch,
    Family,
    Losses,
    Method,
    Needs,
    Outputs,
    Paper,
    Setup,
    Unsupported,
    hookimpl,
)
from kdbench.functional import cross_entropy, pooled_alike, widened
from kdbench_methods.connectors import projector
from kdbench_methods.ofd import OFD, partial_distance
from kdbench_methods.ranges import check_ranges

FIRST = {"random": torch.rand_like, "ones": torch.ones_like}


def transmitting(
    first: Float[Tensor, "batch channels height width"],
    second: Float[Tensor, "batch others tall wide"],
) -> Float[Tensor, "batch channels others"]:
    """A block's transmitting matrix: mean over places of the products of what goes in and out.

    Of two maps the larger is average-pooled to the smaller.
    """
    first, second = (map_.flatten(2) for map_ in pooled_alike(first, second))
    return torch.matmul(first, second.mT).div(first.shape[2])


def spectral_norm(
    matrix: Float[Tensor, "batch rows columns"], start: Float[Tensor, "batch rows"], iterations: int
) -> Float[Tensor, " batch"]:
    """Largest singular value by power iteration, from below; the gradient sees every iteration.

    At least 1e-6, so that a matrix of zeros has a slope.
    """
    v = start[..., None]
    size: Tensor = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    for _ in range(iterations):
        v = matrix @ (matrix.mT @ (v / size))
        size = torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp(min=1e-12)
    return size.sqrt().flatten()


def norms_gap(
    ours: Sequence[Tensor],
    out: Sequence[Tensor],
    theirs: Sequence[Tensor],
    first: Callable[[Tensor], Tensor],
    iterations: int,
) -> Float[Tensor, ""]:
    """Squared differences of blocks' spectral norms, means over rows; the last block weighs 1/2.

    Each block before it weighs half the next.

    Args:
        ours, theirs: Maps that enter a block, student's and teacher's.
        out: Student's maps that leave a block.
        first: Makes the vector that power iteration starts from, for both networks, of the shape of
            what it is given.
        iterations: Of the power method.
    """
    total = ours[0].new_zeros(())
    for i in range(len(ours) - 1):
        student, teacher = transmitting(ours[i], out[i + 1]), transmitting(*theirs[i : i + 2])
        start = first(teacher[..., 0])
        sigmas = [spectral_norm(one, start, iterations) for one in (student, teacher)]
        total = (total + (sigmas[0] - sigmas[1]).square().mean()) / 2
    return total


@final
@dataclass(frozen=True)
class LONDON(Method):
    """Cross-entropy + lipschitz · squared gaps of blocks' spectral norms + features · OFD's term.

    From each preact to the next, a row's transmitting matrix stands for the block between them; its
    largest singular value, by power iteration from the same vector for both networks, for the
    block's Lipschitz constant. A block's squared difference is a mean over rows; the last block
    weighs 1/2, each one before it half the next. The student's preacts go through OFD's connectors
    first. The teacher's batch norms use the batch's statistics.

    Attributes:
        lipschitz: Weight of the spectral norms' term, in [0, inf).
        features: Weight of OFD's term, in [0, inf); 0, as in `london_alone`, leaves it out.
        iterations: Of the power method, an integer in [1, inf).
        start: Its first vector: "random" in (0, 1), of each row and step, or "ones".
        authors: Whether the map that leaves a block is the student's own, as in the authors' code,
            and not the connected one.

    Reference:
        Shang, Duan, Zong, Nie, Yan. Lipschitz Continuity Guided Knowledge Distillation. 2021,
        arXiv:2108.12905, section 3. Weights, iterations and start are those of the authors' code
        for CIFAR-100, its third pair (0.25 / 200); for ImageNet it has 5 iterations from ones.

    *Differs from the reference:* both maps of a pair are connected. Both networks start from one
    vector, where the code draws one for each. In some pairs the authors change the weight after
    60 % of the training. Power iteration ends below the norm where the largest singular values are
    close, for both networks. The authors train for 200 epochs at a rate of 0.1, which is the
    protocol's business here.
    """

    family: ClassVar[Family] = "function"
    paper: ClassVar[Paper] = Paper(
        authors="Yuzhang Shang and Bin Duan and Ziliang Zong and Liqiang Nie and Yan Yan",
        title="Lipschitz Continuity Guided Knowledge Distillation",
        year=2021,
        venue="ICCV",
        arxiv="2108.12905",
    )
    extra: ClassVar[str] = "a connector for each hint"
    lipschitz: float = 0.00125
    features: float = 1e-3
    iterations: int = 10
    start: Literal["random", "ones"] = "random"
    authors: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, lipschitz="[0, inf)", features="[0, inf)", iterations="[1, inf)")

    def needs(self) -> Needs:
        return OFD().needs()

    def init(self, setup: Setup) -> Any:  # noqa: ANN401 - the state of OFD, or the connectors of it
        hints = list(zip(setup.student.hints, setup.teacher.hints, strict=True))
        if len(hints) < 2:
            raise Unsupported(
                "london: this pair has a single hint",
                "a transmitting matrix goes from one map to the next",
                "take networks of two strides or more",
            )
        if self.features:
            return OFD().init(setup)
        return {"connectors": [projector(s.channels, t.channels) for s, t in hints]}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:  # noqa: ANN401 - as for init
        own = [widened(map_) for map_ in student.preacts]
        ours = [connect(map_) for connect, map_ in zip(state["connectors"], own, strict=True)]
        theirs = [widened(map_) for map_ in teacher.detach().preacts]
        terms = {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}
        if self.features:
            distance = partial_distance(ours, theirs, state["margins"])
            terms["preacts"] = self.features * distance
        out, first = own if self.authors else ours, FIRST[self.start]
        gap = norms_gap(ours, out, theirs, first, self.iterations)
        return {**terms, "lipschitz": self.lipschitz * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "london", LONDON()
    yield "london_alone", LONDON(features=0.0)
