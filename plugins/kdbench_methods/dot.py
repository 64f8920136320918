"""DOT: more momentum for the teacher's gradient (Zhao et al. 2023, arXiv:2307.08436)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

import torch
from torch import Tensor, nn

from kdbench.api import (
    Batch,
    Family,
    Loop,
    Losses,
    Method,
    Outputs,
    Paper,
    Setup,
    TrainingProtocol,
    hookimpl,
)
from kdbench_methods.kd import KD
from kdbench_methods.ranges import check_ranges

Velocities: TypeAlias = list[list[Tensor]]
"""Of the hard and of the soft term, a tensor for each of the student's weights."""


@final
@dataclass(frozen=True)
class DOT(Method):
    """The terms of KD, each with a velocity of its own: v = (momentum ± delta) · v + gradient.

    The hard term's momentum is `momentum - delta`, the soft term's `momentum + delta`; weight decay
    belongs to the hard term. The student steps by learning rate · the sum of both velocities.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        delta: By how much the two momenta differ from `momentum`, in [0, 1); see below.
        momentum: Mean of the two momenta, in [0, 1); both must lie in [0, 1).
        weight_decay: Times a weight, added to the hard term's gradient, in [0, inf).

    Reference:
        Zhao, Cui, Song, Liang. DOT: A Distillation-Oriented Trainer. 2023, arXiv:2307.08436,
        section 4, algorithm 1. The values are the authors' for CIFAR-100 (on ImageNet delta is
        0.09).

    *Differs from the reference:* nothing known of the update. Momentum and weight decay are options
    of the method and are not read from the training protocol, whose optimizer this one replaces.
    """

    family: ClassVar[Family] = "teacher"
    paper: ClassVar[Paper] = Paper(
        authors="Borui Zhao and Quan Cui and Renjie Song and Jiajun Liang",
        title="DOT: A Distillation-Oriented Trainer",
        year=2023,
        venue="ICCV",
        arxiv="2307.08436",
    )
    temperature: float = 4.0
    alpha: float = 0.9
    delta: float = 0.075
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", alpha="[0, 1]", momentum="[0, 1)")
        most = min(self.momentum, 1 - self.momentum)
        upper = ")" if self.momentum >= 0.5 else "]"  # momentum + delta stays below 1
        check_ranges(self, delta=f"[0, {most}{upper}", weight_decay="[0, inf)")

    def init(self, setup: Setup) -> Velocities:
        weights = [p for p in setup.student.model.parameters() if p.requires_grad]
        return [[torch.zeros_like(weight) for weight in weights] for _ in ("hard", "soft")]

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Velocities) -> Losses:
        return KD(self.temperature, self.alpha).loss(student, teacher, batch, None)

    def optimizer(
        self, parameters: Sequence[nn.Parameter], protocol: TrainingProtocol
    ) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, protocol.learning_rate)

    def step(self, loop: Loop, batch: Batch, state: Velocities) -> Losses:
        losses = self.loss(*loop.forward(batch), batch, state)
        hard = loop.gradients({"hard": losses["hard"]}, keep_graph=True)
        soft = loop.gradients({"soft": losses["soft"]})
        weights = [p for p in loop.student.parameters() if p.requires_grad]
        loop.update(self.velocity(weights, hard, soft, state))
        return losses

    @torch.no_grad()
    def velocity(
        self,
        weights: Sequence[Tensor],
        hard: Sequence[Tensor | None],
        soft: Sequence[Tensor | None],
        state: Velocities,
    ) -> list[Tensor | None]:
        """The sum of both velocities after these gradients; None for a weight without part."""
        used = [i for i, gradient in enumerate(hard) if gradient is not None]
        both = [[velocities[i] for i in used] for velocities in state]
        for mine, gradients, change in zip(both, (hard, soft), (-1, 1), strict=True):
            found = [g for g in gradients if g is not None]  # the logits alone lead to both terms
            torch._foreach_mul_(mine, self.momentum + change * self.delta)
            torch._foreach_add_(mine, found)
        torch._foreach_add_(both[0], [weights[i] for i in used], alpha=self.weight_decay)
        total = dict(zip(used, torch._foreach_add(*both), strict=True))
        return [total.get(i) for i in range(len(weights))]


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "dot", DOT()
