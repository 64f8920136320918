"""What relation losses do not see, and their fast forms against the formulas, float64."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kdbench.api import (
    Batch,
    ContractError,
    Hint,
    Method,
    Outputs,
    Port,
    Setup,
    Unsupported,
)
from kdbench_methods.cc import CC
from kdbench_methods.crd import CRD, Banks
from kdbench_methods.gkd import GKD, graph
from kdbench_methods.irg import IRG
from kdbench_methods.kdsvd import KDSVD, directions, leading_eigenvectors
from kdbench_methods.london import LONDON, spectral_norm, transmitting
from kdbench_methods.pkt import PKT, affinities
from kdbench_methods.rkd import RKD, angles, distances
from kdbench_methods.sp import SP

quick = settings(max_examples=25, deadline=None)
seeds, widths, rows = st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 7)
generators = st.builds(np.random.default_rng, seeds)


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=shape))


def rotation(rng: np.random.Generator, width: int) -> Tensor:
    """A random orthogonal map; reflections too."""
    return torch.linalg.qr(normal(rng, width, width)).Q


def scales(rng: np.random.Generator, batch: int) -> Tensor:
    return torch.from_numpy(rng.uniform(0.1, 10, (batch, 1)))


def said(pooled: Tensor, *maps: Tensor) -> Outputs:
    logits = torch.zeros(len(pooled), 3, dtype=pooled.dtype)
    return Outputs(logits=logits, pooled=pooled, hints=maps, preacts=maps)


def made(batch: int, target: Tensor | None = None, index: Tensor | None = None) -> Batch:
    return Batch(
        inputs=torch.zeros(batch, 0),
        target=torch.arange(batch) % 3 if target is None else target,
        labelled=torch.ones(batch, dtype=torch.bool),
        index=torch.arange(batch) if index is None else index,
        progress=torch.zeros(()),
    )


def terms(method: Method, ours: Outputs, theirs: Outputs, state: Any = None) -> dict[str, Tensor]:
    """All terms but the labels', on a batch with indices and three classes."""
    losses = dict(method.loss(ours, theirs, made(len(ours.pooled)), state))
    del losses["hard"]
    return losses


def same(found: Any, wanted: Any, rel: float = 1e-9, absolute: float = 1e-10) -> None:
    for one, other in zip(found.values(), wanted.values(), strict=True):
        assert one.item() == pytest.approx(other.item(), rel=rel, abs=absolute)


# What no relation sees ----------------------------------------------------------------------------


@quick
@given(generators, rows, widths, widths)
def test_rkd_sees_no_rotation_no_shift_and_no_scale(
    rng: np.random.Generator, batch: int, width: int, other: int
) -> None:
    ours, theirs = normal(rng, batch, width), normal(rng, batch, other)
    moved = 3.7 * ours @ rotation(rng, width) + normal(rng, width)
    same(terms(RKD(), said(moved), said(theirs)), terms(RKD(), said(ours), said(theirs)), 1e-7)
    nothing = terms(RKD(), said(moved), said(ours))
    assert max(term.item() for term in nothing.values()) < 1e-9


@quick
@given(generators, rows, widths, widths)
def test_pkt_and_kernels_see_no_rotation_and_no_scale_of_a_row(
    rng: np.random.Generator, batch: int, width: int, other: int
) -> None:
    ours, theirs = normal(rng, batch, width), normal(rng, batch, other)
    moved = scales(rng, batch) * ours @ rotation(rng, width)
    kernel = CC(weight=1.0, form="kernel")
    same(terms(kernel, said(moved), said(theirs)), terms(kernel, said(ours), said(theirs)))
    blur = 4e-7 / min(ours.norm(dim=1).min().item(), moved.norm(dim=1).min().item())
    assert (affinities(moved) - affinities(ours)).abs().max() < blur  # its epsilon beside norms


@quick
@given(generators, rows, widths, widths)
def test_sp_sees_no_rotation_and_no_common_scale(
    rng: np.random.Generator, batch: int, width: int, other: int
) -> None:
    ours, theirs = normal(rng, batch, width), normal(rng, batch, other)
    moved = 0.3 * ours @ rotation(rng, width)

    def of(s: Tensor, t: Tensor) -> dict[str, Tensor]:
        maps = (x[:, :, None, None] for x in (s, t))
        return terms(SP(), *(said(s, one) for one in maps))

    same(of(moved, theirs), of(ours, theirs))
    same(of(moved, ours), {"similarity": torch.zeros(())})


@quick
@given(
    generators, rows, widths, widths, st.integers(1, 4), st.integers(0, 6),
    st.sampled_from(["all", "intra", "inter"]), st.booleans(),
)  # fmt: skip
def test_gkd_sees_no_rotation_and_no_scale_of_a_row_and_is_nothing_for_equal_networks(
    rng: np.random.Generator, batch: int, width: int, other: int, power: int, near: int,
    edges: str, signed: bool,
) -> None:  # fmt: skip
    method = GKD(weight=1.0, power=power, neighbours=near, edges=edges)  # type: ignore[arg-type]
    batch_of = made(batch)
    ours, theirs = normal(rng, batch, width), normal(rng, batch, other)
    if not signed:
        ours, theirs = ours.abs(), theirs.abs()
    moved = scales(rng, batch) * ours @ rotation(rng, width)
    wanted = method.gap(ours, theirs, batch_of)
    assert wanted.isfinite()
    assert method.gap(moved, theirs, batch_of).item() == pytest.approx(wanted.item(), 1e-8, 1e-9)
    assert method.gap(ours, ours, batch_of).item() == 0
    assert method.gap(moved, ours, batch_of).item() < 1e-9


def test_gkd_pools_the_last_hint_alone_and_takes_the_mean_over_hints() -> None:
    rng = np.random.default_rng(0)
    ours = [normal(rng, 5, c, 4, 2) for c in (2, 3, 4)]
    theirs = [normal(rng, 5, c, 3, 5) for c in (4, 6, 8)]
    method, batch = GKD(weight=3.0), made(5)
    gaps = [
        method.gap(ours[0].flatten(1), theirs[0].flatten(1), batch),
        method.gap(ours[1].flatten(1), theirs[1].flatten(1), batch),
        method.gap(ours[2].mean((2, 3)), theirs[2].mean((2, 3)), batch),
    ]
    pooled = torch.zeros(5, 1, dtype=torch.float64)
    student, teacher = said(pooled, *ours), said(pooled, *theirs)
    assert terms(method, student, teacher)["graph"] == torch.stack(gaps).sum().item()
    assert terms(replace(method, last=True), student, teacher)["graph"] == 3 * gaps[-1].item()


def test_gkd_edges_within_and_between_classes_are_all_edges() -> None:
    rng = np.random.default_rng(0)
    ours, theirs, batch = normal(rng, 6, 4), normal(rng, 6, 5), made(6)
    kinds = [GKD(edges=kind).gap(ours, theirs, batch) for kind in ("intra", "inter", "all")]  # type: ignore[arg-type]
    assert (kinds[0] + kinds[1]).item() == pytest.approx(kinds[2].item())
    unknown = replace(batch, labelled=torch.tensor([False] * 6))
    assert GKD(edges="intra").gap(ours, theirs, unknown) == 0


def test_gkd_a_row_of_zeros_has_no_edges_and_a_finite_gradient() -> None:
    ours = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]], requires_grad=True)
    assert (graph(ours)[0] == 0).all()
    GKD().gap(ours, torch.ones(3, 2), made(3)).backward()
    assert ours.grad is not None
    assert ours.grad.abs().max() < 100


@quick
@given(generators, st.integers(3, 8), widths, st.booleans())
def test_gkd_graph_is_the_code_s_where_its_degrees_are_positive(
    rng: np.random.Generator, batch: int, width: int, signed: bool
) -> None:
    x = normal(rng, batch, width).abs() + (0.1 if signed else 0)
    unit = x / x.norm(dim=1, keepdim=True)
    wanted = unit @ unit.T - torch.eye(batch)
    degrees = wanted.sum(1)
    for i in range(batch):
        for j in range(batch):
            expected = 0.0 if i == j else wanted[i, j] / (degrees[i] * degrees[j]).sqrt()
            assert graph(x)[i, j].item() == pytest.approx(float(expected), abs=1e-12)


# Fast forms ---------------------------------------------------------------------------------------


@quick
@given(generators, st.integers(2, 6), widths)
def test_rkd_angles_and_distances_are_those_of_the_loops(
    rng: np.random.Generator, batch: int, width: int
) -> None:
    x = normal(rng, batch, width)
    x[0] = x[-1]  # two equal rows
    leaf = x.clone().requires_grad_()
    raw, psi = torch.zeros(batch, batch), torch.zeros(batch, batch, batch)
    raw, psi = raw.double(), psi.double()
    for i in range(batch):
        for j in range(batch):
            apart = (x[i] - x[j]).square().sum().clamp(min=1e-12).sqrt()
            raw[i, j] = apart if i != j else 0
            for k in range(batch):
                a, b = x[j] - x[i], x[k] - x[i]
                size = a.norm() * b.norm()
                psi[i, j, k] = a @ b / size if size > 0 else 0
    wanted = raw / (raw.sum() / (batch * (batch - 1)))
    assert torch.allclose(distances(leaf), wanted, rtol=1e-7, atol=1e-7)
    assert torch.allclose(angles(leaf), psi, rtol=1e-9, atol=1e-9)
    (distances(leaf).square().sum() + angles(leaf).square().sum()).backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@quick
@given(generators, st.integers(1, 5), st.integers(1, 6))
def test_crd_is_the_formula_s_sum_over_gathered_negatives_in_value_and_gradient(
    rng: np.random.Generator, batch: int, negatives: int
) -> None:
    torch.manual_seed(int(rng.integers(2**31)))
    classes = torch.from_numpy(rng.permutation(np.arange(20) % 4))
    method = CRD(weight=1.0, dim=5, negatives=negatives, temperature=0.3)
    banks = Banks((3, 4), 5, classes, negatives).double()
    ours, theirs = normal(rng, batch, 3).requires_grad_(), normal(rng, batch, 4)
    index = torch.from_numpy(rng.choice(20, batch, replace=False))
    candidates, chosen = banks.draw(classes[index])
    assert (chosen.sum(1) == negatives).all()
    picked = torch.stack([candidates[row.bool()] for row in chosen])
    assert (classes[picked] != classes[index][:, None]).all()
    every = torch.cat([index[:, None], picked], 1)

    total = ours.new_zeros(())
    anchors = [
        nn.functional.normalize(e(p)) for e, p in zip(banks.embed, (ours, theirs), strict=True)
    ]
    for way, anchor in enumerate(anchors):
        gathered = banks.rows[1 - way].clone()[every]
        score = (torch.einsum("bkd,bd->bk", gathered, anchor) / 0.3).exp()
        score = score / (score.mean() * 20).detach()
        noise = negatives / 20
        total = total - (score[:, 0] / (score[:, 0] + noise)).log().mean()
        total = total - (noise / (score[:, 1:] + noise)).log().sum(1).mean()
    weights = [ours, *banks.embed.parameters()]
    wanted = torch.autograd.grad(total, weights, retain_graph=True)

    found = method.contrasted(said(ours), said(theirs), index, candidates, chosen, banks)
    assert found.item() == pytest.approx(total.item(), rel=1e-9)
    for one, other in zip(torch.autograd.grad(found, weights), wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-12)


def crd_setup(classes: Tensor | None) -> Setup:
    port = Port(model=nn.Identity(), pooled_dim=3, hints=())
    return Setup(student=port, teacher=port, num_classes=4, num_train=20, targets=classes)


def test_crd_keeps_the_first_batch_s_constant_and_a_running_mean_of_rows_seen() -> None:
    torch.manual_seed(0)
    rng, method = np.random.default_rng(0), CRD(dim=4, momentum=0.25)
    banks = method.init(crd_setup(torch.arange(20) % 4)).double()
    pooled = normal(rng, 4, 3)
    before, index = banks.rows.clone(), torch.tensor([3, 7, -1, 11])
    first = method.loss(said(pooled), said(pooled), made(4, index=index), banks)
    log_z = banks.log_z.clone()
    assert log_z.isfinite().all()
    assert all(term.isfinite() for term in first.values())
    seen = index[index >= 0]
    for bank, old, embed in zip(banks.rows, before, banks.embed, strict=True):
        new = nn.functional.normalize(embed(pooled))[index >= 0]
        wanted = nn.functional.normalize(0.25 * old[seen] + 0.75 * new)
        assert torch.allclose(bank[seen], wanted)
        others = [row for row in range(20) if row not in seen]
        assert torch.equal(bank[others], old[others])
    method.loss(said(2 * pooled), said(pooled), made(4, index=index), banks)
    assert torch.equal(banks.log_z, log_z)


def test_crd_rows_without_an_index_add_nothing() -> None:
    torch.manual_seed(0)
    rng, method = np.random.default_rng(0), CRD(weight=1.0, dim=4)
    banks = method.init(crd_setup(torch.arange(20) % 4)).double()
    pooled, index = normal(rng, 4, 3).requires_grad_(), torch.tensor([3, -1, 9, -1])
    term = method.loss(said(pooled), said(pooled), made(4, index=index), banks)["contrast"]
    (slope,) = torch.autograd.grad(term, pooled)
    assert (slope[[1, 3]] == 0).all()
    assert slope[[0, 2]].any(1).all()
    nobody = made(4, index=torch.full((4,), -1))
    banks = method.init(crd_setup(torch.arange(20) % 4)).double()
    term = method.loss(said(pooled), said(pooled), nobody, banks)["contrast"]
    assert term.item() == 0
    assert not torch.autograd.grad(term, pooled)[0].any()
    method.loss(said(pooled), said(pooled), made(4), banks)
    assert banks.log_z.isfinite().all()


def test_crd_draws_every_row_of_other_classes_equally_often() -> None:
    torch.manual_seed(0)
    classes = torch.tensor([0] * 2 + [1] * 5 + [2] * 8)
    banks, counts, draws = Banks((2, 2), 2, classes, 6), torch.zeros(3, 15), 4000
    for _ in range(draws):
        candidates, chosen = banks.draw(torch.arange(3))
        assert (chosen.sum(1) == 6).all()
        counts[:, candidates] += chosen
    shares = counts / draws
    for own in range(3):
        others = classes != own
        assert (shares[own, ~others] == 0).all()
        expected = 6 / int(others.sum())
        spread = (expected * (1 - expected) / draws) ** 0.5
        assert (shares[own, others] - expected).abs().max() < 5 * spread + 1e-12


def test_crd_takes_at_most_the_rows_outside_the_largest_class() -> None:
    assert CRD().init(crd_setup(torch.tensor([0] * 12 + [1] * 8))).count == 8
    with pytest.raises(Unsupported, match="one class"):
        CRD().init(crd_setup(torch.zeros(20, dtype=torch.long)))
    with pytest.raises(ContractError, match="targets"):
        CRD().init(crd_setup(None))


# Spectra ------------------------------------------------------------------------------------------


@quick
@given(generators, widths, widths, st.integers(1, 12), st.booleans())
def test_london_s_sigma_is_a_lower_bound_of_the_spectral_norm(
    rng: np.random.Generator, high: int, wide: int, iterations: int, ones: bool
) -> None:
    matrix = normal(rng, 3, high, wide)
    start = torch.ones(3, high) if ones else torch.from_numpy(rng.uniform(size=(3, high)))
    sigma = spectral_norm(matrix, start.double(), iterations)
    assert (sigma <= torch.linalg.matrix_norm(matrix, 2) * (1 + 1e-12) + 1e-6).all()


@quick
@given(generators, st.integers(2, 9), st.integers(2, 9), st.booleans())
def test_london_s_sigma_is_the_spectral_norm_of_rank_one_and_of_non_negative_maps(
    rng: np.random.Generator, high: int, wide: int, flat: bool
) -> None:
    if flat:  # rank one: outer products
        matrix = normal(rng, 3, high, 1).abs() @ normal(rng, 3, 1, wide)
    else:  # as a ReLU leaves maps of many places
        matrix = transmitting(normal(rng, 3, high, 9, 9).relu(), normal(rng, 3, wide, 9, 9).relu())
    leaf = matrix.clone().requires_grad_()
    sigma = spectral_norm(leaf, torch.from_numpy(rng.uniform(size=(3, high))), 10)
    wanted = torch.linalg.matrix_norm(matrix, 2)
    assert sigma.tolist() == pytest.approx(wanted.tolist(), rel=1e-6)
    (slope,) = torch.autograd.grad(sigma.sum(), leaf)
    assert (slope.flatten(1).norm(dim=1) > 0.1).all()


def test_london_has_a_gradient_in_both_maps_of_every_block_and_one_start_for_both_networks() -> (
    None
):
    rng = np.random.default_rng(0)
    maps = [normal(rng, 4, 6, side, side).requires_grad_() for side in (8, 4, 2)]
    state = {"connectors": [nn.Identity() for _ in maps]}
    method, pooled = LONDON(features=0.0, lipschitz=1.0), torch.zeros(4, 1).double()
    alike = terms(method, said(pooled, *maps), said(pooled, *maps), state)["lipschitz"]
    assert alike.item() == 0  # random, but the same
    other = said(pooled, *(2 * map_.detach() for map_ in maps))
    term = terms(method, said(pooled, *maps), other, state)["lipschitz"]
    assert all(slope.norm() > 1e-3 for slope in torch.autograd.grad(term, maps))


def test_london_of_maps_of_zeros_has_a_finite_gradient() -> None:
    maps = [torch.zeros(2, 3, side, side, requires_grad=True) for side in (4, 2)]
    theirs = [torch.ones(2, 3, side, side) for side in (4, 2)]
    state = {"connectors": [nn.Identity() for _ in maps]}
    pooled = torch.zeros(2, 1)
    term = terms(LONDON(features=0.0), said(pooled, *maps), said(pooled, *theirs), state)
    slopes = torch.autograd.grad(term["lipschitz"], maps)
    assert all(slope.isfinite().all() for slope in slopes)


def test_london_s_authors_leave_the_map_out_of_a_block_unconnected() -> None:
    rng = np.random.default_rng(0)
    ours = [normal(rng, 3, 2, side, side) for side in (4, 2)]
    theirs = [normal(rng, 3, 5, side, side) for side in (4, 2)]
    widen = [nn.Conv2d(2, 5, 1, bias=False).double() for _ in ours]
    pooled, found = torch.zeros(3, 1).double(), {}
    for authors in (False, True):
        method = LONDON(lipschitz=1.0, features=0.0, start="ones", iterations=60, authors=authors)
        out = ours[1] if authors else widen[1](ours[1])
        norms = [
            torch.linalg.matrix_norm(transmitting(*pair), 2)
            for pair in ((widen[0](ours[0]), out), theirs)
        ]
        found[authors] = (norms[0] - norms[1]).square().mean().item() / 2
        state = {"connectors": widen}
        term = terms(method, said(pooled, *ours), said(pooled, *theirs), state)["lipschitz"]
        assert term.item() == pytest.approx(found[authors], rel=1e-6)
    assert found[False] != pytest.approx(found[True], rel=1e-3)


@quick
@given(generators, st.integers(2, 7), st.integers(2, 4), st.integers(2, 4))
def test_kdsvd_directions_are_right_singular_vectors_at_any_shape(
    rng: np.random.Generator, channels: int, height: int, width: int
) -> None:
    map_ = normal(rng, 3, channels, height, width)
    found = directions(map_, 2)
    wanted = torch.linalg.svd(map_.flatten(2).mT, full_matrices=False).Vh[:, :2]
    assert torch.allclose((found * wanted).sum(2).abs(), torch.ones(3, 2).double(), rtol=1e-6)
    assert (found.gather(2, found.abs().argmax(2, keepdim=True)) > 0).all()


def test_kdsvd_s_gradient_is_that_of_the_decomposition_and_finite_where_that_is_not() -> None:
    rng = np.random.default_rng(0)
    leaf = normal(rng, 2, 5, 5).requires_grad_()
    lean = normal(rng, 5, 3)
    gram = leaf @ leaf.mT
    (found,) = torch.autograd.grad((leading_eigenvectors(gram, 3) @ lean.T).square().sum(), leaf)
    true = torch.linalg.eigh(leaf @ leaf.mT).eigenvectors.flip(-1)[..., :3]
    (wanted,) = torch.autograd.grad((true @ lean.T).square().sum(), leaf)
    assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-9)
    equal = torch.eye(4).expand(2, 4, 4).clone().requires_grad_()
    (slope,) = torch.autograd.grad(leading_eigenvectors(equal, 3).square().sum(), equal)
    assert slope.isfinite().all()


# Any pair, any batch ------------------------------------------------------------------------------


def port(*shapes: tuple[int, int, int]) -> Port:
    hints = [Hint(channels=c, height=h, width=w, stride=2) for c, h, w in shapes]
    return Port(model=nn.Identity(), pooled_dim=shapes[-1][0], hints=tuple(hints))


OURS, THEIRS = ((3, 8, 6), (4, 4, 3), (6, 2, 2)), ((4, 4, 5), (5, 4, 5), (7, 4, 5))


def methods() -> Iterator[tuple[str, Method]]:
    yield from {
        "rkd": RKD(), "cc": CC(), "cc-kernel": CC(form="kernel"), "pkt": PKT(), "sp": SP(),
        "irg": IRG(), "crd": CRD(dim=8), "gkd": GKD(), "gkd-near": GKD(neighbours=2, power=3),
        "kdsvd": KDSVD(), "london": LONDON(), "london-alone": LONDON(features=0.0),
    }.items()  # fmt: skip


METHODS = dict(methods())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["signed", "zero row", "equal rows", "all zero", "large", "half"])
@pytest.mark.parametrize("batch", [2, 5])
def test_any_shapes_and_any_features_give_finite_terms_and_gradients(
    name: str, kind: str, batch: int
) -> None:
    torch.manual_seed(0)
    method = METHODS[name]

    def passes(_: str) -> Iterator[tuple[Outputs, Batch]]:
        yield theirs, made(batch)

    def network(shapes: tuple[tuple[int, int, int], ...]) -> Outputs:
        maps = [torch.randn(batch, *shape) for shape in shapes]
        for map_ in maps:
            if kind == "zero row":
                map_[0] = 0
            elif kind == "equal rows":
                map_[1] = map_[0]
            elif kind == "all zero":
                map_.zero_()
            elif kind == "large":
                map_ *= 200
        if kind == "half":
            maps = [map_.half() for map_ in maps]
        pooled = maps[-1].mean((2, 3))
        for leaf in (pooled, *maps):
            leaf.requires_grad_()
        return replace(said(pooled, *maps), logits=pooled[:, :3])

    ours, theirs = network(OURS), network(THEIRS)
    setup = Setup(
        student=port(*OURS), teacher=port(*THEIRS), num_classes=3, num_train=20,
        targets=torch.arange(20) % 3, teacher_passes=passes,
    )  # fmt: skip
    losses = method.loss(ours, theirs, made(batch), method.init(setup))
    for term in losses.values():
        assert term.shape == ()
        assert term.dtype == torch.float32
        assert term.isfinite()
    torch.stack([*losses.values()]).sum().backward()
    slopes = [leaf.grad for leaf in (ours.pooled, *ours.hints) if leaf.grad is not None]
    assert slopes
    assert all(slope.isfinite().all() for slope in slopes)
    assert all(leaf.grad is None for leaf in (theirs.pooled, *theirs.hints))


@pytest.mark.parametrize("name", ["irg", "kdsvd", "london"])
def test_methods_of_two_maps_refuse_a_single_hint(name: str) -> None:
    one = port(OURS[0])
    setup = Setup(student=one, teacher=one, num_classes=3, num_train=20)
    with pytest.raises(Unsupported):
        METHODS[name].init(setup)
