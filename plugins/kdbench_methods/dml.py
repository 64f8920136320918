"""Deep mutual learning: two students teach each other (Zhang et al. 2018, arXiv:1706.00384)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, Setup, hookimpl
from kdbench.functional import cross_entropy, softened_kl
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class DML(Method):
    """Cross-entropy + weight · T² · KL(peer || student), and the same for the peer, in one step.

    The peer is a second network of the student's architecture with weights of its own, trained
    beside it by the same optimizer. Each side of a KL divergence learns from the other's detached
    logits.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        weight: Weight of both KL terms, in [0, inf).

    Reference:
        Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. 2018, arXiv:1706.00384, section 3, with
        two networks and the paper's temperature of 1.

    *Differs from the reference:* both networks are updated at once; the paper updates one, lets it
    answer again, and then updates the other. The host's precision is that of the student alone: the
    peer is trained in float32. The student is deployed, whichever of the two is better.
    """

    family: ClassVar[Family] = "teacher"
    paper: ClassVar[Paper] = Paper(
        authors="Ying Zhang and Tao Xiang and Timothy M. Hospedales and Huchuan Lu",
        title="Deep Mutual Learning",
        year=2018,
        venue="CVPR",
        arxiv="1706.00384",
    )
    extra: ClassVar[str] = "a peer of the student's architecture"
    temperature: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", weight="[0, inf)")

    def needs(self) -> Needs:
        return Needs(teacher="none")

    def init(self, setup: Setup) -> nn.Module:
        return setup.build("student")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        ours, theirs = student.logits, state(batch.inputs).logits
        return {
            "hard": cross_entropy(ours, batch.target, batch.labelled),
            "mutual": self.weight * softened_kl(ours, theirs.detach(), self.temperature),
            "peer_hard": cross_entropy(theirs, batch.target, batch.labelled),
            "peer_mutual": self.weight * softened_kl(theirs, ours.detach(), self.temperature),
        }


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "dml", DML()
