"""timm's own distillation tasks, run as methods: timm computes the losses (needs timm.task)."""

import importlib
from collections.abc import Iterator
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
)
from kdbench.functional import cross_entropy, widened
from kdbench_methods.ranges import check_ranges

tasks: Any = importlib.import_module("timm.task") if find_spec("timm.task") else None

TIMM = Paper(
    authors="Ross Wightman", title="PyTorch Image Models", year=2019, doi="10.5281/zenodo.4414861"
)


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


def _hard(logits: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy of the labelled rows; the others have class -1."""
    return cross_entropy(logits, target.clamp(min=0), target >= 0)


def _student(task: nn.Module, name: str = "trainable_module") -> Said:
    found = task.get_submodule(name)
    assert isinstance(found, Said)
    return found


@dataclass(frozen=True)
class _Task(Method):
    """What the three have in common: a task of timm is the state."""

    paper: ClassVar[Paper] = TIMM
    weight: float = 1.0
    hard_weight: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(self, weight="[0, inf)", hard_weight="[0, inf)")
        if hasattr(self, "temperature"):
            check_ranges(self, temperature="(0, inf)")

    def made(self, kind: str, **options: object) -> nn.Module:
        """A task of timm between two networks that have said it all."""
        task: nn.Module = getattr(tasks, kind)(
            Said(), tasks.DistillationTeacher(Said()), criterion=_hard, verbose=False,
            task_loss_weight=self.hard_weight, distill_loss_weight=self.weight, **options,
        )  # fmt: skip
        # Nothing is normalised a second time, and timm's look at the two waits for the device.
        task.student_mean = task.student_std = None  # type: ignore[assignment]  # buffers may be None
        return task

    def asked(
        self, task: nn.Module, student: Said, teacher: Outputs, batch: Batch, *names: str
    ) -> Losses:
        """The task's two weighted terms by name: that of the labels, that of the teacher."""
        judge = _student(task, "teacher.model")
        try:
            judge.logits, judge.pooled = (
                widened(said.detach()) for said in (teacher.logits, teacher.pooled)
            )
            found = task(batch.inputs, batch.target.masked_fill(~batch.labelled, -1))
        finally:
            for network in (student, judge):  # let go of the graph
                network.logits = network.pooled = None
        soft = next(found[name] for name in ("kd_loss", "distill_loss") if name in found)
        terms = self.hard_weight * found["task_loss"], self.weight * soft
        return dict(zip(names, terms, strict=True))


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

    family: ClassVar[Family] = "logits"
    temperature: float = 1.0

    def init(self, setup: Setup) -> nn.Module:
        return self.made("LogitDistillationTask", temperature=self.temperature)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        ours = _student(state)
        ours.logits = widened(student.logits)
        return self.asked(state, ours, teacher, batch, "hard", "soft")


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

    def init(self, setup: Setup) -> nn.Module:
        ours, theirs = setup.student.pooled_dim, setup.teacher.pooled_dim
        widths = {"student_feature_dim": ours, "teacher_feature_dim": theirs}
        return self.made("FeatureDistillationTask", **widths)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        ours = _student(state, "trainable_module.student")
        weights = [*state.parameters()]
        ours.logits = widened(student.logits)
        ours.pooled = student.pooled.to(weights[0].dtype) if weights else widened(student.pooled)
        return self.asked(state, ours, teacher, batch, "hard", "feature")


@final
@dataclass(frozen=True)
class Token(_Task):
    """timm's TokenDistillationTask: the distillation token's head learns from the teacher.

    The class token's head learns from the labels. The deployed logits are the mean of both heads,
    as timm has it.

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

    family: ClassVar[Family] = "logits"
    paper: ClassVar[Paper] = Paper(
        authors="Hugo Touvron and Matthieu Cord and Matthijs Douze and Francisco Massa and "
        "Alexandre Sablayrolles and Hervé Jégou",
        title="Training data-efficient image transformers & distillation through attention",
        year=2021,
        venue="ICML",
        arxiv="2012.12877",
    )
    temperature: float = 1.0
    kind: Literal["soft", "hard"] = "soft"

    def init(self, setup: Setup) -> nn.Module:
        heads(setup.student.model)
        options = {"temperature": self.temperature, "distill_type": self.kind}
        return self.made("TokenDistillationTask", **options)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        """The terms of a student whose two heads agree; `step` asks them apart."""
        return self.terms(student.logits, student.logits, teacher, batch, state)

    def terms(
        self, main: Tensor, token: Tensor, teacher: Outputs, batch: Batch, state: nn.Module
    ) -> Losses:
        """The terms from the logits of the class token's and of the distillation token's head."""
        ours = _student(state)
        ours.logits = widened(main), widened(token)
        return self.asked(state, ours, teacher, batch, "main", "token")

    def step(self, loop: Loop, batch: Batch, state: nn.Module) -> Losses:
        heard: dict[nn.Module, Tensor] = {}

        def hear(head: nn.Module, inputs: object, logits: Tensor) -> None:
            heard[head] = logits

        both = heads(loop.student)
        handles = [head.register_forward_hook(hear) for head in both]
        try:
            _, teacher = loop.forward(batch)
        finally:
            for handle in handles:
                handle.remove()
        main, token = (heard[head] for head in both)
        return loop.descend(self.terms(main, token, teacher, batch, state))


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
    methods: dict[str, tuple[str, Method]] = {
        "timm_logit": ("LogitDistillationTask", Logit()),
        "timm_feature": ("FeatureDistillationTask", Feature()),
        "timm_token": ("TokenDistillationTask", Token()),
    }
    yield from ((name, method) for name, (task, method) in methods.items() if hasattr(tasks, task))
