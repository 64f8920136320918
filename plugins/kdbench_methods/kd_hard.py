"""Hard distillation: the teacher's class as a label (Touvron et al. 2021, arXiv:2012.12877)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class KDHard(Method):
    """(1 - alpha) · cross-entropy with the labels + alpha · that with the teacher's top class.

    Attributes:
        alpha: Weight of the term with the teacher's classes, in [0, 1].

    Reference:
        Touvron, Cord, Douze, Massa, Sablayrolles, Jégou. Training Data-Efficient Image Transformers
        and Distillation through Attention. 2021, arXiv:2012.12877, section 4, equation 3.

    *Differs from the reference:* one classifier learns from both, where the paper's transformers
    have a second one for the teacher's classes, behind a token of its own; the paper smooths the
    true labels. A row without a label has the teacher's class all the same.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Hugo Touvron and Matthieu Cord and Matthijs Douze and Francisco Massa and "
        "Alexandre Sablayrolles and Hervé Jégou",
        title="Training Data-Efficient Image Transformers and Distillation through Attention",
        year=2021,
        venue="ICML",
        arxiv="2012.12877",
    )
    alpha: float = 0.5

    def __post_init__(self) -> None:
        check_ranges(self, alpha="[0, 1]")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        said = teacher.logits.argmax(-1)
        taught = cross_entropy(student.logits, said, torch.ones_like(batch.labelled))
        return {"hard": (1 - self.alpha) * hard, "taught": self.alpha * taught}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "kd_hard", KDHard()
