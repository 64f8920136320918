"""SimKD: the teacher's classifier on the student's projected map (Chen et al. 2022)."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import (
    Batch,
    Family,
    Losses,
    Maps,
    Method,
    Needs,
    Outputs,
    Paper,
    Setup,
    Unsupported,
    hookimpl,
)
from kdbench.functional import pooled_alike, widened
from kdbench_methods.connectors import bottleneck
from kdbench_methods.ranges import check_ranges


class Reuse(nn.Module):
    """From the student's last hint, by a projection, to the teacher's classifier.

    Args:
        projector: To a map of as many channels as the teacher's pooled features are wide.
        classifier: The teacher's, frozen.
        whole: Whether the teacher pools its last hint by the mean: then the maps are matched, else
            what is pooled.
    """

    def __init__(self, projector: nn.Module, classifier: nn.Module, *, whole: bool) -> None:
        super().__init__()
        self.projector, self.classifier, self.whole = projector, classifier, whole

    def gap(self, student: Outputs, teacher: Outputs) -> Tensor:
        """Mean squared difference to the teacher."""
        guess = self.projector(widened(student.hints[-1]))
        if self.whole:
            return F.mse_loss(*pooled_alike(guess, teacher.hints[-1].detach()))
        return F.mse_loss(guess.mean((2, 3)), widened(teacher.pooled).detach())

    def forward(self, hint: Tensor) -> Tensor:
        """Logits."""
        return cast(Tensor, self.classifier(self.projector(hint).mean((2, 3))))


class Assembled(nn.Module):
    """The student without its own classifier, the projector and the teacher's classifier."""

    def __init__(self, student: nn.Module, reuse: nn.Module) -> None:
        super().__init__()
        self.student, self.reuse = student, reuse

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        return cast(Tensor, self.reuse(self.student(images, Maps(hints=True)).hints[-1]))


@final
@dataclass(frozen=True)
class SimKD(Method):
    """weight · mean squared difference of the projected last hint and the teacher's last hint.

    There is no term of labels or logits. What is deployed is the student up to its last hint, the
    projector and the teacher's classifier.

    Attributes:
        weight: Weight of the one term, in [0, inf).
        factor: By which the projector is narrower inside than the teacher's pooled features, an
            integer in [1, inf).

    Reference:
        Chen, Mei, Zhang, Wang, Feng, Chen. Knowledge Distillation with the Reused Teacher
        Classifier. 2022, arXiv:2203.14001, section 3.

    *Differs from the reference:* a teacher that does not pool its last hint by the mean (one with a
    norm after it, or a class token) is matched in its pooled features alone, since its classifier
    reads nothing else. Towards features that are not all positive the projector has no last ReLU.
    Maps that are not square are pooled by height and width. The student's own classifier stays as
    it is initialised and is in what is deployed, unused.
    """

    family: ClassVar[Family] = "features"
    paper: ClassVar[Paper] = Paper(
        authors="Defang Chen and Jian-Ping Mei and Hailin Zhang and Can Wang and Yan Feng"
        " and Chun Chen",
        title="Knowledge Distillation with the Reused Teacher Classifier",
        year=2022,
        venue="CVPR",
        arxiv="2203.14001",
    )
    extra: ClassVar[str] = "a projector, which is deployed with the student"
    weight: float = 1.0
    factor: int = 2

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", factor="[1, inf)")

    def needs(self) -> Needs:
        return Needs(hints=True)

    def init(self, setup: Setup) -> Reuse:
        if setup.teacher.classifier is None:
            raise Unsupported(
                "simkd: the teacher has no classifier that can be reused",
                "the student's logits are the teacher's classifier, one linear layer, of its"
                " projected features",
                "name a teacher with one linear classifier",
            )
        said, _ = next(iter(setup.teacher_passes("transfer")))
        mean, pooled = said.hints[-1].mean((2, 3)), said.pooled
        whole = mean.shape == pooled.shape and torch.allclose(mean, pooled, rtol=1e-3, atol=1e-4)
        ours, theirs = setup.student.hints[-1], setup.teacher.hints[-1]
        size = min(ours.height, theirs.height), min(ours.width, theirs.width)
        width, middle = pooled.shape[1], max(1, pooled.shape[1] // self.factor)
        pool = [nn.AdaptiveAvgPool2d(size)] if whole else []
        last = [nn.ReLU()] if pooled.min() >= 0 else []
        projector = nn.Sequential(
            *pool, *bottleneck(ours.channels, middle, width), nn.BatchNorm2d(width), *last
        )
        classifier = copy.deepcopy(setup.teacher.classifier).requires_grad_(False)
        return Reuse(projector, classifier, whole=whole)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Reuse) -> Losses:
        return {"hint": self.weight * state.gap(student, teacher)}

    def deploy(self, student: nn.Module, state: Reuse) -> nn.Module:
        return Assembled(student, state)


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "simkd", SimKD()
