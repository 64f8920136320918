"""SRRL: features that the teacher's classifier understands (Yang et al., ICLR 2021)."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from torch import nn

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
)
from kdbench.functional import cross_entropy, widened
from kdbench_methods.connectors import projector
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class SRRL(Method):
    """Cross-entropy + alpha · feature + beta · regression, both of the connected student.

    Feature is the mean squared difference to the teacher's pooled features, regression that of the
    logits that the teacher's classifier makes of them.

    Attributes:
        alpha: Weight of the feature term, in [0, inf).
        beta: Weight of the regression term, in [0, inf).

    Reference:
        Yang, Martinez, Bulat, Tzimiropoulos. Knowledge distillation via softmax regression
        representation learning. ICLR 2021, section 3. Weights are those of the authors' code,
        which is for ImageNet.

    *Differs from the reference:* the connector (1x1 convolution, batch norm, ReLU) reads the pooled
    features, not the map before them, so that networks that pool by a class token have it, too;
    where the map is pooled by the mean, the convolution gives the same, norm and ReLU do not.
    Towards features that are not all positive there is no ReLU.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Jing Yang and Brais Martinez and Adrian Bulat and Georgios Tzimiropoulos",
        title="Knowledge distillation via softmax regression representation learning",
        year=2021,
        venue="ICLR",
    )
    extra: ClassVar[str] = "a connector of pooled features"
    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(self, alpha="[0, inf)", beta="[0, inf)")

    def init(self, setup: Setup) -> dict[str, nn.Module]:
        if setup.teacher.classifier is None:
            raise Unsupported(
                "srrl: the teacher has no classifier to regress with",
                "the regression term is of the teacher's classifier, one linear layer, of the"
                " student's connected features",
                "name a teacher with one linear classifier",
            )
        said, _ = next(iter(setup.teacher_passes("transfer")))
        connector = projector(setup.student.pooled_dim, setup.teacher.pooled_dim)
        if said.pooled.min() >= 0:
            connector.append(nn.ReLU())
        return {
            "connector": connector,
            "classifier": copy.deepcopy(setup.teacher.classifier).requires_grad_(False),
        }

    def loss(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: dict[str, nn.Module]
    ) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        guess = state["connector"](widened(student.pooled)[..., None, None]).flatten(1)
        feature = F.mse_loss(guess, widened(teacher.pooled).detach())
        answer = state["classifier"](guess)
        regression = F.mse_loss(answer, widened(teacher.logits).detach())
        return {"hard": hard, "feature": self.alpha * feature, "regression": self.beta * regression}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "srrl", SRRL()
