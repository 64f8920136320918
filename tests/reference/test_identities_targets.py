"""Identities between methods that change the target, for any logits."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdbench.api import Batch, Method, Outputs
from kdbench_methods.kd import KD
from kdbench_methods.kd_hard import KDHard
from kdbench_methods.label_smoothing import LabelSmoothing
from kdbench_methods.tang import KDPt, KDRel, KDTopK
from kdbench_methods.tfkd import TfKDReg

any_number = settings(max_examples=60, deadline=None, derandomize=True, database=None)
temperatures = st.floats(0.5, 20)
weights = st.floats(0, 1)


@dataclass
class Drawn:
    """Logits of both networks and the rows' classes, float64."""

    student: Tensor
    teacher: Tensor
    batch: Batch

    def descended(self, method: Method, teacher: Tensor | None = None) -> tuple[float, Tensor]:
        """The summed terms and their gradient on the student's logits."""
        ours = self.student.clone().requires_grad_()
        theirs = self.teacher if teacher is None else teacher
        said = [Outputs(logits=logits, pooled=logits) for logits in (ours, theirs)]
        loss = torch.stack([*method.loss(said[0], said[1], self.batch, None).values()]).sum()
        (gradient,) = torch.autograd.grad(loss, ours)
        return loss.item(), gradient


@st.composite
def draws(draw: st.DrawFn, most: int = 12) -> Drawn:
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(2, most))
    scale = draw(st.floats(0.1, 6))
    seeded = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    ours, theirs = scale * torch.randn(2, rows, classes, generator=seeded, dtype=torch.float64)
    labels = torch.randint(classes, (rows,), generator=seeded)
    batch = Batch(
        inputs=torch.zeros(rows, 0),
        target=labels,
        labelled=torch.ones(rows, dtype=torch.bool),
        index=torch.arange(rows),
        progress=torch.zeros(()),
    )
    return Drawn(ours, theirs, batch)


def same(one: tuple[float, Tensor], two: tuple[float, Tensor], apart: float = 0.0) -> None:
    """Equal gradients, and losses that differ by `apart`."""
    assert one[0] - two[0] == pytest.approx(apart, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(one[1], two[1], rtol=1e-9, atol=1e-11)


@any_number
@given(draws(), weights)
def test_kd_hard_of_a_teacher_that_is_always_right_is_learning_from_the_labels(
    drawn: Drawn, alpha: float
) -> None:
    right = 50.0 * torch.eye(drawn.student.shape[-1])[drawn.batch.target].double()
    found = drawn.descended(KDHard(alpha), right)
    same(found, drawn.descended(LabelSmoothing(0.0)))


@any_number
@given(draws(), temperatures, weights, st.integers(0, 3))
def test_kd_topk_with_all_classes_is_kd(
    drawn: Drawn, temperature: float, alpha: float, beyond: int
) -> None:
    k = drawn.student.shape[-1] + beyond
    for rest in ("uniform", "renormalise"):
        method = KDTopK(temperature, alpha, k=k, rest=rest)
        same(drawn.descended(method), drawn.descended(KD(temperature, alpha)))


@any_number
@given(draws(most=2), temperatures, weights)
def test_kd_pt_of_two_classes_is_kd(drawn: Drawn, temperature: float, alpha: float) -> None:
    method = KDPt(temperature, alpha)
    same(drawn.descended(method), drawn.descended(KD(temperature, alpha)))


@any_number
@given(draws(), temperatures, weights)
def test_kd_topk_that_keeps_all_but_one_class_is_kd(
    drawn: Drawn, temperature: float, alpha: float
) -> None:
    method = KDTopK(temperature, alpha, k=drawn.student.shape[-1] - 1)  # the one keeps the rest
    same(drawn.descended(method), drawn.descended(KD(temperature, alpha)))


@any_number
@given(draws(), st.floats(0, 0.99))
def test_a_uniform_teacher_is_label_smoothing(drawn: Drawn, alpha: float) -> None:
    uniform = torch.zeros_like(drawn.teacher)
    entropy = math.log(drawn.student.shape[-1])
    smoothed = drawn.descended(LabelSmoothing(alpha))
    same(smoothed, drawn.descended(KD(1.0, alpha), uniform), alpha * entropy)


@any_number
@given(draws(), st.floats(0, 0.99), temperatures)
def test_a_made_up_teacher_without_a_favourite_is_label_smoothing(
    drawn: Drawn, alpha: float, temperature: float
) -> None:
    classes = drawn.student.shape[-1]
    method = TfKDReg(temperature, alpha, confidence=1 / classes)
    smoothed = drawn.descended(LabelSmoothing(alpha))
    same(smoothed, drawn.descended(method), alpha * math.log(classes))


@any_number
@given(draws(), st.floats(0, 0.4))
def test_mass_on_the_others_alone_is_more_mass_on_all(drawn: Drawn, epsilon: float) -> None:
    classes = drawn.student.shape[-1]
    others = LabelSmoothing(epsilon, spread="others")
    everywhere = LabelSmoothing(epsilon * classes / (classes - 1))
    same(drawn.descended(others), drawn.descended(everywhere))


@any_number
@given(draws(), weights)
def test_the_teacher_rescales_the_true_class_s_gradient_by_its_surplus_of_confidence(
    drawn: Drawn, alpha: float
) -> None:
    """(1 - alpha) + alpha · c / (1 - p): p is the student's confidence, p + c the teacher's."""
    true = drawn.batch.target.unsqueeze(-1)
    p = drawn.student.softmax(-1).gather(-1, true)
    c = drawn.teacher.softmax(-1).gather(-1, true) - p
    factor = (1 - alpha) + alpha * c / (1 - p)
    _, alone = drawn.descended(KD(1.0, 0.0))
    for method in (KD(1.0, alpha), KDPt(1.0, alpha), KDTopK(1.0, alpha, k=99)):
        _, taught = drawn.descended(method)
        torch.testing.assert_close(
            taught.gather(-1, true), factor * alone.gather(-1, true), rtol=1e-9, atol=1e-12
        )
        rest = taught.sum(-1, keepdim=True) - taught.gather(-1, true)
        torch.testing.assert_close(rest, -taught.gather(-1, true), rtol=1e-9, atol=1e-12)


@any_number
@given(draws(), temperatures, weights)
def test_a_fixed_true_mass_rescales_all_rows_alike(
    drawn: Drawn, temperature: float, alpha: float
) -> None:
    """What KD-rel by row changes of KD is the true class's mass, not how the others compare."""
    method = KDRel(temperature, alpha, reading="row", true_mass=0.6)
    target = method.soft_target(drawn.teacher / temperature, drawn.batch.target, None)
    said = (drawn.teacher / temperature).softmax(-1)
    true = drawn.batch.target.unsqueeze(-1)
    fixed = torch.full_like(said[:, :1], 0.6)
    torch.testing.assert_close(target.gather(-1, true), fixed)
    scaled = said.scatter(-1, true, 0.0) * 0.4 / (1 - said.gather(-1, true))
    torch.testing.assert_close(target.scatter(-1, true, 0.0), scaled, rtol=1e-7, atol=1e-12)
