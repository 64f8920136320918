"""Losses and gradients equal those of the authors' own code for the same tensors, in float64.

`golden/<method>.json` holds, a case each, the seed and shapes of the inputs and the reference's
numbers; `inputs` draws the tensors again. The numbers were made with the code that each file names
as its `source`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Losses, Outputs
from kdbench_methods.at import AT
from kdbench_methods.fitnet import FitNet
from kdbench_methods.kd import KD
from kdbench_methods.metadistil import MetaDistil, answer, meta_gradient

Case = dict[str, Any]


def cases(method: str) -> list[Any]:
    """All cases of one method, ready to parametrize by."""
    found = json.loads(
        (Path(__file__).parent / "golden" / f"{method}.json").read_text(encoding="utf-8")
    )["cases"]
    return [pytest.param(case, id=f"{method}-{case['case']}") for case in found]


def inputs(case: Case) -> dict[str, Any]:
    """The tensors of one case, drawn in a fixed order, checked by recorded sums of squares."""
    rng, shapes = np.random.default_rng(case["seed"]), case["shapes"]
    rows, classes = shapes["B"], shapes["K"]
    drawn: dict[str, Any] = {
        "student_logits": rng.standard_normal((rows, classes)) * case["logit_scale"],
        "teacher_logits": rng.standard_normal((rows, classes)) * case["logit_scale"],
        "targets": rng.integers(0, classes, rows),
        "student_features": [],
        "teacher_features": [],
    }
    for stage in zip(
        shapes.get("student_features", ()), shapes.get("teacher_features", ()), strict=True
    ):
        for role, shape in zip(("student_features", "teacher_features"), stage, strict=True):
            map_ = rng.standard_normal((rows, *shape))
            drawn[role].append(np.maximum(map_, 0) if case["activation"] == "relu" else map_)
    for extra in shapes.get("extra", ()):
        if extra["kind"] == "integers":
            drawn[extra["name"]] = rng.integers(extra["low"], extra["high"], extra["shape"])
        else:
            assert extra["kind"] == "normal"
            drawn[extra["name"]] = (
                rng.standard_normal(extra["shape"]) * extra["scale"] + extra["shift"]
            )
    assert not case["edits"]
    for name, expected in case["input_check"].items():
        values = drawn[name] if isinstance(expected, list) else [drawn[name]]
        np.testing.assert_allclose(
            [(v.astype(float) ** 2).sum() for v in values], np.ravel(expected), rtol=1e-12
        )
    return {
        n: [torch.from_numpy(f) for f in v] if isinstance(v, list) else torch.from_numpy(v)
        for n, v in drawn.items()
    }


def batch(images: Tensor, target: Tensor) -> Batch:
    every = torch.ones(len(target), dtype=torch.bool)
    return Batch(
        inputs=images,
        target=target,
        labelled=every,
        index=torch.arange(len(target)),
        progress=torch.tensor(0.0),
    )


def check_term(case: Case, term: Callable[[Outputs, Outputs, Batch], Tensor]) -> None:
    """The term and its gradients equal the golden ones."""
    drawn = inputs(case)
    logits = drawn["student_logits"].requires_grad_()
    hints = tuple(map_.requires_grad_() for map_ in drawn["student_features"])
    empty = torch.zeros(len(logits), 0)
    student = Outputs(logits=logits, pooled=empty, hints=hints)
    teacher = Outputs(
        logits=drawn["teacher_logits"], pooled=empty, hints=tuple(drawn["teacher_features"])
    )

    loss = term(student, teacher, batch(empty, drawn["targets"]))
    gradients = torch.autograd.grad(loss, [logits, *hints], allow_unused=True)

    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    norms = case["grad_l2"]
    for gradient, norm in zip(
        gradients, [norms["student_logits"], *(norms["student_features"] or ())], strict=True
    ):
        assert (
            norm is None
            if gradient is None
            else gradient.norm().item() == pytest.approx(norm, rel=1e-7)
        )
    head_of = gradients[0] if case["grad_head_of"] == "student_logits" else gradients[-1]
    assert head_of is not None
    assert head_of.flatten()[:5].tolist() == pytest.approx(case["grad_head"], rel=1e-7)


@pytest.mark.parametrize("case", cases("kd"))
def test_kd_soft_term_is_the_reference_s(case: Case) -> None:
    method = KD(temperature=case["hyperparameters"]["T"], alpha=1.0)
    check_term(
        case, lambda student, teacher, batch: method.loss(student, teacher, batch, None)["soft"]
    )


@pytest.mark.parametrize("case", cases("at"))
def test_at_attention_term_is_the_reference_s(case: Case) -> None:
    method = AT(weight=1.0, power=case["hyperparameters"]["p"])
    check_term(
        case,
        lambda student, teacher, batch: method.loss(student, teacher, batch, None)["attention"],
    )


@pytest.mark.parametrize("case", cases("fitnet"))
def test_fitnet_hint_term_is_the_reference_s(case: Case) -> None:
    method = FitNet(weight=1.0, hint=0)
    check_term(
        case,
        lambda student, teacher, batch: method.loss(student, teacher, batch, nn.Identity())["hint"],
    )


class Net(nn.Module):
    """Linear, tanh, linear."""

    def __init__(self, drawn: Mapping[str, Tensor], role: str) -> None:
        super().__init__()
        width, inner = drawn[f"{role}_mlp.0.weight"].shape
        classes = len(drawn[f"{role}_mlp.2.bias"])
        self.mlp = nn.Sequential(
            nn.Linear(inner, width), nn.Tanh(), nn.Linear(width, classes)
        ).double()
        self.load_state_dict({name: drawn[f"{role}_{name}"] for name in self.state_dict()})

    def forward(self, images: Tensor) -> Outputs:
        return Outputs(logits=self.mlp(images), pooled=images)


class PlainLoop:
    """A loop of plain gradient descent, as the reference numbers were made with."""

    progress, decay = 0.0, 1.0

    def __init__(self, student: nn.Module, teacher: nn.Module, quiz: Batch, rate: float) -> None:
        self.student, self.teacher, self.quiz, self.rate = student, teacher, quiz, rate

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        return self.student(batch.inputs), self.teacher(batch.inputs).detach()

    def descend(self, losses: Losses) -> Losses:
        weights = list(self.student.parameters())
        gradients = torch.autograd.grad(torch.stack(tuple(losses.values())).sum(), weights)
        _descend(weights, gradients, self.rate)
        return losses

    def quiz_batch(self) -> Batch:
        return self.quiz

    def teacher_update(self, gradients: list[Tensor], learning_rate: float) -> None:
        _descend(list(self.teacher.parameters()), gradients, learning_rate)


@torch.no_grad()
def _descend(weights: list[nn.Parameter], gradients: Any, rate: float) -> None:
    for weight, gradient in zip(weights, gradients, strict=True):
        weight -= rate * gradient


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


@pytest.mark.parametrize("case", cases("metadistil"))
def test_metadistil_meta_gradient_and_pilot_are_the_reference_s(case: Case) -> None:
    drawn, given = inputs(case), case["hyperparameters"]
    method, rate = MetaDistil(temperature=given["T"], alpha=given["alpha"]), given["inner_lr"]
    batches = [
        batch(drawn[f"x_train_{i}"], drawn[f"y_train_{i}"]) for i in range(given["train_batches"])
    ]
    student, teacher = Net(drawn, "student"), Net(drawn, "teacher")

    def objective(data: Batch) -> Callable[[Tensor, Tensor], Tensor]:
        def total(z_s: Tensor, z_t: Tensor) -> Tensor:
            ours, theirs = (Outputs(logits=z, pooled=z) for z in (z_s, z_t))
            return torch.stack(
                tuple(method.loss(ours, theirs, data, torch.zeros(())).values())
            ).sum()

        return total

    def quiz_loss(weights: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(answer(student, weights, drawn["x_quiz_0"]), drawn["y_quiz_0"])

    def after(
        data: Batch, judge: Callable[[dict[str, Tensor]], Tensor]
    ) -> Callable[[dict[str, Tensor]], Tensor]:
        """The loss `judge` of a student after one step on `data`; the teacher stays."""

        def loss(weights: dict[str, Tensor]) -> Tensor:
            total = objective(data)(
                answer(student, weights, data.inputs), teacher(data.inputs).logits.detach()
            )
            slopes = torch.autograd.grad(total, tuple(weights.values()), create_graph=True)
            return judge(
                {n: w - rate * slope for (n, w), slope in zip(weights.items(), slopes, strict=True)}
            )

        return loss

    # The teacher acts through the step on each batch; the chain rule adds these parts up.
    gradients = [torch.zeros_like(weight) for weight in teacher.parameters()]
    for i, data in enumerate(batches):
        judge = quiz_loss
        for later in reversed(batches[i + 1 :]):
            judge = after(later, judge)
        lesson = meta_gradient(student, teacher, data.inputs, objective(data), judge, rate)
        gradients = [total + part for total, part in zip(gradients, lesson.gradients, strict=True)]
        student.load_state_dict(lesson.pilot)

    assert lesson.quiz_loss.item() == pytest.approx(case["loss"], rel=1e-9)
    assert flat(lesson.pilot.values()).norm().item() == pytest.approx(
        case["pilot_param_l2"], rel=1e-9
    )
    assert lesson.pilot["mlp.2.weight"].flatten()[:5].tolist() == pytest.approx(
        case["pilot_head"], rel=1e-9
    )
    assert flat(gradients).norm().item() == pytest.approx(case["grad_l2"]["teacher"], rel=1e-7)
    by_name = dict(zip(dict(teacher.named_parameters()), gradients, strict=True))
    for name, norm in case["grad_l2"]["per_teacher_parameter"].items():
        assert by_name[name].norm().item() == pytest.approx(norm, rel=1e-7)
    assert case["grad_head_of"] == "teacher_mlp.2.weight"
    assert by_name["mlp.2.weight"].flatten()[:5].tolist() == pytest.approx(
        case["grad_head"], rel=1e-7
    )


@pytest.mark.parametrize(
    "case", [c for c in cases("metadistil") if c.values[0]["hyperparameters"]["train_batches"] == 1]
)
def test_metadistil_step_leaves_the_reference_s_weights(case: Case) -> None:
    drawn, given = inputs(case), case["hyperparameters"]
    method = MetaDistil(
        temperature=given["T"],
        alpha=given["alpha"],
        pilot_rate=given["inner_lr"],
        teacher_rate=given["teacher_lr"],
        teacher_start=0.0,
    )
    quiz = batch(drawn["x_quiz_0"], drawn["y_quiz_0"])
    loop = PlainLoop(Net(drawn, "student"), Net(drawn, "teacher"), quiz, given["student_lr"])

    method.step(loop, batch(drawn["x_train_0"], drawn["y_train_0"]), torch.zeros(()))

    assert flat(loop.teacher.parameters()).norm().item() == pytest.approx(
        case["teacher_param_l2_after"], rel=1e-9
    )
    assert flat(loop.student.parameters()).norm().item() == pytest.approx(
        case["student_param_l2_after"], rel=1e-9
    )
    head = dict(loop.student.named_parameters())["mlp.2.weight"].flatten()[:5].tolist()
    assert head == pytest.approx(case["student_head_after"], rel=1e-9)
