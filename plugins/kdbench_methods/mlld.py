"""Multi-level logit distillation: rows, batch and classes at once (Jin et al. 2023, CVPR)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, softened_kl, widened
from kdbench_methods.ranges import check_ranges

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)


def gram_gap(
    student: Float[Tensor, "rows columns"], teacher: Float[Tensor, "rows columns"]
) -> Float[Tensor, ""]:
    """Squared differences between the inner products of all pairs of rows, summed, / rows."""
    return (student @ student.T - teacher @ teacher.T).square().sum() / len(student)


def levels(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    temperature: float,
) -> dict[str, Float[Tensor, ""]]:
    """What is matched at one temperature: every row, rows with each other, classes likewise."""
    ours, theirs = (
        (widened(z) / temperature).softmax(-1) for z in (student_logits, teacher_logits)
    )
    return {
        "instance": softened_kl(student_logits, teacher_logits, temperature),
        "batch": gram_gap(ours, theirs),
        "class": gram_gap(ours.T, theirs.T),
    }


def summed(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The sum of each level."""
    return {name: torch.stack([one[name] for one in parts]).sum() for name in parts[0]}


def lower_half(confidence: Float[Tensor, " many"]) -> Float[Tensor, ""]:
    """Share of the entries that are not above the median: a half, or a little more."""
    return (confidence <= confidence.quantile(0.5)).to(confidence.dtype).mean()


@final
@dataclass(frozen=True)
class MLLD(Method):
    """(1 - alpha) · cross-entropies + alpha · three levels at five temperatures, on two views.

    The levels: T² · KL(teacher || student) of every row; the squared differences of the inner
    products of rows, summed, over the number of rows; those of classes over the number of classes.
    Each is summed over the temperatures 2, 3, 4, 5 and 6 and over the plain and the second view.

    Attributes:
        alpha: Weight of the three levels, in [0, 1].
        authors: Whether to add up what the authors' code does: the plain view's levels times the
            share of rows (of classes for "class") whose confidence is not above the median; of the
            second view only the rows' level at 3, 4 and 5; the plain view's again at 2 and 6.

    Reference:
        Jin, Wang, Lin. Multi-Level Logit Distillation. 2023, CVPR, section 3. The weights are the
        authors' for CIFAR-100.

    *Differs from the reference:* the authors select rows and classes by confidence, but their code
    reduces first, so that the selection only scales; it is left out unless `authors`. Their
    learning rate is half, and some of their pairs train two to four times as long; here the
    protocol has both. The second view is the host's.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Ying Jin and Jiaqi Wang and Dahua Lin",
        title="Multi-Level Logit Distillation",
        year=2023,
        venue="CVPR",
        doi="10.1109/CVPR52729.2023.02325",
    )
    alpha: float = 0.9
    authors: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, alpha="[0, 1]")

    def needs(self) -> Needs:
        return Needs(second=True)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        assert student.second is not None and teacher.second is not None  # needs() asks for them
        theirs = teacher.logits.detach()
        second = teacher.second.logits.detach()
        plain = [levels(student.logits, theirs, t) for t in TEMPERATURES]
        strong = [levels(student.second.logits, second, t) for t in TEMPERATURES]
        if self.authors:
            sure = widened(theirs).softmax(-1)
            rows, classes = lower_half(sure.amax(-1)), lower_half(sure.sum(0))
            shares = {"instance": rows, "batch": rows, "class": classes}
            total = {name: shares[name] * value for name, value in summed(plain).items()}
            mixed = summed([plain[0], *strong[1:-1], plain[-1]])
            total["instance"] = total["instance"] + mixed["instance"]
        else:
            total = summed(plain + strong)
        return {
            name: (1 - self.alpha) * cross_entropy(z, batch.target, batch.labelled)
            for name, z in {"hard": student.logits, "hard_second": student.second.logits}.items()
        } | {name: self.alpha * value for name, value in total.items()}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "mlld", MLLD()
