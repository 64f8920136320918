"""Each function equals its formula row by row, finite and in float32 where inputs are narrow."""

import math

import pytest
import torch
from torch import Tensor

from kdbench.functional import cross_entropy, pooled_alike, softened_kl, widened

NARROW = [torch.float16, torch.bfloat16]


def logits(rows: int, classes: int, seed: int = 0, **kinds: object) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, classes, generator=generator, dtype=torch.float64).mul(3).to(**kinds)  # type: ignore[call-overload]  # dtype or none


def every(rows: int) -> Tensor:
    return torch.ones(rows, dtype=torch.bool)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_softened_kl_is_the_mean_over_rows_of_the_sum_over_classes(temperature: float) -> None:
    student, teacher = logits(5, 7, 1), logits(5, 7, 2)
    total = 0.0
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        e_s, e_t = ([math.exp(z / temperature) for z in row] for row in (z_s, z_t))
        p_s, p_t = ([e / sum(row) for e in row] for row in (e_s, e_t))
        total += sum(t * math.log(t / s) for s, t in zip(p_s, p_t, strict=True))
    assert softened_kl(student, teacher, temperature).item() == pytest.approx(
        temperature**2 * total / 5, rel=1e-12
    )


def test_softened_kl_of_a_network_with_itself_is_zero() -> None:
    assert softened_kl(logits(4, 10), logits(4, 10), 4.0).item() == 0


def test_softened_kl_ignores_what_is_added_to_all_logits_of_a_row() -> None:
    student, teacher = logits(4, 10, 1), logits(4, 10, 2)
    shifted = softened_kl(student + 5, teacher - 3, 2.0)
    torch.testing.assert_close(shifted, softened_kl(student, teacher, 2.0))


def test_softened_kl_gives_gradients_to_student_teacher_and_temperature() -> None:
    temperature = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    student, teacher = logits(3, 4, 1).requires_grad_(), logits(3, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(softened_kl, (student, teacher, temperature))
    assert torch.autograd.gradgradcheck(softened_kl, (student, teacher, temperature))


def test_softened_kl_takes_one_temperature_a_row() -> None:
    student = logits(3, 4, 1)
    teacher = logits(3, 4, 2)
    temperatures = torch.tensor([[1.0], [2.0], [5.0]])
    rows = [
        softened_kl(student[i : i + 1], teacher[i : i + 1], temperatures[i].item())
        for i in range(3)
    ]
    torch.testing.assert_close(
        softened_kl(student, teacher, temperatures), torch.stack(rows).mean()
    )


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("dtype", NARROW)
def test_saturated_narrow_logits_give_finite_float32_losses_and_gradients(
    dtype: torch.dtype, classes: int
) -> None:
    student = torch.full((2, classes), -200.0, dtype=dtype)
    teacher = torch.full((2, classes), -200.0, dtype=dtype)
    student[:, 0], teacher[:, -1] = 200, 200
    student.requires_grad_()
    for loss in (
        softened_kl(student, teacher, 1.0),
        softened_kl(student, teacher, 4.0),
        cross_entropy(student, torch.tensor([classes - 1, 0]), every(2)),
    ):
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert gradient.isfinite().all()
    assert softened_kl(student, teacher, 1.0).item() == pytest.approx(400, rel=1e-6)


@pytest.mark.parametrize("dtype", NARROW)
def test_losses_are_float32_under_autocast(dtype: torch.dtype) -> None:
    student, teacher = logits(4, 10, 1, dtype=dtype), logits(4, 10, 2, dtype=dtype)
    outside = softened_kl(student.float(), teacher.float(), 4.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = softened_kl(student, teacher, 4.0)
    assert torch.equal(inside, outside)


def test_cross_entropy_is_the_mean_over_labelled_rows_alone() -> None:
    scores, target = logits(4, 6), torch.tensor([0, 5, 999, 2])
    labelled = torch.tensor([True, True, False, True])
    rows = [scores[i].logsumexp(0) - scores[i, target[i]] for i in (0, 1, 3)]
    torch.testing.assert_close(cross_entropy(scores, target, labelled), torch.stack(rows).mean())


def test_cross_entropy_equals_torch_s_where_every_row_has_a_label() -> None:
    scores, target = logits(64, 100, dtype=torch.float32), torch.arange(64)
    assert torch.equal(
        cross_entropy(scores, target, every(64)), torch.nn.functional.cross_entropy(scores, target)
    )


def test_cross_entropy_without_any_label_is_zero_and_pulls_nowhere() -> None:
    scores = logits(3, 5).requires_grad_()
    loss = cross_entropy(scores, torch.zeros(3, dtype=torch.long), ~every(3))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize(
    ("first", "second", "size"),
    [
        ((8, 8), (4, 4), (4, 4)),
        ((4, 4), (8, 8), (4, 4)),
        ((7, 3), (5, 6), (5, 3)),
        ((5, 5), (5, 5), (5, 5)),
    ],
)
def test_pooled_alike_gives_the_smaller_height_and_the_smaller_width(
    first: tuple[int, int], second: tuple[int, int], size: tuple[int, int]
) -> None:
    left, right = pooled_alike(torch.ones(2, 3, *first), torch.ones(2, 4, *second))
    assert left.shape == (2, 3, *size)
    assert right.shape == (2, 4, *size)


def test_pooled_alike_averages_the_larger_map_and_leaves_the_smaller() -> None:
    large, small = torch.arange(16.0).reshape(1, 1, 4, 4), torch.randn(1, 2, 2, 2)
    pooled, same = pooled_alike(large, small)
    assert pooled.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert same is small


@pytest.mark.parametrize("dtype", [*NARROW, torch.float32, torch.float64])
def test_widened_keeps_float32_and_float64_and_widens_the_rest(dtype: torch.dtype) -> None:
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert widened(torch.ones(1, dtype=dtype)).dtype == expected
