"""What the methods of `tang` share: targets that keep a part of what a teacher says."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, Setup, Unsupported
from kdbench.functional import (
    cross_entropy,
    divergence,
    labelled_mean,
    of_class,
    rest_log_softmax,
    widened,
)
from kdbench_methods.ranges import check_ranges


def around(
    confidence: float | Float[Tensor, "batch 1"],
    relation: Float[Tensor, "batch classes"],
    target: Int[Tensor, " batch"],
) -> Float[Tensor, "batch classes"]:
    """`confidence` on the true class; the others share the rest by the softmax of `relation`."""
    true = of_class(target, relation.shape[-1])
    others = rest_log_softmax(relation, true).exp() * (1 - confidence)
    return others.masked_fill(true, 0) + true.to(others.dtype) * confidence


def true_probability(
    softened: Float[Tensor, "batch classes"], target: Int[Tensor, " batch"]
) -> Float[Tensor, "batch 1"]:
    """The teacher's probability of the true class."""
    return F.softmax(softened, dim=-1).gather(-1, target.unsqueeze(-1))


def class_means(setup: Setup, temperature: float) -> Float[Tensor, "classes classes"]:
    """The teacher's softened probabilities, mean over the rows of each class.

    Summed in float64 and in order, so that the means are the same bits on every device.
    """
    sums = torch.zeros(setup.num_classes, setup.num_classes, dtype=torch.float64)
    said = sums
    for outputs, batch in setup.teacher_passes("transfer"):
        said = F.softmax(widened(outputs.logits.detach()) / temperature, dim=-1)
        rows = batch.labelled
        sums.index_add_(0, batch.target[rows].cpu(), said[rows].cpu().double())
    return F.normalize(sums, p=1, dim=-1).to(said)


def related(
    tree: tuple[int, ...], true_mass: float, sibling_share: float
) -> Float[Tensor, "classes classes"]:
    """For each class a distribution: itself, its siblings of the same coarse label, the others."""
    coarse, itself = torch.tensor(tree), torch.eye(len(tree), dtype=torch.float64)
    siblings = (coarse == coarse.unsqueeze(-1)).double() - itself
    strangers = 1 - siblings - itself
    rest = sibling_share * F.normalize(siblings, p=1) + (1 - sibling_share) * F.normalize(
        strangers, p=1
    )
    return true_mass * itself + (1 - true_mass) * F.normalize(rest, p=1)


@dataclass(frozen=True)
class Partial(Method, ABC):
    """KD with another target in place of the teacher's softened classes.

    (1 - alpha) · cross-entropy + alpha · T² · KL(target || student at temperature T), mean over the
    rows that count.

    Attributes:
        temperature: T, what the logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Jiaxi Tang and Rakesh Shivanna and Zhe Zhao and Dong Lin and Anima Singh and "
        "Ed H. Chi and Sagar Jain",
        title="Understanding and Improving Knowledge Distillation",
        year=2020,
        arxiv="2002.03532",
    )
    by_class: ClassVar[bool] = True
    """Whether the target needs a row's class, so that rows without a label do not count."""

    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", alpha="[0, 1]")

    @abstractmethod
    def soft_target(
        self,
        softened: Float[Tensor, "batch classes"],
        target: Int[Tensor, " batch"],
        state: Any,  # noqa: ANN401 - as for init
    ) -> Float[Tensor, "batch classes"]:
        """The target's probabilities, from the teacher's logits / T and the rows' classes."""

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: Tensor | None
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        softened = widened(teacher.logits.detach()) / self.temperature
        known = batch.target.masked_fill(~batch.labelled, 0)
        target = self.soft_target(softened, known, state)
        counted = batch.labelled if self.by_class else torch.ones_like(batch.labelled)
        apart = labelled_mean(divergence(student.logits, target, self.temperature), counted)
        return {
            "hard": (1 - self.alpha) * hard,
            "soft": self.alpha * self.temperature**2 * apart,
        }


@dataclass(frozen=True)
class Similar(Partial, ABC):
    """Of KD by class similarity: the state is the teacher's, sharpened.

    Attributes:
        temperature: What the student's logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        power: Exponent of the cosines, whose sign is kept, in (0, inf).
        spread: What the powers are divided by before the softmax, in (0, inf).
    """

    power: float = 0.3
    spread: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, power="(0, inf)", spread="(0, inf)")

    def init(self, setup: Setup) -> Tensor:
        if setup.teacher.classifier is None:
            raise Unsupported(
                f"{type(self).__name__}: the teacher has no class weights",
                "the target is made of the cosines between the rows of one linear layer",
                "name a teacher whose classifier is one, or ask for kd_rel",
            )
        rows = F.normalize(widened(setup.teacher.classifier.weight.detach()), dim=-1)
        cosines = rows @ rows.T
        return cosines.sign() * cosines.abs().pow(self.power) / self.spread
