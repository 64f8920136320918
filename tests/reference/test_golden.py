"""Losses and gradients equal those of the authors' own code for the same tensors, in float64."""

from collections.abc import Callable, Mapping
from typing import Any

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
Check = Callable[..., None]


@pytest.mark.golden("kd")
def test_kd_soft_term(case: Case, check_term: Check) -> None:
    method = KD(temperature=case["hyperparameters"]["T"], alpha=1.0)
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["soft"])


@pytest.mark.golden("at")
def test_at_attention_term(case: Case, check_term: Check) -> None:
    method = AT(weight=1.0, power=case["hyperparameters"]["p"])
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["attention"])


@pytest.mark.golden("fitnet")
def test_fitnet_hint_term(case: Case, check_term: Check) -> None:
    method = FitNet(weight=1.0, hint=0)
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, nn.Identity())["hint"])


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

    def ask_student(self, batch: Batch) -> Outputs:
        return self.student(batch.inputs)

    def ask_teacher(self, batch: Batch) -> Outputs:
        return self.teacher(batch.inputs).detach()

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        return self.ask_student(batch), self.ask_teacher(batch)

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


@pytest.mark.golden("metadistil")
def test_metadistil_meta_gradient_and_pilot(
    case: Case, draw: Callable[[Case], dict[str, Any]], make_batch: Callable[..., Batch]
) -> None:
    drawn, given = draw(case), case["hyperparameters"]
    method, rate = MetaDistil(temperature=given["T"], alpha=given["alpha"]), given["inner_lr"]
    batches = [
        make_batch(drawn[f"x_train_{i}"], drawn[f"y_train_{i}"])
        for i in range(given["train_batches"])
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
        ours = student(data.inputs).logits
        lesson = meta_gradient(student, teacher, data.inputs, ours, objective(data), judge, rate)
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


@pytest.mark.golden("metadistil", train_batches=1)  # a step has one batch
def test_metadistil_step(
    case: Case, draw: Callable[[Case], dict[str, Any]], make_batch: Callable[..., Batch]
) -> None:
    drawn, given = draw(case), case["hyperparameters"]
    method = MetaDistil(
        temperature=given["T"],
        alpha=given["alpha"],
        pilot_rate=given["inner_lr"],
        teacher_rate=given["teacher_lr"],
        teacher_start=0.0,
    )
    quiz = make_batch(drawn["x_quiz_0"], drawn["y_quiz_0"])
    loop = PlainLoop(Net(drawn, "student"), Net(drawn, "teacher"), quiz, given["student_lr"])

    method.step(loop, make_batch(drawn["x_train_0"], drawn["y_train_0"]), torch.zeros(()))

    assert flat(loop.teacher.parameters()).norm().item() == pytest.approx(
        case["teacher_param_l2_after"], rel=1e-9
    )
    assert flat(loop.student.parameters()).norm().item() == pytest.approx(
        case["student_param_l2_after"], rel=1e-9
    )
    head = dict(loop.student.named_parameters())["mlp.2.weight"].flatten()[:5].tolist()
    assert head == pytest.approx(case["student_head_after"], rel=1e-9)
