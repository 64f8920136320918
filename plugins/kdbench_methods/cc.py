"""Correlation congruence: match correlations between samples (Peng et al., arXiv:1904.01802)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cosines, cross_entropy, widened
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class CC(Method):
    """Cross-entropy + weight · incongruence of pooled features, in one of two forms.

    "differences" (the field's): both networks' features are embedded linearly, each embedding
    trained; of the absolute differences of teacher and student, products of neighbours in the
    batch, summed over dimensions, a mean over neighbours. "kernel" (the paper's): squared
    difference of Gaussian kernel matrices of unit features, a mean over pairs of rows; the kernel's
    Taylor series exp(-2 gamma) · sum over p of (2 gamma · cosine)^p / p! is cut at an order.

    Attributes:
        weight: Weight of the congruence term, in [0, inf); the default is the differences', 100 is
            what goes with the kernel where gamma and order are from.
        form: "differences" or "kernel".
        dim: Dimensions of the embeddings ("differences"), an integer in [1, inf).
        gamma: Of the kernel exp(-gamma · squared distance), in (0, inf).
        order: Last power in the Taylor series, an integer in [1, 100].

    Reference:
        Peng et al. Correlation Congruence for Knowledge Distillation. 2019, arXiv:1904.01802,
        section 3. "differences", its weight and its dimensions are the field's for CIFAR-100 (Tian,
        Krishnan, Isola, arXiv:1910.10699), who had them of the authors; gamma and order are those
        of AberHu/Knowledge-Distillation-Zoo.

    *Differs from the reference:* "differences" has no correlation matrix; it hangs on the order of
    the rows in the batch. It is the default because the field's figures and weight are its own. The
    paper's form adds KD and draws batches by class; here it stands alone, on the shared stream.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Baoyun Peng and Xiao Jin and Jiaheng Liu and Dongsheng Li and Yichao Wu and Yu Liu"
        " and Shunfeng Zhou and Zhaoning Zhang",
        title="Correlation Congruence for Knowledge Distillation",
        year=2019,
        venue="ICCV",
        arxiv="1904.01802",
    )
    extra: ClassVar[str] = "a linear embedding of each network's pooled features"
    weight: float = 0.02
    form: Literal["differences", "kernel"] = "differences"
    dim: int = 128
    gamma: float = 0.4
    order: int = 2

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", dim="[1, inf)", gamma="(0, inf)", order="[1, 100]")

    def init(self, setup: Setup) -> nn.ModuleList | None:
        if self.form == "kernel":
            return None
        ports = (setup.student, setup.teacher)
        return nn.ModuleList(nn.Linear(port.pooled_dim, self.dim) for port in ports)

    def kernel(self, rows: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
        """The Taylor series of the Gaussian kernel of every two unit rows."""
        exponent = 2 * self.gamma * cosines(rows)
        powers = (exponent**p / math.factorial(p) for p in range(self.order + 1))
        return math.exp(-2 * self.gamma) * sum(powers, exponent.new_zeros(()))

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.ModuleList | None
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = widened(student.pooled), widened(teacher.pooled).detach()
        if state is None:
            gap = F.mse_loss(self.kernel(ours), self.kernel(theirs))
        else:
            apart = (state[0](ours) - state[1](theirs)).abs()
            gap = (apart[:-1] * apart[1:]).sum() / max(len(apart) - 1, 1)
        return {"hard": hard, "congruence": self.weight * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "cc", CC()
