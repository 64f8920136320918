"""timm's own distillation tasks, run as methods: timm computes the losses (needs timm.task)."""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, final

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
    Unsupported,
    hookimpl,
)  # fmt: skip
from kdbench.functional import cross_entropy, widened
from kdbench_methods.ranges import check_ranges

tasks: Any = importlib.import_module("timm.task") if find_spec("timm.task") else None


class Said(nn.Module):
    """Stands for a network in a task of timm: answers with tensors that are there already."""

    pretrained_cfg: ClassVar[dict[str, tuple[float, ...]]] = {"mean": (0.0,), "std": (1.0,)}
    logits: Any = None
    pooled: Any = None

    def forward(self, images: Tensor) -> Any:  # noqa: ANN401 - a tensor, or one a head
        """What was said: logits, or the two heads' logits."""
        return self.logits

    def forward_features(self, images: Tensor) -> Tensor:
        """Nothing that is read."""
        return images

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Any:  # noqa: ANN401 - as in forward
        """What was said: pooled features, or the logits."""
        return self.pooled if pre_logits else self.logits

    def set_distilled_training(self, enable: bool = True) -> None:
        """Nothing: the two heads' answers are given apart anyway."""


@dataclass(frozen=True)
class _Task(Method):
    """What the three have in common: a task of timm is the state."""

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Ross Wightman",
        title="PyTorch Image Models",
        year=2019,
        doi="10.5281/zenodo.4414861",
    )
    task: ClassVar[str]
    """Its name in `timm.task`."""

    named: ClassVar[tuple[str, str]] = ("hard", "soft")
    """What its two terms are called here: that of the labels, that of the teacher."""

    weight: float = 1.0
    hard_weight: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", hard_weight="[0, inf)")
        if hasattr(self, "temperature"):
            check_ranges(self, temperature="(0, inf)")

    def made(self, **options: object) -> nn.Module:
        """The task between two networks that have said it all."""
        task: nn.Module = getattr(tasks, self.task)(
            Said(), tasks.DistillationTeacher(Said()), verbose=False,
            criterion=lambda z, target: cross_entropy(z, target, target >= 0),  # -1: no label
            task_loss_weight=self.hard_weight, distill_loss_weight=self.weight, **options,
        )  # fmt: skip
        # Nothing is normalised a second time, and timm's look at the two waits for the device.
        task.student_mean = task.student_std = None  # type: ignore[assignment]  # buffers may be None
        return task

    def asked(
        self, task: nn.Module, teacher: Outputs, batch: Batch, *logits: Tensor,
        pooled: Tensor | None = None,
    ) -> Losses:  # fmt: skip
        """The task's two weighted terms, of a student with these logits, one or two heads'."""
        parts: Any = task
        judge, student = parts.teacher.model, parts.trainable_module
        student = getattr(student, "student", student)  # beside a projection
        teacher = teacher.detach()
        judge.logits, judge.pooled = widened(teacher.logits), widened(teacher.pooled)
        each = tuple(map(widened, logits))
        student.logits, student.pooled = each if len(each) > 1 else each[0], pooled
        found = task(batch.inputs, batch.target.masked_fill(~batch.labelled, -1))
        for network in (student, judge):  # let go of the graph
            network.logits = network.pooled = None
        soft = found["kd_loss"] if "kd_loss" in found else found["distill_loss"]
        terms = self.hard_weight * found["task_loss"], self.weight * soft
        return dict(zip(self.named, terms, strict=True))


@final
@dataclass(frozen=True)
class Logit(_Task):
    """timm's LogitDistillationTask: cross-entropy + weight · T² · KL(teacher || student).

    Attributes:
        temperature: What both networks' logits are divided by, in (0, inf).
        weight: timm's `distill_loss_weight`, in [0, inf).
        hard_weight: timm's `task_loss_weight`, in [0, inf).

    Reference:
        timm, `timm.task.LogitDistillationTask`, of the version that is installed; the values are
        its defaults. The loss is that of Hinton, Vinyals, Dean. Distilling the Knowledge in a
        Neural Network. 2015, arXiv:1503.02531, section 2.

    *Differs from the reference:* both networks see what the host gives them and normalise for
    themselves. Rows without a label are left out of the cross-entropy.
    """

    task: ClassVar[str] = "LogitDistillationTask"
    temperature: float = 1.0

    def init(self, setup: Setup) -> nn.Module:
        return self.made(temperature=self.temperature)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        return self.asked(state, teacher, batch, student.logits)


@final
@dataclass(frozen=True)
class Feature(_Task):
    """timm's FeatureDistillationTask: cross-entropy + weight · squared error of pooled features.

    Where the widths differ, a trained linear projection leads from the student's to the teacher's.
    The error is a mean over rows and features.

    Attributes:
        weight: timm's `distill_loss_weight`, in [0, inf).
        hard_weight: timm's `task_loss_weight`, in [0, inf).

    Reference:
        timm, `timm.task.FeatureDistillationTask`, of the version that is installed; the values are
        its defaults.

    *Differs from the reference:* as `timm_logit`. Of a student with two heads the features are both
    heads' inputs, side by side; timm takes their mean.
    """

    family: ClassVar[Family] = "features"
    extra: ClassVar[str] = "a linear projection where the pooled widths differ"
    task: ClassVar[str] = "FeatureDistillationTask"
    named: ClassVar[tuple[str, str]] = ("hard", "feature")

    def init(self, setup: Setup) -> nn.Module:
        ours, theirs = setup.student.pooled_dim, setup.teacher.pooled_dim
        return self.made(student_feature_dim=ours, teacher_feature_dim=theirs)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        weights = [*state.parameters()]
        pooled = student.pooled.to(weights[0].dtype) if weights else widened(student.pooled)
        return self.asked(state, teacher, batch, student.logits, pooled=pooled)


@final
@dataclass(frozen=True)
class Token(_Task):
    """timm's TokenDistillationTask: the distillation token's head learns from the teacher.

    The class token's head learns from the labels. As in timm, both heads' mean is deployed.

    Attributes:
        temperature: What logits are divided by where `kind` is "soft", in (0, inf).
        weight: timm's `distill_loss_weight`, in [0, inf).
        hard_weight: timm's `task_loss_weight`, in [0, inf).
        kind: "soft" for T² · KL(teacher || token's head), "hard" for the cross-entropy with the
            teacher's best class.

    Reference:
        timm, `timm.task.TokenDistillationTask`, of the version that is installed; the values are
        its defaults. The method is that of Touvron, Cord, Douze, Massa, Sablayrolles, Jégou.
        Training data-efficient image transformers & distillation through attention. 2021,
        arXiv:2012.12877, section 4, which prefers "hard" and weighs both terms by 1/2.

    *Differs from the reference:* as `timm_logit`.
    """

    paper: ClassVar[Paper] = Paper(
        authors="Hugo Touvron and Matthieu Cord and Matthijs Douze and Francisco Massa and "
        "Alexandre Sablayrolles and Hervé Jégou",
        title="Training data-efficient image transformers & distillation through attention",
        year=2021,
        venue="ICML",
        arxiv="2012.12877",
    )
    task: ClassVar[str] = "TokenDistillationTask"
    named: ClassVar[tuple[str, str]] = ("main", "token")
    temperature: float = 1.0
    kind: Literal["soft", "hard"] = "soft"

    def init(self, setup: Setup) -> nn.Module:
        heads(setup.student.model)
        return self.made(temperature=self.temperature, distill_type=self.kind)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        """The terms of a student whose two heads agree; `step` asks them apart."""
        return self.asked(state, teacher, batch, student.logits, student.logits)

    def step(self, loop: Loop, batch: Batch, state: nn.Module) -> Losses:
        heard: dict[nn.Module, Any] = dict.fromkeys(heads(loop.student))

        def hear(head: nn.Module, inputs: object, logits: Tensor) -> None:
            heard[head] = logits

        with ExitStack() as hooks:
            for head in heard:
                hooks.enter_context(head.register_forward_hook(hear))
            _, teacher = loop.forward(batch)
        return loop.descend(self.asked(state, teacher, batch, *heard.values()))


def heads(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The classifiers of class token and distillation token.

    Raises:
        Unsupported: The network has no token of its own for the teacher.
    """
    model: Any = getattr(network, "model", network)
    found = model.get_classifier() if hasattr(model, "set_distilled_training") else None
    if not (isinstance(found, tuple) and len(found) == 2):
        raise Unsupported(
            f"{type(model).__name__} has no distillation token",
            "the teacher's term is that of the token's own head",
            "take a student such as deit_tiny_distilled_patch16_224",
        )
    return found


@hookimpl
def kdbench_methods() -> Iterator[tuple[str, Method]]:
    found = {"timm_logit": Logit(), "timm_feature": Feature(), "timm_token": Token()}
    yield from ((name, method) for name, method in found.items() if hasattr(tasks, method.task))
