"""Contrastive representation distillation (Tian, Krishnan & Isola 2020, arXiv:1910.10699)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdbench.api import (
    Batch,
    ContractError,
    Family,
    Losses,
    Method,
    Outputs,
    Paper,
    Setup,
    Unsupported,
    hookimpl,
)
from kdbench.functional import cross_entropy, unit_rows, widened
from kdbench_methods.ranges import check_ranges


class Banks(nn.Module):
    """Embeddings of both networks' pooled features, and what they last gave for every row.

    Attributes:
        embed: From pooled features to embeddings; student, teacher.
        rows: Unit embeddings of the transfer set, student's and teacher's. One row more than the
            set has takes what a synthesised row (index -1) writes.
        log_z: Logarithm of the constant that scores are divided by, student's and teacher's; inf
            before the first batch.
        classes: Class of every row.
        count: Negatives of a row.
        drawn: Candidates among which every row has that many.
    """

    rows: Tensor
    log_z: Tensor
    classes: Tensor

    def __init__(
        self, dims: tuple[int, int], dim: int, classes: Int[Tensor, " rows"], most: int
    ) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Linear(width, dim) for width in dims)
        size, largest = len(classes), int(classes.bincount().max())
        self.count = min(most, size - largest)
        if self.count < 1:
            raise Unsupported(
                "crd: all rows are of one class",
                "negatives are rows of other classes",
                "take a data set of two classes or more",
            )
        self.drawn = self.count + largest
        edge = math.sqrt(3 / dim)
        self.register_buffer("rows", torch.empty(2, size + 1, dim).uniform_(-edge, edge))
        self.register_buffer("log_z", torch.full((2,), math.inf))
        self.register_buffer("classes", classes.clone())

    def draw(
        self, target: Int[Tensor, " batch"]
    ) -> tuple[Int[Tensor, " candidates"], Float[Tensor, "batch candidates"]]:
        """Candidates, and 1 where a candidate is a row's negative, else 0.

        The candidates are the beginning of a random order of the transfer set; a row's negatives
        are the first `count` of other classes, so each subset of these is equally likely.
        """
        candidates = torch.randperm(len(self.classes), device=target.device)[: self.drawn]
        other = self.classes[candidates] != target[:, None]
        return candidates, (other & (other.cumsum(1) <= self.count)).to(self.rows.dtype)

    def constant(
        self, way: int, scores: Float[Tensor, "batch pairs"], chosen: Float[Tensor, "batch pairs"]
    ) -> Float[Tensor, ""]:
        """`log_z` of one way, from the logarithms of the chosen scores if they are the first."""
        total = (scores.detach() + chosen.log()).logsumexp((0, 1))
        first = total - chosen.sum().clamp(min=1).log() + math.log(len(self.classes))
        old = self.log_z[way]
        found = torch.where(old.isinf(), first, old)
        with torch.no_grad():
            self.log_z[way] = found
        return found.masked_fill(found.isinf(), 0)  # still none, in a batch without indices

    @torch.no_grad()
    def remember(
        self, index: Int[Tensor, " batch"], fresh: Sequence[Float[Tensor, "batch dim"]], keep: float
    ) -> None:
        """Move the banks' rows to the unit mean of `keep` of the old and the rest of the new."""
        for bank, new in zip(self.rows, fresh, strict=True):
            moved = unit_rows(keep * bank[index] + (1 - keep) * new)
            bank[index] = torch.where((index >= 0)[:, None], moved, 0)


def contrast(
    positive: Float[Tensor, " batch"],
    negative: Float[Tensor, "batch candidates"],
    chosen: Float[Tensor, "batch candidates"],
    noise: float,
    epsilon: float = 0.0,
) -> Float[Tensor, " batch"]:
    """Noise-contrastive loss of each row: is a pair of one image or one of the negatives?

    -log s/(s + noise) of the positive's score s, -log noise/(s + noise) of each negative's.

    Args:
        positive, negative: Logarithms of scores.
        chosen: How many times a candidate is a negative of the row.
        noise: Negatives a row, times the chance 1/rows of each of them.
        epsilon: Added to both denominators.
    """
    level = math.log(noise + epsilon)
    missed = F.softplus(level - positive)
    taken = F.softplus(negative - level) + math.log1p(epsilon / noise)
    return missed + (chosen * taken).sum(1)


@final
@dataclass(frozen=True)
class CRD(Method):
    """Cross-entropy + weight · noise-contrastive losses of embedded pooled features.

    Both networks' features are embedded linearly, at unit norm, both embeddings trained. The
    student's of a row is to agree with the teacher's of the same image in a memory bank, and not
    with those of rows of other classes; and the other way round. Scores are exp(inner product /
    temperature), over a constant that the first batch gives. After that a bank takes a running mean
    of its rows in the batch. The term sums both ways and over negatives, a mean over rows.

    The banks are twice rows x dim numbers on the device.

    Attributes:
        weight: Weight of the contrastive term, in [0, inf).
        dim: Dimensions of the embeddings, an integer in [1, inf).
        negatives: Rows that each row is contrasted with, an integer in [1, inf); at most as many as
            the transfer set has outside its largest class.
        temperature: Of the scores, in (0, inf).
        momentum: What a bank keeps of a row, in [0, 1].
        epsilon: Added to the denominators, in [0, 1]; 1e-7 in the authors' code, which is not
            nothing beside negatives / rows.

    Reference:
        Tian, Krishnan, Isola. Contrastive Representation Distillation. 2020, arXiv:1910.10699,
        section 3. Settings are those of the authors' code for CIFAR-100.

    *Differs from the reference:* epsilon is 0, as in the paper. A row's negatives are drawn without
    replacement, as in the code, but rows of a batch share the random order they are taken from: one
    product with the candidates stands for a gather of batch x negatives x dim. The code repeats
    negatives where there are too few. Rows without an index are left out.
    """

    family: ClassVar[Family] = "relations"
    paper: ClassVar[Paper] = Paper(
        authors="Yonglong Tian and Dilip Krishnan and Phillip Isola",
        title="Contrastive Representation Distillation",
        year=2020,
        venue="ICLR",
        arxiv="1910.10699",
    )
    extra: ClassVar[str] = "a linear embedding of each network's pooled features"
    weight: float = 0.8
    dim: int = 128
    negatives: int = 16384
    temperature: float = 0.07
    momentum: float = 0.5
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(
            self, weight="[0, inf)", dim="[1, inf)", negatives="[1, inf)", temperature="(0, inf)",
            momentum="[0, 1]", epsilon="[0, 1]",
        )  # fmt: skip

    def init(self, setup: Setup) -> Banks:
        if setup.targets is None:
            raise ContractError(
                "crd needs the class of every row of the transfer set",
                "this Setup was built without targets",
                "pass targets=",
            )
        dims = setup.student.pooled_dim, setup.teacher.pooled_dim
        return Banks(dims, self.dim, setup.targets, self.negatives)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Banks) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        draw = state.draw(state.classes[batch.index])
        term = self.contrasted(student, teacher, batch.index, *draw, state)
        return {"hard": hard, "contrast": self.weight * term}

    def contrasted(
        self, student: Outputs, teacher: Outputs, index: Int[Tensor, " batch"],
        candidates: Int[Tensor, " candidates"], chosen: Float[Tensor, "batch candidates"],
        state: Banks,
    ) -> Float[Tensor, ""]:  # fmt: skip
        """Both ways' loss; afterwards the banks hold the new embeddings."""
        known = (index >= 0)[:, None].to(chosen)
        chosen = chosen * known
        pooled = widened(student.pooled), widened(teacher.pooled).detach()
        fresh = [unit_rows(embed(p)) for embed, p in zip(state.embed, pooled, strict=True)]
        total = fresh[0].new_zeros(())
        for way, anchor in enumerate(fresh):
            bank, noise = state.rows[1 - way], state.count / len(state.classes)
            scores = torch.cat(
                [(anchor * bank[index]).sum(1, keepdim=True), anchor @ bank[candidates].T], 1
            ).div(self.temperature)
            scores = scores - state.constant(way, scores, torch.cat([known, chosen], 1))
            rows = contrast(scores[:, 0], scores[:, 1:], chosen, noise, self.epsilon)
            total = total + (known[:, 0] * rows).sum() / known.sum().clamp(min=1)
        state.remember(index, fresh, self.momentum)
        return total


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "crd", CRD()
