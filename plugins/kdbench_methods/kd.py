"""Knowledge distillation: match softened classes (Hinton et al. 2015, arXiv:1503.02531)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, softened_kl
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class KD(Method):
    """(1 - alpha) · cross-entropy + alpha · T² · KL(teacher || student) at temperature T.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].

    Reference:
        Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015, arXiv:1503.02531,
        section 2. Temperature and weights are the field's for CIFAR-100 (Tian, Krishnan, Isola.
        Contrastive Representation Distillation. 2020, arXiv:1910.10699).

    *Differs from the reference:* the paper averages two cross-entropies; the KL divergence here
    differs from the soft one by the teacher's entropy, a constant, so the gradient is the same.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Geoffrey Hinton and Oriol Vinyals and Jeff Dean",
        title="Distilling the Knowledge in a Neural Network",
        year=2015,
        arxiv="1503.02531",
    )
    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", alpha="[0, 1]")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        soft = softened_kl(student.logits, teacher.logits.detach(), self.temperature)
        return {"hard": (1 - self.alpha) * hard, "soft": self.alpha * soft}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "kd", KD()
