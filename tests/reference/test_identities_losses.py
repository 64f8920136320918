"""Identities between losses of logits that hold for all logits, float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from kdbench.api import Batch, Method, Outputs
from kdbench.functional import softened_kl
from kdbench_methods.dist import DIST, pearson
from kdbench_methods.dkd import DKD, decoupled_kl
from kdbench_methods.kd import KD
from kdbench_methods.lskd import LSKD, LSKD_DKD
from kdbench_methods.ttm import TTM, WTTM, transformed_kl

seeds, scales = st.integers(0, 2**32 - 1), st.floats(0.1, 20.0)
rows, classes = st.integers(2, 6), st.integers(3, 12)
temperatures = st.floats(0.5, 10.0)


@st.composite
def cases(draw: Callable[..., Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a student, of a teacher, and targets."""
    rng, shape = np.random.default_rng(draw(seeds)), (draw(rows), draw(classes))
    ours, theirs = (torch.from_numpy(rng.normal(size=shape) * draw(scales)) for _ in range(2))
    return ours, theirs, torch.from_numpy(rng.integers(0, shape[1], shape[0]))


def term(method: Method, ours: Tensor, theirs: Tensor, target: Tensor, name: str) -> Tensor:
    """One of the method's terms at the end of the budget."""
    batch = Batch(
        inputs=torch.zeros(len(ours), 0),
        target=target,
        labelled=torch.ones(len(ours), dtype=torch.bool),
        index=torch.arange(len(ours)),
        progress=torch.tensor(1.0),
    )
    student, teacher = (Outputs(logits=z, pooled=z) for z in (ours, theirs))
    return method.loss(student, teacher, batch, None)[name]


def same(found: Tensor, wanted: Tensor, rel: float = 1e-9) -> None:
    assert found.detach().numpy() == pytest.approx(wanted.detach().numpy(), rel=rel, abs=1e-11)


@given(cases(), temperatures)
def test_decoupled_parts_weighted_by_the_teachers_rest_are_kd(
    case: tuple[Tensor, Tensor, Tensor], temperature: float
) -> None:
    ours, theirs, target = case
    ours.requires_grad_()
    which, rest = decoupled_kl(ours, theirs, target, temperature)
    sure = (theirs / temperature).softmax(-1).gather(1, target[:, None]).squeeze(1)
    found = (which + (1 - sure) * rest).mean()
    wanted = softened_kl(ours, theirs, temperature)
    same(found, wanted)
    same(torch.autograd.grad(found, ours)[0], torch.autograd.grad(wanted, ours)[0], rel=1e-7)


@given(cases(), temperatures)
def test_dkd_at_the_teachers_own_weights_is_kd(
    case: tuple[Tensor, Tensor, Tensor], temperature: float
) -> None:
    """One row at a time, beta is a number."""
    for ours, theirs, target in zip(*(tensor.split(1) for tensor in case), strict=True):
        sure = (theirs / temperature).softmax(-1)[0, target].item()
        method = DKD(temperature, alpha=1.0, beta=max(0.0, 1 - sure))
        kd = KD(temperature, alpha=1.0)
        same(
            term(method, ours, theirs, target, "decoupled"), term(kd, ours, theirs, target, "soft")
        )


@given(cases())
def test_ttm_at_gamma_one_is_kd_at_temperature_one(case: tuple[Tensor, Tensor, Tensor]) -> None:
    wanted = term(KD(temperature=1.0, alpha=1.0), *case, "soft")
    same(term(TTM(gamma=1.0, weight=1.0), *case, "soft"), wanted)
    same(term(WTTM(gamma=1.0, weight=1.0), *case, "soft"), wanted)


@given(cases(), st.floats(0.05, 2.0))
def test_ttm_transforms_the_teachers_probabilities(
    case: tuple[Tensor, Tensor, Tensor], gamma: float
) -> None:
    ours, theirs, _ = case
    powers = theirs.softmax(-1) ** gamma
    share = powers / powers.sum(-1, keepdim=True)
    wanted = (torch.xlogy(share, share) - share * ours.log_softmax(-1)).sum(-1)
    found, power_sum = transformed_kl(ours, theirs, gamma)
    same(found, wanted)
    same(power_sum, powers.sum(-1))


@given(cases(), st.floats(0.05, 2.0))
def test_wttm_is_ttm_weighted_row_by_row(case: tuple[Tensor, Tensor, Tensor], gamma: float) -> None:
    weights = (case[1].softmax(-1) ** gamma).sum(-1)
    each = [
        term(TTM(gamma, weight=1.0), *row, "soft")
        for row in zip(*(tensor.split(1) for tensor in case), strict=True)
    ]
    found = term(WTTM(gamma, weight=1.0), *case, "soft")
    same(found, (weights * torch.stack(each)).mean())


@given(cases())
def test_gradient_of_kd_tends_to_the_centred_difference_of_logits(
    case: tuple[Tensor, Tensor, Tensor],
) -> None:
    ours, theirs, target = case
    ours.requires_grad_()
    soft = term(KD(temperature=1e5, alpha=1.0), ours, theirs, target, "soft")
    gap = ours.detach() - theirs
    wanted = (gap - gap.mean(-1, keepdim=True)) / ours.numel()  # over classes; a mean over rows
    found = torch.autograd.grad(soft, ours)[0]
    assert (found - wanted).norm() <= 1e-2 * wanted.norm()


@given(cases(), st.floats(0.1, 10.0), st.floats(-3.0, 3.0), st.sampled_from([0, 1]))
def test_pearson_ignores_positive_affine_maps(
    case: tuple[Tensor, Tensor, Tensor], factor: float, shift: float, dim: int
) -> None:
    """Of the centred norms' size the 1e-8 beside them is nothing."""
    ours, theirs, _ = case
    spreads = [z.std(dim) for z in (ours, theirs)]
    assume(all((spread > 0.05).all() for spread in spreads))
    wanted = pearson(ours, theirs, dim)
    same(pearson(factor * ours + shift, theirs, dim), wanted, rel=1e-3)
    same(pearson(ours, factor * theirs + shift, dim), wanted, rel=1e-3)
    same(pearson(-ours, theirs, dim), -wanted)


@given(cases(), temperatures)
def test_dist_ignores_shifts_of_rows_and_is_nothing_but_the_epsilon_of_a_network_with_itself(
    case: tuple[Tensor, Tensor, Tensor], temperature: float
) -> None:
    ours, theirs, target = case
    shift = torch.linspace(-5, 5, len(ours), dtype=torch.float64)[:, None]
    for name in ("inter", "intra"):
        wanted = term(DIST(temperature), ours, theirs, target, name)
        same(term(DIST(temperature), ours + shift, theirs - shift, target, name), wanted)
        assert 0 <= wanted.item() <= 4 * temperature**2 + 1e-9
    smooth = theirs.softmax(-1)
    power = (smooth - smooth.mean(-1, keepdim=True)).square().sum(-1)
    same(term(DIST(1.0, beta=1.0), theirs, theirs, target, "inter"), (1e-8 / (power + 1e-8)).mean())


@given(cases(), st.floats(0.1, 10.0), st.floats(-10.0, 10.0))
@pytest.mark.parametrize(
    ("method", "name"), [(LSKD(), "soft"), (LSKD_DKD(), "decoupled")], ids=["lskd", "lskd_dkd"]
)
def test_lskd_ignores_shift_and_positive_scale_of_either_network(
    method: Method, name: str, case: tuple[Tensor, Tensor, Tensor], factor: float, shift: float
) -> None:
    ours, theirs, target = case
    wanted = term(method, ours, theirs, target, name)
    same(term(method, factor * ours + shift, theirs, target, name), wanted, rel=1e-8)
    same(term(method, ours, factor * theirs + shift, target, name), wanted, rel=1e-8)
    same(term(method, ours, factor * ours + shift, target, name), torch.zeros(()))
