"""Teacher-free distillation: a peer or a made-up teacher (Yuan et al. 2020, arXiv:1909.11723)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import nn

from kdbench.api import Batch, Family, Losses, Method, Needs, Outputs, Paper, Setup, Stage, hookimpl
from kdbench.functional import (
    cross_entropy,
    divergence,
    labelled_mean,
    of_class,
    softened_kl,
    widened,
)
from kdbench_methods.ranges import check_ranges

PAPER = Paper(
    authors="Li Yuan and Francis E. H. Tay and Guilin Li and Tao Wang and Jiashi Feng",
    title="Revisiting Knowledge Distillation via Label Smoothing Regularization",
    year=2020,
    venue="CVPR",
    arxiv="1909.11723",
)


@final
@dataclass(frozen=True)
class TfKDSelf(Method):
    """The terms of KD; the teacher is a network of the student's own kind, trained just before.

    The peer spends a share of the one budget on the labels alone, the student the rest on labels
    and peer, which is in evaluation mode then.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        share: Part of the budget that the peer is trained in, in (0, 1).
        authors: Whether the soft term is the authors' code's: a mean over classes instead of a sum,
            times `multiplier`.
        multiplier: That factor, in [0, inf); not read without `authors`.

    Reference:
        Yuan, Tay, Li, Wang, Feng. Revisiting Knowledge Distillation via Label Smoothing
        Regularization. 2020, arXiv:1909.11723, section 4. The values are the authors' for a
        ResNet-18 on CIFAR-100.

    *Differs from the reference:* the paper gives peer and student a full training each; here both
    share one budget. The factor T² is that of the authors' code. The host's precision is that of
    the student alone: the peer is trained and asked in float32.
    """

    family: ClassVar[Family] = "teacher"
    paper: ClassVar[Paper] = PAPER
    extra: ClassVar[str] = "a peer of the student's own kind"
    temperature: float = 6.0
    alpha: float = 0.95
    share: float = 0.5
    authors: bool = False
    multiplier: float = 50.0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            temperature="(0, inf)",
            alpha="[0, 1]",
            share="(0, 1)",
            multiplier="[0, inf)",
        )

    def needs(self) -> Needs:
        return Needs(teacher="none")

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage(share=self.share, loss="pretrain", trains="state", schedule="restart"),
            Stage(share=1 - self.share, schedule="restart"),
        )

    def init(self, setup: Setup) -> nn.Module:
        return setup.build("student")

    def pretrain(
        self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module
    ) -> Losses:
        logits = state.train()(batch.inputs).logits
        return {"peer": cross_entropy(logits, batch.target, batch.labelled)}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        with torch.no_grad():
            peer = state.eval()(batch.inputs).logits
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        soft = softened_kl(student.logits, peer, self.temperature)
        factor = self.multiplier / peer.shape[-1] if self.authors else 1
        return {"hard": (1 - self.alpha) * hard, "soft": self.alpha * factor * soft}


@final
@dataclass(frozen=True)
class TfKDReg(Method):
    """(1 - alpha) · cross-entropy + alpha · KL(made-up teacher || student), without a network.

    The made-up teacher gives `confidence` to the true class and an equal share of the rest to each
    other one; its target is the softmax of these probabilities divided by T. The student is not
    softened.

    Attributes:
        temperature: T, what the made-up probabilities are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        confidence: Probability of the true class, in [0, 1].
        authors: Whether the soft term is the authors' code's: a mean over classes instead of a sum,
            times `multiplier`.
        multiplier: That factor, in [0, inf); not read without `authors`.

    Reference:
        Yuan, Tay, Li, Wang, Feng. Revisiting Knowledge Distillation via Label Smoothing
        Regularization. 2020, arXiv:1909.11723, section 4. The values are the authors' for a
        ResNet-18 on CIFAR-100.

    *Differs from the reference:* a sum over classes unless `authors`. As in the authors' code, the
    student is not softened, and the softmax is of probabilities, not of their logarithms: at this
    temperature its target is almost uniform. Rows without a label are left out.
    """

    family: ClassVar[Family] = "teacher"
    paper: ClassVar[Paper] = PAPER
    temperature: float = 20.0
    alpha: float = 0.1
    confidence: float = 0.99
    authors: bool = False
    multiplier: float = 100.0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            temperature="(0, inf)",
            alpha="[0, 1]",
            confidence="[0, 1]",
            multiplier="[0, inf)",
        )

    def needs(self) -> Needs:
        return Needs(teacher="none")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        logits = widened(student.logits)
        classes = logits.shape[-1]
        other = (1 - self.confidence) / (classes - 1)
        true = of_class(batch.target, classes).to(logits.dtype)
        made_up = F.softmax((other + (self.confidence - other) * true) / self.temperature, dim=-1)
        factor = self.multiplier / classes if self.authors else 1
        soft = labelled_mean(divergence(logits, made_up), batch.labelled)
        return {"hard": (1 - self.alpha) * hard, "soft": self.alpha * factor * soft}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "tfkd_self", TfKDSelf()
    yield "tfkd_reg", TfKDReg()
