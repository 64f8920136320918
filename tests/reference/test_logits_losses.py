"""Losses of logits equal the authors' code, or the paper where that code departs from it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from kdbench.api import Batch, Losses, Method, Outputs
from kdbench_methods.ctkd import CTKD, Reversed
from kdbench_methods.dist import DIST
from kdbench_methods.dkd import DKD
from kdbench_methods.kd import KD
from kdbench_methods.label_smoothing import LabelSmoothing
from kdbench_methods.logit_mse import LogitMSE
from kdbench_methods.lskd import LSKD, LSKD_DKD
from kdbench_methods.mlld import MLLD, levels
from kdbench_methods.nkd import NKD
from kdbench_methods.tang import KDPt, KDRel, KDTopK
from kdbench_methods.tfkd import TfKDReg
from kdbench_methods.ttm import TTM, WTTM

Case = dict[str, Any]
Check = Callable[..., None]
Make = Callable[..., Batch]

PLAIN = (DKD(), DIST(), LSKD(), LSKD(authors=True), LSKD_DKD(), TTM(), WTTM(), LogitMSE())
ALL: tuple[Method, ...] = (*PLAIN, MLLD(), MLLD(authors=True), CTKD())
LABELLED = (*ALL, KD(), LabelSmoothing(), TfKDReg(), NKD(), KDTopK(), KDPt(), KDRel(reading="row"))
every = pytest.mark.parametrize("method", ALL, ids=repr)


def total(losses: Losses, *without: str) -> Tensor:
    return torch.stack([value for name, value in losses.items() if name not in without]).sum()


def said(logits: Tensor) -> Outputs:
    """A network that says the same of both views."""
    one = Outputs(logits=logits, pooled=logits)
    return replace(one, second=one)


@pytest.mark.golden("dkd")
def test_dkd_decoupled_term(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = DKD(given["T"], given["alpha"], given["beta"], warmup=0.0)
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["decoupled"])


@pytest.mark.golden("dist")
def test_dist_terms(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = DIST(given["tau"], given["beta"], given["gamma"])
    check_term(case, lambda s, t, batch, _: total(method.loss(s, t, batch, None), "hard"))


def standardised(given: dict[str, Any], *, authors: bool) -> Method:
    if given["base"] == "kd":
        return LSKD(given["T"], weight=1.0, authors=authors)
    return LSKD_DKD(given["T"], given["alpha"], given["beta"], 1.0, warmup=0.0, authors=authors)


@pytest.mark.golden("logit_standardization")
def test_lskd_with_the_authors_deviation(case: Case, check_term: Check) -> None:
    method = standardised(case["hyperparameters"], authors=True)
    check_term(case, lambda s, t, batch, _: total(method.loss(s, t, batch, None), "hard"))


@pytest.mark.golden("logit_standardization")
def test_lskd_with_the_papers_deviation(case: Case, check_term: Check) -> None:
    method = standardised(case["hyperparameters"], authors=False)
    check_term(
        case,
        lambda s, t, batch, _: total(method.loss(s, t, batch, None), "hard"),
        loss=case["loss_paper"],
    )


@pytest.mark.golden("ttm")
def test_ttm_soft_term(case: Case, check_term: Check) -> None:
    method = TTM(case["hyperparameters"]["gamma"], weight=1.0)
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["soft"])


@pytest.mark.golden("wttm")
def test_wttm_soft_term(case: Case, check_term: Check) -> None:
    method = WTTM(case["hyperparameters"]["gamma"], weight=1.0)
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["soft"])


def views(method: MLLD, s: Outputs, t: Outputs, batch: Batch, drawn: dict[str, Tensor]) -> Tensor:
    """All levels; the second view is the one drawn, or, where none is, the first again."""
    ours, theirs = (
        replace(one, second=said(drawn.get(f"{role}_logits_strong", one.logits)))
        for one, role in ((s, "student"), (t, "teacher"))
    )
    return total(method.loss(ours, theirs, batch, None), "hard", "hard_second")


@pytest.mark.golden("mlld")
def test_mlld_levels_and_the_authors_sum(case: Case, check_term: Check) -> None:
    given, method = case["hyperparameters"], MLLD(alpha=1.0, authors=True)

    def term(s: Outputs, t: Outputs, batch: Batch, drawn: dict[str, Tensor]) -> Tensor:
        if given["component"] == "reference_total":
            return views(method, s, t, batch, drawn)
        return levels(s.logits, t.logits, given["T"])[given["component"]]

    check_term(case, term)


@pytest.mark.golden("mlld")
def test_mlld_sum_of_the_paper(case: Case, check_term: Check) -> None:
    """Of a case without a sum: by loops, twice, for the two views that are one."""
    given, method = case["hyperparameters"], MLLD(alpha=1.0)
    wanted = case.get("loss_paper")
    check_term(
        case,
        lambda s, t, batch, drawn: (
            views(method, s, t, batch, drawn)
            if given["component"] == "reference_total"
            else views(method, s, t, batch, drawn)
            / (2 * slow_levels(s.logits.detach().numpy(), t.logits.numpy()))
        ),
        loss=1.0 if wanted is None else wanted,
    )


def slow_levels(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> float:
    """The three levels at all five temperatures, written with loops."""
    rows, classes = ours.shape
    found = 0.0
    for t in (2, 3, 4, 5, 6):
        p, q = (np.exp(z / t) / np.exp(z / t).sum(1, keepdims=True) for z in (ours, theirs))
        for b in range(rows):
            found += t**2 * sum(q[b, k] * np.log(q[b, k] / p[b, k]) for k in range(classes)) / rows
            for other in range(rows):
                found += (q[b] @ q[other] - p[b] @ p[other]) ** 2 / rows
        for k in range(classes):
            for other in range(classes):
                found += (q[:, k] @ q[:, other] - p[:, k] @ p[:, other]) ** 2 / classes
    return float(found)


@pytest.mark.golden("ctkd")
def test_ctkd_soft_term_and_reversed_gradient(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = CTKD(alpha=1.0, lowest=given["t_start"], span=given["t_end"], warmup=0.5)
    progress = torch.tensor(given["epoch"] / given["loops"] / 2, dtype=torch.float64)

    def term(s: Outputs, t: Outputs, batch: Batch, drawn: dict[str, Tensor]) -> Tensor:
        def state(strength: Tensor) -> Any:
            return functional_call(Reversed(), {"theta": drawn["student_theta"]}, (strength,))

        return method.loss(s, t, replace(batch, progress=progress), state)["soft"]  # type: ignore[arg-type]  # stands for a module

    check_term(case, term)


@pytest.mark.parametrize(("progress", "strength"), [(0.0, 0.0), (0.02, 0.4686), (0.05, 1.0)])
def test_ctkd_reverses_more_as_the_curriculum_goes(
    make_batch: Make, progress: float, strength: float
) -> None:
    torch.manual_seed(0)
    ours, theirs = said(torch.randn(4, 10)), said(torch.randn(4, 10))
    slopes = {}
    for name, method, at in (("full", CTKD(warmup=0.0), 0.0), ("now", CTKD(), progress)):
        state = method.init(None)  # type: ignore[arg-type]  # reads nothing of it
        batch = make_batch(torch.zeros(4, 0), torch.arange(4), at)
        method.loss(ours, theirs, batch, state)["soft"].backward()
        slopes[name] = next(state.parameters()).grad
    assert (slopes["now"] / slopes["full"]).item() == pytest.approx(strength, abs=1e-4)


def test_ctkd_gives_theta_the_gradient_of_the_loss_reversed(make_batch: Make) -> None:
    torch.manual_seed(0)
    ours, theirs = (said(torch.randn(4, 10, dtype=torch.float64)) for _ in range(2))
    batch = make_batch(torch.zeros(4, 0), torch.arange(4), 0.5)
    state = Reversed().double()

    def soft(theta: float) -> Tensor:
        with torch.no_grad():
            state.theta.fill_(theta)
        return CTKD().loss(ours, theirs, batch, state)["soft"]

    slope = (soft(1 + 1e-4) - soft(1 - 1e-4)).item() / 2e-4
    soft(1.0).backward()
    assert state.theta.grad is not None
    assert state.theta.grad.item() == pytest.approx(-slope, rel=1e-4)


def test_ctkd_starts_where_the_authors_do() -> None:
    state = CTKD().init(None)  # type: ignore[arg-type]  # reads nothing of it
    assert [p.tolist() for p in state.parameters()] == [[1.0]]


def test_mse_logits_is_the_mean_squared_difference(make_batch: Make) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(5, 7)), rng.normal(size=(5, 7))
    leaf = torch.from_numpy(ours).requires_grad_()
    batch = make_batch(torch.zeros(5, 0), torch.arange(5))
    found = LogitMSE().loss(said(leaf), said(torch.from_numpy(theirs)), batch, None)["logits"]
    wanted = sum((ours[b, k] - theirs[b, k]) ** 2 for b in range(5) for k in range(7)) / 35
    assert found.item() == pytest.approx(wanted, rel=1e-9)
    found.backward()
    assert leaf.grad is not None
    assert leaf.grad.numpy() == pytest.approx(2 * (ours - theirs) / 35, rel=1e-9)


@every
@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_saturated_logits_give_finite_values_in_float32(
    method: Method, classes: int, kind: torch.dtype, make_batch: Make
) -> None:
    torch.manual_seed(0)
    leaf = (torch.randint(2, (2, classes)) * 400.0 - 200.0).to(kind).requires_grad_()
    theirs = (torch.randint(2, (2, classes)) * 400.0 - 200.0).to(kind).requires_grad_()
    losses = method.loss(
        said(leaf),
        said(theirs),
        make_batch(torch.zeros(2, 0), torch.tensor([0, 1]), 0.5),
        method.init(None),  # type: ignore[arg-type]  # reads nothing of it
    )
    assert {value.dtype for value in losses.values()} == {torch.float32}
    total(losses).backward()
    assert all(value.isfinite() for value in losses.values())
    assert leaf.grad is not None and leaf.grad.isfinite().all()
    assert theirs.grad is None


@pytest.mark.parametrize("method", LABELLED, ids=repr)
@pytest.mark.parametrize("rows", [1, 4])
def test_without_a_label_in_the_batch_no_label_is_read_and_all_stays_finite(
    method: Method, rows: int, make_batch: Make
) -> None:
    torch.manual_seed(0)
    leaf, theirs = torch.randn(rows, 10, requires_grad=True), torch.randn(rows, 10)
    found = []
    for target in (torch.arange(rows), torch.tensor([-1, 99, 2**40, -100])[:rows]):
        batch = make_batch(torch.zeros(rows, 0), target, 0.5)
        batch = replace(batch, labelled=torch.zeros(rows, dtype=torch.bool))
        losses = method.loss(said(leaf), said(theirs), batch, method.init(None))  # type: ignore[arg-type]  # reads nothing of it
        (gradient,) = torch.autograd.grad(total(losses), leaf)
        assert all(value.isfinite() for value in losses.values())
        assert gradient.isfinite().all()
        assert all(not value for name, value in losses.items() if name.startswith("hard"))
        found.append(torch.stack([*losses.values(), *gradient.flatten()]))
    assert torch.equal(*found)


@pytest.mark.parametrize("method", [LSKD(hard=1.0), LSKD_DKD()], ids=repr)
def test_labels_judge_the_logits_as_they_are_not_the_standardised_ones(
    method: Method, make_batch: Make
) -> None:
    torch.manual_seed(0)
    ours, batch = 5 * torch.randn(4, 10), make_batch(torch.zeros(4, 0), torch.arange(4))
    hard = method.loss(said(ours), said(torch.randn(4, 10)), batch, None)["hard"]
    assert hard.item() == pytest.approx(F.cross_entropy(ours, batch.target).item())


@every
@pytest.mark.parametrize("level", [0.0, 0.1, -7.3])
def test_constant_logits_give_finite_gradients(
    method: Method, level: float, make_batch: Make
) -> None:
    torch.manual_seed(0)
    leaf = torch.full((4, 10), level, requires_grad=True)
    for theirs in (torch.randn(4, 10), torch.full((4, 10), level)):
        batch = make_batch(torch.zeros(4, 0), torch.arange(4), 0.5)
        losses = method.loss(said(leaf), said(theirs), batch, method.init(None))  # type: ignore[arg-type]  # reads nothing of it
        (gradient,) = torch.autograd.grad(total(losses), leaf)
        assert all(value.isfinite() for value in losses.values())
        assert gradient.isfinite().all()


@pytest.mark.parametrize("method", [LSKD(), LSKD(authors=True), LSKD_DKD()], ids=repr)
def test_gradient_of_constant_logits_has_an_ordinary_size(method: Method, make_batch: Make) -> None:
    leaf = torch.full((4, 1000), 0.1, requires_grad=True)
    batch = make_batch(torch.zeros(4, 0), torch.arange(4), 0.5)
    losses = method.loss(said(leaf), said(torch.randn(4, 1000)), batch, None)
    (gradient,) = torch.autograd.grad(total(losses, "hard"), leaf)
    assert 0 < gradient.norm().item() < 100


def test_dkd_has_no_term_within_the_rest_of_two_classes(make_batch: Make) -> None:
    torch.manual_seed(0)
    batch = make_batch(torch.zeros(6, 0), torch.tensor([0, 1, 0, 1, 1, 0]))
    method = DKD(alpha=0.0, warmup=0.0)
    found = method.loss(said(torch.randn(6, 2) * 9), said(torch.randn(6, 2) * 9), batch, None)
    assert found["decoupled"].item() == 0.0


@pytest.mark.parametrize("method", [DKD(), LSKD_DKD()], ids=repr)
@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.0), (0.05, 0.6), (0.5, 1.0)])
def test_decoupled_term_warms_up(
    method: Method, progress: float, factor: float, make_batch: Make
) -> None:
    torch.manual_seed(0)
    ours, theirs = said(torch.randn(4, 10)), said(torch.randn(4, 10))

    def term(method: Method, progress: float) -> float:
        batch = make_batch(torch.zeros(4, 0), torch.arange(4), progress)
        return method.loss(ours, theirs, batch, None)["decoupled"].item()

    full = term(replace(method, warmup=0.0), 0.0)  # type: ignore[type-var]  # both have the field
    assert term(method, progress) == pytest.approx(factor * full, rel=1e-5)


@pytest.mark.parametrize("method", [DKD(warmup=0.0), LSKD_DKD(warmup=0.0)], ids=repr)
def test_a_row_without_a_label_has_no_part_in_the_decoupled_term(
    method: Method, make_batch: Make
) -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(4, 10), torch.randn(4, 10)
    four = replace(
        make_batch(torch.zeros(4, 0), torch.tensor([3, 7, -1, 99])),
        labelled=torch.tensor([True, True, False, False]),
    )
    two = make_batch(torch.zeros(2, 0), torch.tensor([3, 7]))
    found = method.loss(said(ours), said(theirs), four, None)["decoupled"]
    wanted = method.loss(said(ours[:2]), said(theirs[:2]), two, None)["decoupled"]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    none = replace(four, labelled=torch.zeros(4, dtype=torch.bool))
    assert method.loss(said(ours), said(theirs), none, None)["decoupled"].item() == 0.0


@pytest.mark.parametrize("kind", [MLLD, CTKD])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_alpha_shares_out_labels_and_teacher(
    kind: type[MLLD] | type[CTKD], alpha: float, make_batch: Make
) -> None:
    torch.manual_seed(0)
    ours, theirs = said(torch.randn(4, 10)), said(torch.randn(4, 10))
    batch = make_batch(torch.zeros(4, 0), torch.arange(4), 0.5)

    def parts(alpha: float) -> Losses:
        method = kind(alpha=alpha)
        return method.loss(ours, theirs, batch, method.init(None))  # type: ignore[arg-type]  # reads nothing of it

    half, found = parts(0.5), parts(alpha)
    for name, value in found.items():
        share = 1 - alpha if name.startswith("hard") else alpha
        assert value.item() == pytest.approx(2 * share * half[name].item(), rel=1e-6)


def test_mlld_reads_the_second_view_of_both(make_batch: Make) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(4, 10, requires_grad=True) for _ in range(4)]
    ours, theirs = (
        replace(said(plain), second=said(second)) for plain, second in (leaves[:2], leaves[2:])
    )
    batch = make_batch(torch.zeros(4, 0), torch.arange(4))
    total(MLLD().loss(ours, theirs, batch, None)).backward()
    assert [leaf.grad is not None for leaf in leaves] == [True, True, False, False]
