"""Route-constrained optimization: follow the teacher's path (Jin et al. 2019, arXiv:1904.09149)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from kdbench.api import Batch, Family, Losses, Method, Outputs, Paper, Stage, hookimpl
from kdbench_methods.kd import KD
from kdbench_methods.ranges import check_ranges


@final
@dataclass(frozen=True)
class RCO(Method):
    """The terms of KD; the teacher is an anchor of its own training, from early to final.

    Anchors are equally spaced (the paper's equal epoch interval), the last is the finished teacher.
    One anchor is KD.

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        alpha: Weight of the soft term, in [0, 1].
        anchors: Number of stages and of anchors, an integer in [1, 1000].
        restart: Whether each stage has a learning-rate schedule of its own (the paper's multi-stage
            training) instead of a share of the one schedule (one-stage). Either way the stages
            share the budget of one training.

    Reference:
        Jin, Peng, Wu, Liu, Liu, Liang, Yan, Hu. Knowledge Distillation via Route Constrained
        Optimization. 2019, arXiv:1904.09149, sections 3 and 4.

    *Differs from the reference:* there is no official code. The paper's greedy search for anchors
    is left out, and so are its losses of features and embeddings. Its multi-stage training spends a
    full budget on every anchor; here all anchors together spend one. Temperature and weights are
    those of KD.
    """

    family: ClassVar[Family] = "teacher"
    paper: ClassVar[Paper] = Paper(
        authors="Xiao Jin and Baoyun Peng and Yichao Wu and Yu Liu and Jiaheng Liu and Ding Liang "
        "and Junjie Yan and Xiaolin Hu",
        title="Knowledge Distillation via Route Constrained Optimization",
        year=2019,
        venue="ICCV",
        arxiv="1904.09149",
    )
    temperature: float = 4.0
    alpha: float = 0.9
    anchors: int = 4
    restart: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, temperature="(0, inf)", alpha="[0, 1]", anchors="[1, 1000]")

    def stages(self) -> tuple[Stage, ...]:
        if self.anchors == 1:
            return (Stage(),)
        n = self.anchors
        schedule: Literal["continue", "restart"] = "restart" if self.restart else "continue"
        return tuple(Stage(share=1 / n, anchor=i / n, schedule=schedule) for i in range(1, n + 1))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: None) -> Losses:
        return KD(self.temperature, self.alpha).loss(student, teacher, batch, state)


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    yield "rco", RCO()
