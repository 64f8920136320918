"""Logit standardisation, with KD and with DKD (Sun et al. 2024, arXiv:2403.01427)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, softened_kl, widened
from kdbench_methods.dkd import DKD
from kdbench_methods.ranges import check_ranges

PAPER = Paper(
    authors="Shangquan Sun and Wenqi Ren and Jingzhi Li and Rui Wang and Xiaochun Cao",
    title="Logit Standardization in Knowledge Distillation",
    year=2024,
    venue="CVPR",
    arxiv="2403.01427",
)


def standardised(
    logits: Float[Tensor, "batch classes"], *, authors: bool
) -> Float[Tensor, "batch classes"]:
    """Each row at mean 0 and standard deviation 1; a constant row stays at 0.

    Args:
        logits: Receive the gradient; that of a constant row is not scaled.
        authors: Divide by the unbiased deviation + 1e-7, not by the population's.
    """
    logits = widened(logits)
    centred = logits - logits.mean(-1, keepdim=True)
    noise = 16 * torch.finfo(logits.dtype).eps * logits.abs().amax(-1, keepdim=True)
    flat = centred.abs().amax(-1, keepdim=True) <= noise
    freedom = logits.shape[-1] - int(authors)
    variance = centred.square().sum(-1, keepdim=True) / freedom
    deviation = variance.masked_fill(flat, 1).sqrt()
    return centred / (deviation + 1e-7 if authors else deviation)


@final
@dataclass(frozen=True)
class LSKD(Method):
    """hard · cross-entropy + weight · T² · KL(teacher || student) of standardised logits.

    Attributes:
        temperature: What both networks' standardised logits are divided by, in (0, inf).
        hard: Weight of the cross-entropy, in [0, inf).
        weight: Weight of the soft term, in [0, inf).
        authors: Whether to divide by the unbiased standard deviation + 1e-7, as the authors' code
            does, not by the population's, as the paper has it.

    Reference:
        Sun, Ren, Li, Wang, Cao. Logit Standardization in Knowledge Distillation. 2024,
        arXiv:2403.01427, algorithm 1. Temperature and weights are the defaults of the authors'
        code for CIFAR-100.

    *Differs from the reference:* a row of constant logits becomes 0 and has a finite gradient; in
    the paper it is 0 / 0. The authors tune temperature and weight by pair.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = PAPER
    temperature: float = 2.0
    hard: float = 0.1
    weight: float = 9.0
    authors: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", hard="[0, inf)", weight="[0, inf)")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = (
            standardised(z, authors=self.authors) for z in (student.logits, teacher.logits.detach())
        )
        soft = softened_kl(ours, theirs, self.temperature)
        return {"hard": self.hard * hard, "soft": self.weight * soft}


@final
@dataclass(frozen=True)
class LSKD_DKD(Method):
    """Cross-entropy + weight · the decoupled term of DKD, of standardised logits.

    Attributes:
        temperature: What both networks' standardised logits are divided by, in (0, inf).
        alpha: Weight of the part that tells target and rest apart, in [0, inf).
        beta: Weight of the part within the rest, in [0, inf).
        weight: Factor of both, in [0, inf).
        warmup: Share of the budget until the term has its full weight, in [0, 1]; 0 is at once.
        authors: Whether to divide by the unbiased standard deviation + 1e-7, as the authors' code
            does, not by the population's, as the paper has it.

    Reference:
        Sun, Ren, Li, Wang, Cao. Logit Standardization in Knowledge Distillation. 2024,
        arXiv:2403.01427, section 5 ("DKD + Ours"). Defaults are those of the authors' code for
        CIFAR-100; alpha, beta and warm-up are DKD's.

    *Differs from the reference:* as `lskd` and `dkd` do.
    """

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = PAPER
    temperature: float = 2.0
    alpha: float = 1.0
    beta: float = 8.0
    weight: float = 9.0
    warmup: float = 1 / 12
    authors: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", alpha="[0, inf)", beta="[0, inf)")
        check_ranges(self, weight="[0, inf)", warmup="[0, 1]")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        ours, theirs = (
            standardised(z, authors=self.authors) for z in (student.logits, teacher.logits.detach())
        )
        dkd = DKD(self.temperature, self.alpha, self.beta, self.warmup)
        return {"hard": hard, "decoupled": self.weight * dkd.decoupled(ours, theirs, batch)}


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "lskd", LSKD()
    yield "lskd_dkd", LSKD_DKD()
