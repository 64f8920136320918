"""KD by singular value decomposition: match how principal directions turn (arXiv:1807.06819)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import torch
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
    Unsupported,
    hookimpl,
)
from kdbench.functional import cross_entropy, unit_rows, widened
from kdbench_methods.connectors import fitted
from kdbench_methods.ranges import check_ranges


def leading_eigenvectors(
    gram: Float[Tensor, "batch side side"], count: int
) -> Float[Tensor, "batch side count"]:
    """Eigenvectors of the largest eigenvalues, largest first; their gradient reaches `gram`.

    The slope comes from first-order perturbation, the sum over other eigenvectors of their share
    over the gap of eigenvalues. Gaps that rounding cannot tell from none are left out, where
    torch's own gradient is not finite.
    """
    values, vectors = torch.linalg.eigh(gram.detach())
    values, vectors = values.flip(-1), vectors.flip(-1)
    gaps = values[:, None, :count] - values[:, :, None]
    least = values[:, :1, None].abs() * torch.finfo(gram.dtype).eps * gram.shape[-1]
    rates = torch.where(gaps.abs() > least, 1 / gaps, 0)
    top = vectors[..., :count]
    change = vectors.mT @ (gram - gram.detach()) @ top  # zeros, with a graph
    moved: Tensor = top + vectors @ (rates * change)
    return moved


def directions(
    map_: Float[Tensor, "batch channels height width"], count: int
) -> Float[Tensor, "batch count channels"]:
    """Right singular vectors of places x channels, largest first, largest component positive.

    At most as many as there are places or channels. From the smaller of both Gram matrices.
    """
    x = widened(map_).flatten(2).mT
    if x.shape[1] < x.shape[2]:
        found = unit_rows((x.mT @ leading_eigenvectors(x @ x.mT, count)).mT)
    else:
        found = leading_eigenvectors(x.mT @ x, count).mT
    largest = found.gather(2, found.abs().argmax(2, keepdim=True)).detach()
    return torch.where(largest < 0, -found, found)


def turns(
    first: Float[Tensor, "batch count channels"], second: Float[Tensor, "batch count others"]
) -> Float[Tensor, "batch count others channels"]:
    """Gaussian kernel, of deviation 2, of all components of two maps' directions."""
    return ((second[..., :, None] - first[..., None, :]).square() / -8).exp()


def matched(
    ours: Float[Tensor, "batch channels height width"],
    theirs: Float[Tensor, "batch channels tall wide"],
    count: int,
    spare: int,
) -> tuple[Float[Tensor, "batch count channels"], Float[Tensor, "batch count channels"]]:
    """A hint's directions of student and teacher, matched and weighed.

    To each of the teacher's belongs, of `spare` more, the student's of the largest absolute cosine.
    """
    goal = directions(theirs, count)
    guess = directions(ours, count + spare)
    cosine = goal @ guess.detach().mT
    best = cosine.abs().argmax(2, keepdim=True)
    guess = guess.gather(1, best.expand(-1, -1, guess.shape[2])) * cosine.gather(2, best).sign()
    strengths = unit_rows((goal @ widened(theirs).flatten(2)).norm(dim=2))[..., None]
    return guess * strengths, goal * strengths


@final
@dataclass(frozen=True)
class KDSVD(Method):
    """Cross-entropy + weight · squared differences of the turns from each hint to the next.

    A hint is a matrix of places x channels; its leading right singular vectors are its directions.
    To each of the teacher's belongs the student's of the largest absolute cosine, with the cosine's
    sign; both weigh by the teacher's singular value. A turn is the Gaussian kernel of every
    component of one hint's direction with every one of the next hint's. The term is a sum over
    components and hints, a mean over rows.

    Attributes:
        weight: Weight of the turns' term, in [0, inf).
        count: Directions of a hint, an integer in [1, inf).
        spare: How many more of the student's directions may be matched, an integer in [0, inf).

    Reference:
        Lee, Kim, Song. Self-supervised Knowledge Distillation Using Singular Value Decomposition.
        2018, arXiv:1807.06819, section 3. Settings are those of RepDistiller (Tian, Krishnan,
        Isola, arXiv:1910.10699).

    *Differs from the reference:* a singular vector's sign is arbitrary, and the value hangs on it;
    here the teacher's largest component is positive, in the code it is as the decomposition left
    it. Vectors of different length have no cosine: where channels differ, the student's hint goes
    through a trained 1x1 convolution with batch norm; the code fails there and on maps that are
    not square. Slopes between equal singular values are left out; in the code, not finite.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Seung Hyun Lee and Dae Ha Kim and Byung Cheol Song",
        title="Self-supervised Knowledge Distillation Using Singular Value Decomposition",
        year=2018,
        venue="ECCV",
        arxiv="1807.06819",
    )
    extra: ClassVar[str] = "a 1x1 convolution with batch norm for each hint of other channels"
    weight: float = 1.0
    count: int = 1
    spare: int = 3

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", count="[1, inf)", spare="[0, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> nn.ModuleList:
        hints = list(zip(setup.student.hints, setup.teacher.hints, strict=True))
        places = [port.height * port.width for pair in hints for port in pair]
        least = min(*places, *(t.channels for _, t in hints)) if hints else 0
        if len(hints) < 2 or least < self.count:
            raise Unsupported(
                f"kdsvd: this pair has {len(hints)} hints and {least} directions in the smallest",
                f"turns go from one hint to the next, for {self.count} directions",
                "take networks of two strides or more, or kdsvd[count=1]",
            )
        return nn.ModuleList(fitted(s, t) for s, t in hints)

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.ModuleList
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        pairs = [
            matched(connect(widened(s)), t.detach(), self.count, self.spare)
            for connect, s, t in zip(state, student.hints, teacher.hints, strict=True)
        ]
        gaps = [
            F.mse_loss(turns(s, ours), turns(t, theirs), reduction="sum") / len(ours)
            for (s, t), (ours, theirs) in pairwise(pairs)
        ]
        return {"hard": hard, "turns": self.weight * sum(gaps, hard.new_zeros(()))}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "kdsvd", KDSVD()
