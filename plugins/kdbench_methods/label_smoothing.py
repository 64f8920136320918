"""Label smoothing: share some of the target's mass (Szegedy et al. 2016, arXiv:1512.00567)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch.nn.functional as F

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, labelled_mean, widened
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class LabelSmoothing(Method):
    """(1 - e) · cross-entropy + e · the mean over classes of -log p, without a teacher.

    e is `epsilon` where the mass is spread over all classes. Spread over the others alone, the true
    class keeps 1 - epsilon, which is e = epsilon · classes / (classes - 1).

    Attributes:
        epsilon: Mass that is taken from the true class and spread, in [0, 1).
        spread: Over which classes: "all", or the "others", without the true one.

    Reference:
        Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. Rethinking the Inception Architecture for Computer
        Vision. 2016, arXiv:1512.00567, section 7. "others" is as Yuan et al. have it (2020,
        arXiv:1909.11723).

    *Differs from the reference:* nothing known. Rows without a label are left out.
    """

    family: ClassVar[Family] = "baseline"
    paper: ClassVar[Paper] = Paper(
        authors="Christian Szegedy and Vincent Vanhoucke and Sergey Ioffe and Jonathon Shlens and "
        "Zbigniew Wojna",
        title="Rethinking the Inception Architecture for Computer Vision",
        year=2016,
        venue="CVPR",
        arxiv="1512.00567",
    )
    epsilon: float = 0.1
    spread: Literal["all", "others"] = "all"

    def __post_init__(self) -> None:
        check_ranges(self, epsilon="[0, 1)")

    def needs(self) -> Needs:
        return Needs(teacher="none")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        classes = student.logits.shape[-1]
        mass = self.epsilon * (classes / (classes - 1) if self.spread == "others" else 1)
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        everywhere = -F.log_softmax(widened(student.logits), dim=-1).mean(-1)
        return {
            "hard": (1 - mass) * hard,
            "smoothing": mass * labelled_mean(everywhere, batch.labelled),
        }


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "label_smoothing", LabelSmoothing()
