"""Regress the teacher's logits (Ba & Caruana 2014; Kim et al. 2021, arXiv:2105.08919)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, widened
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class LogitMSE(Method):
    """hard · cross-entropy + weight · mean squared difference of logits, over rows and classes.

    Attributes:
        hard: Weight of the cross-entropy, in [0, inf).
        weight: Weight of the squared difference, in [0, inf).

    Reference:
        Kim, Oh, Kim, Cho, Yun. Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in
        Knowledge Distillation. 2021, arXiv:2105.08919, section 3; as Ba, Caruana. Do Deep Nets
        Really Need to be Deep? 2014, arXiv:1312.6184. Neither has a cross-entropy with the labels.

    *Differs from the reference:* the mean over classes is that of Kim et al.'s code; the formula
    has the sum, Ba and Caruana half of it.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Taehyeon Kim and Jaehoon Oh and Nak Yil Kim and Sangwook Cho and Se-Young Yun",
        title="Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge "
        "Distillation",
        year=2021,
        venue="IJCAI",
        arxiv="2105.08919",
    )
    hard: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(self, hard="[0, inf)", weight="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        gap = F.mse_loss(widened(student.logits), widened(teacher.logits).detach())
        return {"hard": self.hard * hard, "logits": self.weight * gap}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "mse_logits", LogitMSE()
