"""KD by parts: only some of what a teacher says is kept (Tang et al. 2020, arXiv:2002.03532)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from kdbench.api import (
    Batch,
    Family,
    Losses,
    Method,
    Outputs,
    Paper,
    Setup,
    Unsupported,
    hookimpl,
)  # fmt: skip
from kdbench.functional import cross_entropy, labelled_mean, of_class, rest_log_softmax, widened
from kdbench_methods.ranges import check_ranges


def divergence(
    student_logits: Float[Tensor, "batch classes"],
    target: Float[Tensor, "batch classes"],
    temperature: float,
) -> Float[Tensor, " batch"]:
    """KL(target || student at this temperature) of each row, nats."""
    guess = F.log_softmax(widened(student_logits) / temperature, dim=-1)
    return F.kl_div(guess, target, reduction="none").sum(-1)


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


@final
@dataclass(frozen=True)
class KDTopK(Partial):
    """KD with the teacher's k largest probabilities; the other classes share what is left.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        k: How many probabilities are kept, an integer in [1, inf); from the number of classes on
            this is KD.
        rest: What becomes of the others' mass: "uniform", spread over them, or "renormalise", given
            to the kept ones in proportion.

    Reference:
        Tang, Shivanna, Zhao, Lin, Singh, Chi, Jain. Understanding and Improving Knowledge
        Distillation. 2020, arXiv:2002.03532, section 4.

    *Differs from the reference:* there is no official code. KL divergence and factor T², as KD has
    them, where the paper has a cross-entropy without the factor. The paper tunes k; here it is the
    size of CIFAR-100's super-classes. Temperature and weights are those of KD.
    """

    by_class: ClassVar[bool] = False
    k: int = 5
    rest: Literal["uniform", "renormalise"] = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, k="[1, inf)")

    def soft_target(self, softened: Tensor, target: Tensor, state: None) -> Tensor:
        said = F.softmax(softened, dim=-1)
        classes = said.shape[-1]
        k = min(self.k, classes)
        kept = torch.zeros_like(said, dtype=torch.bool)
        kept = kept.scatter(-1, said.topk(k, dim=-1).indices, True)
        if self.rest == "renormalise":
            large = said.masked_fill(~kept, 0)
            return large / large.sum(-1, keepdim=True)
        left = said.masked_fill(kept, 0).sum(-1, keepdim=True)  # 1 - sum could be negative
        return torch.where(kept, said, left / max(classes - k, 1))


@final
@dataclass(frozen=True)
class KDPt(Partial):
    """KD with the teacher's probability of the true class; the other classes share equally.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].

    Reference:
        Tang, Shivanna, Zhao, Lin, Singh, Chi, Jain. Understanding and Improving Knowledge
        Distillation. 2020, arXiv:2002.03532, section 4.

    *Differs from the reference:* there is no official code. KL divergence and factor T², as KD has
    them, where the paper has a cross-entropy without the factor. Temperature and weights are those
    of KD. Rows without a label are left out of the soft term.
    """

    def soft_target(self, softened: Tensor, target: Tensor, state: None) -> Tensor:
        return around(true_probability(softened, target), torch.zeros_like(softened), target)


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


@final
@dataclass(frozen=True)
class KDSim(Similar):
    """KD with a target of the class alone: the softmax of sharpened cosines of class weights.

    Cosine c between the teacher's classifier rows of the true and of another class counts as
    sign(c) · |c|^power / spread.

    Attributes:
        temperature: What the student's logits are divided by, in (0, inf); the target is not
            softened.
        alpha: Weight of the soft term, in [0, 1].
        power: Exponent of the cosines, in (0, inf).
        spread: What the powers are divided by before the softmax, in (0, inf).

    Reference:
        Tang, Shivanna, Zhao, Lin, Singh, Chi, Jain. Understanding and Improving Knowledge
        Distillation. 2020, arXiv:2002.03532, section 4.

    *Differs from the reference:* there is no official code. KL divergence and factor T², as KD has
    them, where the paper has a cross-entropy without the factor. A negative cosine keeps its sign.
    Power and spread are not confirmed; temperature and weights are those of KD. Rows without a
    label are left out of the soft term.
    """

    def soft_target(self, softened: Tensor, target: Tensor, state: Tensor) -> Tensor:
        return F.softmax(state, dim=-1)[target]


@final
@dataclass(frozen=True)
class KDPtSim(Similar):
    """KD with the teacher's probability of the true class; the others share by similarity.

    Their shares are those of `kd_sim`, without the true class.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        power: Exponent of the cosines, in (0, inf).
        spread: What the powers are divided by before the softmax, in (0, inf).

    Reference:
        Tang, Shivanna, Zhao, Lin, Singh, Chi, Jain. Understanding and Improving Knowledge
        Distillation. 2020, arXiv:2002.03532, section 4.

    *Differs from the reference:* as `kd_pt` and `kd_sim`.
    """

    def soft_target(self, softened: Tensor, target: Tensor, state: Tensor) -> Tensor:
        return around(true_probability(softened, target), state[target], target)


@final
@dataclass(frozen=True)
class KDRel(Partial):
    """KD with a target of relations between classes, by one of three readings.

    "class_mean": the mean of the teacher's softened probabilities over the rows of the true class.
    "class_tree": `true_mass` on the true class, `sibling_share` of the rest equally on the classes
    of its coarse label, what is left equally on all others. "row": `true_mass` on the true class,
    the rest in proportion to the teacher's probabilities for this row.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        reading: What relates the classes, see above.
        true_mass: Mass of the true class, in [0, 1]; not read with "class_mean".
        sibling_share: Part of the rest for the siblings, in (0, 1); read with "class_tree" alone.

    Reference:
        Tang, Shivanna, Zhao, Lin, Singh, Chi, Jain. Understanding and Improving Knowledge
        Distillation. 2020, arXiv:2002.03532, section 4.

    *Differs from the reference:* there is no official code, and which reading is the paper's is not
    confirmed. KL divergence and factor T², as KD has them, where the paper has a cross-entropy
    without the factor. The masses are not confirmed; temperature and weights are those of KD. Rows
    without a label are left out of the soft term.
    """

    reading: Literal["class_mean", "class_tree", "row"] = "class_mean"
    true_mass: float = 0.9
    sibling_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, true_mass="[0, 1]", sibling_share="(0, 1)")

    def init(self, setup: Setup) -> Tensor | None:
        if self.reading == "row":
            return None
        if self.reading == "class_mean":
            return class_means(setup, self.temperature)
        if setup.class_tree is None:
            raise Unsupported(
                "KDRel: the classes have no tree",
                "this reading gives the classes of the same coarse label more than the others",
                "ask for kd_rel[reading=class_mean], or for a data set with a tree",
            )
        weight = next(setup.teacher.model.parameters())  # its device and precision
        return related(setup.class_tree, self.true_mass, self.sibling_share).to(weight)

    def soft_target(self, softened: Tensor, target: Tensor, state: Tensor | None) -> Tensor:
        if state is None:
            return around(self.true_mass, softened, target)
        return state[target]


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "kd_topk", KDTopK()
    yield "kd_pt", KDPt()
    yield "kd_sim", KDSim()
    yield "kd_rel", KDRel()
    yield "kd_pt_sim", KDPtSim()
