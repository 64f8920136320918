"""Methods that match feature maps equal the reference numbers, in float64."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn
from torch.func import functional_call

from kdbench.api import Batch, Hint, Outputs, Port, Setup, Unsupported
from kdbench_methods.ab import AB
from kdbench_methods.at import AT
from kdbench_methods.fitnet import FitNet
from kdbench_methods.fsp import FSP
from kdbench_methods.ft import FT
from kdbench_methods.nst import NST
from kdbench_methods.ofd import OFD, margin_of
from kdbench_methods.vid import VID, Gaussian

Case = dict[str, Any]
Check = Callable[..., None]
SAME = nn.Identity()


@pytest.mark.golden("nst")
def test_nst_selectivity_term(case: Case, check_term: Check) -> None:
    method = NST(weight=1.0)
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["selectivity"])


def check_factors(method: FT, case: Case, check_term: Check) -> None:
    state = {"encoder": SAME, "decoder": SAME, "translator": SAME}
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, state)["factors"])


@pytest.mark.golden("ft_paper")
def test_ft_compares_whole_factors(case: Case, check_term: Check) -> None:
    check_factors(FT(weight=1.0), case, check_term)


@pytest.mark.golden("ft")
def test_ft_compares_the_attention_of_factors_on_demand(case: Case, check_term: Check) -> None:
    assert case["hyperparameters"]["p1"] == 2
    method = FT(weight=1.0, attention=True, power=case["hyperparameters"]["p2"])
    check_factors(method, case, check_term)


@pytest.mark.golden("ab")
def test_ab_boundary_term(case: Case, check_term: Check) -> None:
    method = AB(margin=case["hyperparameters"]["margin"])

    def term(student: Outputs, teacher: Outputs, batch: Batch, _: object) -> Tensor:
        state: list[nn.Module] = [SAME] * len(student.preacts)
        return method.initial(student, teacher, batch, state)["boundary"]

    check_term(case, term)


@pytest.mark.golden("fsp")
def test_fsp_flow_term(case: Case, check_term: Check) -> None:
    def term(student: Outputs, teacher: Outputs, batch: Batch, _: object) -> Tensor:
        state: list[nn.Module] = [SAME] * len(student.hints)
        return FSP().initial(student, teacher, batch, state)["flow"]

    check_term(case, term)


def batch_norm(weight: Tensor, bias: Tensor) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(len(weight)).double()
    norm.load_state_dict(norm.state_dict() | {"weight": weight, "bias": bias})
    return norm


@pytest.mark.golden("ofd")
def test_ofd_preacts_term(case: Case, check_term: Check) -> None:
    def term(
        student: Outputs, teacher: Outputs, batch: Batch, drawn: Mapping[str, Tensor]
    ) -> Tensor:
        margins = [
            margin_of(batch_norm(drawn[f"teacher_bn_weight_{i}"], drawn[f"teacher_bn_bias_{i}"]))
            for i in range(len(student.preacts))
        ]
        for found, wanted in zip(margins, case["margins_float64"], strict=True):
            assert found.tolist() == pytest.approx(wanted, rel=1e-9)
        connectors: list[nn.Module] = [SAME] * len(margins)
        state: Any = {"connectors": connectors, "margins": margins}
        return OFD(weight=1.0).loss(student, teacher, batch, state)["preacts"]

    check_term(case, term)


@pytest.mark.golden("vid")
def test_vid_likelihood_term(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]

    def term(
        student: Outputs, teacher: Outputs, batch: Batch, drawn: Mapping[str, Tensor]
    ) -> Tensor:
        weights = {n.removeprefix("student_"): drawn[n] for n in drawn if "regressor" in n}
        channels = teacher.hints[0].shape[1]
        raw = math.log(math.exp(given["init_pred_var"] - given["eps"]) - 1)
        weights["raw"] = torch.full((channels, 1, 1), raw, dtype=torch.float64)
        gaussian = Gaussian(1, channels, given["init_pred_var"]).double()
        torch.testing.assert_close(gaussian.raw, weights["raw"], rtol=1e-6, atol=0)

        def predict(hint: Tensor) -> Any:
            return functional_call(gaussian, weights, (hint,))

        state: Any = [predict]
        return VID(weight=1.0).loss(student, teacher, batch, state)["likelihood"]

    check_term(case, term)


@pytest.mark.parametrize(("mean", "spread"), [(0.5, 0.3), (-2.0, 0.1), (-0.3, 2.0), (0.0, 1.0)])
def test_ofd_margin_is_the_mean_of_the_negative_part_of_a_normal(
    mean: float, spread: float
) -> None:
    low = mean - 12 * spread
    mass, moment = (
        integrate.quad(
            lambda x, k=k: x**k * stats.norm.pdf(x, mean, spread), low, 0, points=[min(mean, 0)]
        )[0]
        for k in (0, 1)
    )
    norm = batch_norm(torch.tensor([-spread]).double(), torch.tensor([mean]).double())
    assert margin_of(norm).item() == pytest.approx(moment / mass, rel=1e-7)


def test_ofd_margins_of_degenerate_norms_are_finite() -> None:
    weight = torch.tensor([0.0, 0.0, 0.0, 1e-30, 1e-30])
    bias = torch.tensor([0.0, 1.0, -1.0, 1e3, -1e3])
    found = margin_of(batch_norm(weight.double(), bias.double()))
    torch.testing.assert_close(
        found, torch.tensor([0.0, 0.0, -1.0, 0.0, -1e3]).double(), rtol=0, atol=1e-20
    )


def setup(
    ours: Sequence[Hint], theirs: Sequence[Hint], passes: Sequence[Outputs] = (), **more: Any
) -> Setup:
    """Both networks by the shapes of their hints alone."""
    sides = [Port(model=SAME, pooled_dim=3, hints=tuple(hints)) for hints in (ours, theirs)]
    batch: Any = None
    return Setup(
        student=sides[0],
        teacher=replace(sides[1], **more),
        num_classes=3,
        num_train=8,
        teacher_passes=lambda split: iter([(said, batch) for said in passes]),
    )


def said(hints: Sequence[Hint], seed: int, rows: int = 4) -> Outputs:
    draw = torch.Generator().manual_seed(seed)
    maps = tuple(torch.randn(rows, h.channels, h.height, h.width, generator=draw) for h in hints)
    maps = tuple(map_.requires_grad_() for map_ in maps)
    return Outputs(
        logits=maps[0].mean((2, 3))[:, :3], pooled=torch.zeros(rows, 3), hints=maps, preacts=maps
    )


def test_ofd_measures_a_margin_where_no_batch_norm_makes_the_preact() -> None:
    hints = [Hint(channels=c, height=3, width=2, stride=1) for c in (3, 5)]
    said_of = [said(hints, seed) for seed in (1, 2)]
    norm = nn.BatchNorm2d(3)
    found = OFD().init(setup(hints, hints, said_of, norms=(norm, None)))["margins"]
    torch.testing.assert_close(found[0], torch.full((3,), -math.sqrt(2 / math.pi)))
    both = torch.cat([one.preacts[1] for one in said_of]).detach()
    wanted = [both[:, c][both[:, c] < 0].mean().item() for c in range(5)]
    assert found[1].tolist() == pytest.approx(wanted, rel=1e-5)


METHODS: list[Any] = [FitNet(), AT(), NST(), FT(), FT(attention=True), AB(), FSP(), OFD(), VID()]
MAPS = [Hint(channels=4 + i, height=8 >> i, width=12 >> i, stride=1 << i) for i in range(3)]
TOKENS = [Hint(channels=6, height=5, width=3, stride=16, kind="tokens")] * 3


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(("ours", "theirs"), [(MAPS, TOKENS), (TOKENS, MAPS), (MAPS, MAPS[::-1])])
def test_sizes_and_channels_of_hints_may_differ_and_gradients_reach_the_student_alone(
    method: Any, ours: list[Hint], theirs: list[Hint], make_batch: Callable[..., Batch]
) -> None:
    teacher, student = said(theirs, 1), said(ours, 2)
    state = method.init(setup(ours, theirs, [teacher]))
    batch = make_batch(torch.zeros(4, 0), torch.arange(4) % 3)
    total = torch.zeros(())
    for stage in method.stages():
        for term in getattr(method, stage.loss)(student, teacher, batch, state).values():
            assert term.isfinite()
            total = total + term
    total.backward()
    maps = student.preacts if method.needs().preacts else student.hints
    reached = [map_.grad is not None and bool(map_.grad.any()) for map_ in maps]
    assert reached[-1] or type(method) is FitNet
    assert all(map_.grad is None for map_ in teacher.hints)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_terms_of_narrow_and_large_maps_are_finite_float32(
    method: Any, dtype: torch.dtype, make_batch: Callable[..., Batch]
) -> None:
    student, teacher = (said(MAPS, i, 2).map(lambda x: (200 * x).to(dtype)) for i in (1, 2))
    state = method.init(setup(MAPS, MAPS, [teacher]))
    batch = make_batch(torch.zeros(2, 0), torch.arange(2))
    for stage in method.stages():
        for term in getattr(method, stage.loss)(student, teacher, batch, state).values():
            assert term.dtype == torch.float32
            assert term.isfinite()


def test_connectors_stand_only_where_shapes_differ() -> None:
    other = [*MAPS[:2], replace(MAPS[2], channels=9)]
    for method in (AB(), FSP()):
        found = [type(part) for part in method.init(setup(MAPS, other))]
        assert found == [nn.Identity, nn.Identity, nn.Sequential]


def test_ft_trains_the_paraphraser_in_the_first_stage_and_the_translator_in_the_second(
    make_batch: Callable[..., Batch],
) -> None:
    method, batch = FT(), make_batch(torch.zeros(4, 0), torch.arange(4) % 3)
    state = method.init(setup(MAPS, MAPS))
    for stage, wanted in zip(
        method.stages(), ({"encoder", "decoder"}, {"translator"}), strict=True
    ):
        terms = getattr(method, stage.loss)(said(MAPS, 1), said(MAPS, 2), batch, state)
        weights = [(name, p) for name, part in state.items() for p in part.parameters()]
        slopes = torch.autograd.grad(
            sum(terms.values()), [p for _, p in weights], allow_unused=True
        )
        trained = {n for (n, _), slope in zip(weights, slopes, strict=True) if slope is not None}
        assert trained == wanted


def test_fsp_refuses_networks_of_one_hint() -> None:
    with pytest.raises(Unsupported, match="two hints"):
        FSP().init(setup(MAPS[:1], MAPS[:1]))
