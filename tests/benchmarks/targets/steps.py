"""Sides of one method's step or loss, against a plain statement of the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import naive
import torch
from rounds import Block, Side, timed
from torch import Tensor

import kdbench
import kdbench_methods.metadistil as metadistil
from kdbench.api import Outputs
from kdbench.functional import unit_rows
from kdbench.testing import Bench, Case
from kdbench.train import Step
from kdbench_methods.crd import CRD, Banks
from kdbench_methods.nst import affinity

PLACE = 0.8
"""Share of the budget at which MetaDistil's teacher learns."""


def meta_steps(pair: str, batch: int, steps: int) -> dict[str, Side]:
    """Whole steps of MetaDistil, its meta-gradient as shipped and by `create_graph`."""
    teacher, _, student = pair.partition(":")
    case = Case(
        teacher=teacher, student=student, classes=100, tree=False, image_shape=(3, 32, 32),
        rows=20 * batch, batch_size=batch, steps=1000,
    )  # fmt: skip
    ways = {"forward mode": metadistil.meta_gradient, "create_graph": naive.lesson}
    return {name: _meta_side(case, way, steps) for name, way in ways.items()}


def _meta_side(case: Case, way: Callable[..., metadistil.Lesson], steps: int) -> Side:
    bench = Bench(kdbench.method("metadistil"), case)
    views, teach = bench.rig.views, bench.rig.teach(bench.runner.needs.maps)
    chosen = views.order(0)[: case.batch_size]

    def train() -> None:
        for _ in range(steps):
            bench.runner.done = int(PLACE * bench.runner.total)
            bench.runner.step(Step(views, chosen, 0, bench.runner.progress, teach))

    def block() -> Block:
        shipped, metadistil.meta_gradient = metadistil.meta_gradient, way
        try:
            return timed(train, steps)
        finally:
            metadistil.meta_gradient = shipped

    block()
    return block


def selectivity(batch: int = 16, channels: int = 64, side: int = 32) -> dict[str, Side]:
    """NST's discrepancy of one hint and its gradient."""
    student, teacher = torch.rand(2, batch, channels, side**2)
    student.requires_grad_()

    def shipped() -> Tensor:
        s, t = (torch.nn.functional.normalize(one, dim=2) for one in (student, teacher))
        return affinity(t, t) + affinity(s, s) - 2 * affinity(s, t)

    return {
        "products": descended(shipped, student, 20),
        "broadcast": descended(lambda: naive.discrepancy(student, teacher), student, 1),
    }


@dataclass(frozen=True)
class Contrast:
    """CRD on random embeddings: what it is given, and both ways to its loss.

    Attributes:
        state: The method's, after a first batch.
        student, teacher: Outputs of a batch.
        index: Its rows.
    """

    method: CRD
    state: Banks
    student: Outputs
    teacher: Outputs
    index: Tensor

    def shipped(self) -> Tensor:
        """The loss as the method computes it, its negatives drawn."""
        draw = self.state.draw(self.state.classes[self.index])
        return self.method.contrasted(self.student, self.teacher, self.index, *draw, self.state)

    def pairs(self, candidates: Tensor, chosen: Tensor) -> Tensor:
        """Rows of every row's positive and negatives, as they were drawn."""
        negatives = candidates.expand(len(chosen), -1)[chosen.bool()].view(len(chosen), -1)
        return torch.cat([self.index[:, None], negatives], 1)

    def gathered(self, pairs: Tensor) -> Tensor:
        """The loss from gathered rows, of negatives drawn beforehand; the banks then move."""
        state, pooled = self.state, (self.student.pooled, self.teacher.pooled)
        fresh = [unit_rows(embed(one)) for embed, one in zip(state.embed, pooled, strict=True)]
        total = naive.contrast(
            (fresh[0], fresh[1]), state.rows, state.log_z, pairs,
            temperature=self.method.temperature, rows=len(state.classes),
        )  # fmt: skip
        state.remember(self.index, fresh, self.method.momentum)
        return total


def contrast(batch: int = 64, negatives: int = 16384, rows: int = 50_000) -> Contrast:
    """CRD's case: pooled features of 64 dimensions, 100 classes."""
    method = CRD(negatives=negatives)
    state = Banks((64, 64), method.dim, torch.arange(rows) % 100, negatives)
    logits, index = torch.zeros(batch, 100), torch.randperm(rows)[:batch]
    student, teacher = (Outputs(logits=logits, pooled=torch.randn(batch, 64)) for _ in range(2))
    student.pooled.requires_grad_()
    made = Contrast(method, state, student, teacher, index)
    made.shipped()  # which finds the constants
    return made


def contrasts() -> dict[str, Side]:
    """CRD's contrastive loss and its gradient; drawing is charged to ours alone."""
    case = contrast()
    pairs = case.pairs(*case.state.draw(case.state.classes[case.index]))
    pooled = case.student.pooled
    return {
        "products": descended(case.shipped, pooled, 10),
        "gather": descended(lambda: case.gathered(pairs), pooled, 1),
    }


def descended(loss: Callable[[], Tensor], leaf: Tensor | Sequence[Tensor], times: int) -> Side:
    """A loss and its gradient, so many times a block, after one for warm-up."""

    def descend() -> None:
        for _ in range(times):
            torch.autograd.grad(loss(), leaf)

    def block() -> Block:
        return timed(descend, times)

    block()
    return block
