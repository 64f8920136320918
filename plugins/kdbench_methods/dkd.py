"""Decoupled distillation: target and other classes apart (Zhao et al. 2022, arXiv:2203.08679)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, labelled_mean, of_class, warmed_up, widened
from kdbench_methods.ranges import check_ranges


def decoupled_kl(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    target: Int[Tensor, " batch"],
    temperature: float,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """T² · KL(teacher || student) of a row, nats: target against the rest, and within the rest.

    Both from logsumexps. With two classes the rest is one class and the second part 0.
    """
    ours, theirs = widened(student_logits) / temperature, widened(teacher_logits) / temperature
    chosen = of_class(target, ours.shape[-1])
    within_s, within_t = (
        z - z.masked_fill(chosen, -torch.inf).logsumexp(-1, keepdim=True) for z in (ours, theirs)
    )

    odds_s, odds_t = (z.gather(1, target[:, None]).squeeze(1) for z in (within_s, within_t))
    yes = odds_t.sigmoid() * (F.logsigmoid(odds_t) - F.logsigmoid(odds_s))
    no = (-odds_t).sigmoid() * (F.logsigmoid(-odds_t) - F.logsigmoid(-odds_s))

    share = within_t.masked_fill(chosen, -torch.inf).exp()
    rest = (share * (within_t - within_s)).sum(-1)
    return (yes + no) * temperature**2, rest * temperature**2


@final
@dataclass(frozen=True)
class DKD(Method):
    """Cross-entropy + T² · (alpha · KL of target against rest + beta · KL within the rest).

    The KLs are of the softened teacher from the softened student, means over the labelled rows.
    The decoupled term grows linearly from 0 over the warm-up.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the part that tells target and rest apart, in [0, inf).
        beta: Weight of the part within the rest, in [0, inf).
        warmup: Share of the budget until the term has its full weight, in [0, 1]; 0 is at once.

    Reference:
        Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation. 2022, arXiv:2203.08679,
        section 3. Defaults are those of the authors' code for CIFAR-100: 20 of 240 epochs, and the
        beta that it has where a pair names none (the pairs' own go from 2 to 8).

    *Differs from the reference:* the warm-up grows with every step, not once an epoch. The rest is
    left out exactly, not by a large number taken from the target's logit. Rows without a label
    have no target, and no part in the term.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Borui Zhao and Quan Cui and Renjie Song and Yiyu Qiu and Jiajun Liang",
        title="Decoupled Knowledge Distillation",
        year=2022,
        venue="CVPR",
        arxiv="2203.08679",
    )
    temperature: float = 4.0
    alpha: float = 1.0
    beta: float = 8.0
    warmup: float = 1 / 12

    def __post_init__(self) -> None:
        check_ranges(
            self, temperature="(0, inf)", alpha="[0, inf)", beta="[0, inf)", warmup="[0, 1]"
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        return {"hard": hard, "decoupled": self.decoupled(student.logits, teacher.logits, batch)}

    def decoupled(
        self,
        student: Float[Tensor, "batch classes"],
        teacher: Float[Tensor, "batch classes"],
        batch: Batch,
    ) -> Float[Tensor, ""]:
        """The decoupled term alone, weighted and warmed up, from both networks' logits."""
        target = batch.target.masked_fill(~batch.labelled, 0)  # any class will do there
        which, rest = decoupled_kl(student, teacher.detach(), target, self.temperature)
        rows = self.alpha * which + self.beta * rest
        return labelled_mean(rows, batch.labelled) * warmed_up(batch.progress, self.warmup)


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "dkd", DKD()
