"""MetaDistil: a teacher that learns to teach (Zhou, Xu & McAuley 2022, arXiv:2106.04570)."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdbench.api import (
    Batch,
    Family,
    Loop,
    Losses,
    Method,
    Needs,
    Outputs,
    Paper,
    Setup,
    hookimpl,
)
from kdbench.functional import cross_entropy, softened_kl, widened
from kdbench_methods.ranges import check_ranges

Weights = dict[str, Tensor]

with warnings.catch_warnings(), forward_ad.dual_level():
    # torch's forward mode, on first use, warns of torch's own torch.jit
    warnings.simplefilter("ignore", FutureWarning)
    forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


class Lesson(NamedTuple):
    """What a virtual step taught: the teacher's gradients, quiz loss, the student's new weights."""

    gradients: tuple[Tensor | None, ...]
    quiz_loss: Tensor
    pilot: Weights


def same_masks(images: Tensor) -> AbstractContextManager[None]:
    """Leaves torch's random state as it is, so that the next pass draws the same dropout masks."""
    return torch.random.fork_rng([images.device] if images.is_cuda else [])


def answer(network: nn.Module, weights: Weights, images: Tensor) -> Tensor:
    """The network's logits, had it these weights; its buffers and torch's random state stay."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with same_masks(images):
        logits: Tensor = functional_call(network, weights | buffers, (images,)).logits
    return logits


def meta_gradient(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    ours: Tensor,
    objective: Callable[[Tensor, Tensor], Tensor],
    quiz_loss: Callable[[Weights], Tensor],
    pilot_rate: float,
) -> Lesson:
    """Exact gradient, in the teacher's weights, of the quiz loss after a virtual student step.

    With s' = s - rate · dL/ds, the teacher acts on the quiz loss Q only through its logits u, and
    dQ/du = -rate · d/du <dL/dz, J v>, where z are the student's logits, J their Jacobian and v =
    dQ/ds'. J v is one forward-mode pass: no graph of a gradient is kept, and layers without a
    second derivative will do.

    Args:
        student: In the mode it trains in.
        teacher: In evaluation mode; every weight gets a gradient, None where it has no part.
        images: Rows of the virtual step.
        ours: The student's logits on them, whose graph is kept for the student's real step.
        objective: The student's loss L from the logits of student and teacher; differentiable
            twice.
        quiz_loss: Loss Q of a student with the given weights.
        pilot_rate: Size of the virtual step, one of plain gradient descent.
    """
    old: Weights = dict(student.named_parameters())
    taught = {name: w.detach().requires_grad_() for name, w in teacher.named_parameters()}
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
        theirs = answer(teacher, taught, images)
        slopes = _slopes(objective(ours, theirs.detach()), old, keep_graph=True)
        pilot = {
            name: (weight - pilot_rate * slopes[name]).detach().requires_grad_()
            for name, weight in old.items()
        }
        loss = quiz_loss(pilot)
        direction = _slopes(loss, pilot)
        with torch.no_grad(), forward_ad.dual_level():
            duals = {
                name: forward_ad.make_dual(weight.detach(), direction[name])
                for name, weight in old.items()
            }
            swing = forward_ad.unpack_dual(answer(student, duals, images)).tangent
    z, u = (widened(logits.detach()).requires_grad_() for logits in (ours, theirs))
    (pull,) = torch.autograd.grad(objective(z, u), z, create_graph=True)
    (push,) = torch.autograd.grad((pull * swing).sum(), u)
    gradients = torch.autograd.grad(
        theirs, tuple(taught.values()), -pilot_rate * push.to(theirs), allow_unused=True
    )
    return Lesson(
        gradients, loss.detach(), {name: weight.detach() for name, weight in pilot.items()}
    )


def _slopes(loss: Tensor, weights: Weights, *, keep_graph: bool = False) -> Weights:
    """Gradient of the loss for each weight, 0 where a weight has no part."""
    found = torch.autograd.grad(
        loss, tuple(weights.values()), retain_graph=keep_graph, materialize_grads=True
    )
    return dict(zip(weights, found, strict=True))


@final
@dataclass(frozen=True)
class MetaDistil(Method):
    """The terms of KD, from a teacher that first learns how its student would do in a quiz.

    A step: the student's virtual (pilot) step, the quiz, a step of the teacher down the quiz loss,
    the student's real step on the same batch with the new teacher. The gradient is of second order:
    such a step costs four to six of KD (four pairs of timm networks, batch 8, one CPU thread).

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        pilot_rate: Size of the virtual step where the schedule is at its peak, in [0, inf); with 0
            the teacher has nothing to learn from and stays as it is.
        teacher_rate: The teacher's learning rate at `teacher_start`, in [0, inf); decays as the
            schedule does.
        teacher_start: Share of the budget after which the teacher learns, in [0, 1]; before, a step
            is one of KD.
        quiz: Share of the transfer set held out as the quiz split, in (0, 1).

    Reference:
        Zhou, Xu, McAuley. BERT Learns to Teach: Knowledge Distillation with Meta Learning. 2022,
        arXiv:2106.04570, section 3 and algorithm 1. Rates and start as the authors' code and advice
        for CIFAR-100 have them.

    *Differs from the reference:* before `teacher_start` the authors' code computes the
    meta-gradient and multiplies it by 0; leaving it out gives the student the same trajectory, but
    the teacher's momentum then starts from 0 and not from stale gradients. One quiz batch a step.
    In the quiz, as in the virtual step, the student's batch norms use the statistics of the batch.
    The virtual and the real step share their dropout masks. The gradient is the same, but found in
    forward mode instead of by a backward pass through a backward pass.
    """

    family: ClassVar[Family] = "teacher"
    paper: ClassVar[Paper] = Paper(
        authors="Wangchunshu Zhou and Canwen Xu and Julian McAuley",
        title="BERT Learns to Teach: Knowledge Distillation with Meta Learning",
        year=2022,
        venue="ACL",
        arxiv="2106.04570",
    )
    temperature: float = 4.0
    alpha: float = 0.9
    pilot_rate: float = 0.02
    teacher_rate: float = 2e-4
    teacher_start: float = 0.625
    quiz: float = 0.1

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", alpha="[0, 1]", pilot_rate="[0, inf)")
        check_ranges(self, teacher_rate="[0, inf)", teacher_start="[0, 1]", quiz="(0, 1)")

    def needs(self) -> Needs:
        return Needs(teacher="private", quiz=self.quiz)

    def init(self, setup: Setup) -> Tensor:
        return torch.zeros(())  # the schedule's decay when the teacher began to learn; 0 until then

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Tensor) -> Losses:
        return self._terms(student.logits, teacher.logits, batch)

    def _terms(self, student: Tensor, teacher: Tensor, batch: Batch) -> Losses:
        hard = cross_entropy(student, batch.target, batch.labelled)
        soft = softened_kl(student, teacher, self.temperature)  # the gradient reaches the teacher
        return {"hard": (1 - self.alpha) * hard, "soft": self.alpha * soft}

    def step(self, loop: Loop, batch: Batch, state: Tensor) -> Losses:
        rate = self.pilot_rate * loop.decay
        with same_masks(batch.inputs):
            student = loop.ask_student(batch)
        if loop.progress >= self.teacher_start and rate > 0:
            quiz = loop.quiz_batch()

            def objective(student: Tensor, teacher: Tensor) -> Tensor:
                return torch.stack(tuple(self._terms(student, teacher, batch).values())).sum()

            def quiz_loss(weights: Weights) -> Tensor:
                return cross_entropy(
                    answer(loop.student, weights, quiz.inputs), quiz.target, quiz.labelled
                )

            lesson = meta_gradient(
                loop.student, loop.teacher, batch.inputs, student.logits, objective, quiz_loss,
                rate,
            )  # fmt: skip
            began = float(state.clamp_(min=loop.decay))
            loop.teacher_update(lesson.gradients, self.teacher_rate * loop.decay / began)
        return loop.descend(self.loss(student, loop.ask_teacher(batch), batch, state))


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "metadistil", MetaDistil()
