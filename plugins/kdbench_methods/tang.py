"""KD by parts: only some of what a teacher says is kept (Tang et al. 2020, arXiv:2002.03532)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.api import Method, Setup, Unsupported, hookimpl
from kdbench_methods.partial import (
    Partial,
    Similar,
    around,
    class_means,
    related,
    true_probability,
)
from kdbench_methods.ranges import check_ranges


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
