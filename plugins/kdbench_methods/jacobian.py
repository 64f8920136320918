"""Jacobian matching: the same change of answer for the same change of pixels (arXiv:1803.00443)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdbench.api import Batch, Family, Loop, Losses, Method, Needs, Outputs, Paper, hookimpl
from kdbench.functional import cross_entropy, labelled_mean, widened
from kdbench_methods.ranges import check_ranges


def slopes(
    logits: Float[Tensor, "batch classes"],
    images: Tensor,
    target: Int[Tensor, " batch"],
    *,
    keep_graph: bool,
) -> Float[Tensor, "batch pixels"]:
    """Gradient of each row's logit of its class for the row's pixels, at unit L2 norm (0 stays 0).

    Args:
        logits: Of `images`, with the graph.
        images: A row each; require a gradient.
        target: Class of each row.
        keep_graph: Whether gradients can go on to the network's weights.
    """
    answer = logits.gather(1, target[:, None]).sum()
    (found,) = torch.autograd.grad(answer, images, create_graph=keep_graph)
    return F.normalize(widened(found).flatten(1))


def slope_gap(
    student: Float[Tensor, "batch pixels"],
    teacher: Float[Tensor, "batch pixels"],
    labelled: Bool[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Squared difference, mean over pixels and over labelled rows."""
    return labelled_mean((student - teacher).square().mean(1), labelled)


@final
@dataclass(frozen=True)
class Jacobian(Method):
    """Cross-entropy + weight · mean squared difference of unit input gradients of the true logit.

    A step differentiates the student twice and asks the teacher twice. `loss` has the hard term
    alone; `step` adds the term "jacobian", which needs the networks and not only what they said.
    Rows without a label have no part in it.

    Attributes:
        weight: Weight of the Jacobian term, in [0, inf).

    Reference:
        Srinivas, Fleuret. Knowledge Transfer with Jacobian Matching. 2018, arXiv:1803.00443,
        section 3; Czarnecki et al. Sobolev Training for Neural Networks. 2017, arXiv:1706.04859.

    *Differs from the reference:* there is no official code; the scale (a mean over pixels) and the
    weight are those of a public reimplementation (AberHu/Knowledge-Distillation-Zoo). The first
    paper also matches activations, and the attention maps' gradients, which this leaves out. In the
    student, batch norms use the statistics of the batch, so that a row's gradient holds its part in
    the others' answers. Attention is computed by the plain kernel, the fused ones have no second
    derivative.
    """

    family: ClassVar[Family] = "function"
    paper: ClassVar[Paper] = Paper(
        authors="Suraj Srinivas and François Fleuret",
        title="Knowledge Transfer with Jacobian Matching",
        year=2018,
        venue="ICML",
        arxiv="1803.00443",
    )
    weight: float = 20.0

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)")

    def needs(self) -> Needs:
        return Needs(teacher="private")  # a graph to the pixels; the copy is never trained

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}

    def step(self, loop: Loop, batch: Batch, state: None) -> Losses:
        images = batch.inputs.detach().clone().requires_grad_()
        target = batch.target.where(batch.labelled, 0)
        with sdpa_kernel(SDPBackend.MATH):
            student, teacher = loop.forward(replace(batch, inputs=images))
            theirs = slopes(loop.teacher(images).logits, images, target, keep_graph=False)
            ours = slopes(student.logits, images, target, keep_graph=True)
            losses = dict(self.loss(student, teacher, batch, state))
            losses["jacobian"] = self.weight * slope_gap(ours, theirs, batch.labelled)
            return loop.descend(losses)


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "jacobian", Jacobian()
