"""Losses computed in a shorter way equal the plain formula in value and gradient, in float64.

The plain forms are those that the speed of the short ones is measured against. Beside equality: no
tensor of a short form is of the size that makes the plain form slow.
"""

import runpy
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdbench.api import Batch, Outputs
from kdbench.functional import pooled_alike
from kdbench.models import create
from kdbench.record import Spec
from kdbench.testing.bench import register
from kdbench_methods import metadistil
from kdbench_methods.crd import CRD, Banks
from kdbench_methods.kdsvd import KDSVD, directions, matched, turns
from kdbench_methods.nst import NST, affinity
from kdbench_methods.pkt import EPSILON, PKT, affinities
from kdbench_methods.rkd import RKD, angles, distances

_PLAIN = Path(__file__).parents[1] / "benchmarks" / "targets" / "naive.py"
naive = SimpleNamespace(**runpy.run_path(str(_PLAIN)))


def normal(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def said(pooled: Tensor, *hints: Tensor) -> Outputs:
    logits = torch.zeros(len(pooled), 3, dtype=pooled.dtype)
    return Outputs(logits=logits, pooled=pooled, hints=hints)


def made(rows: int, index: Tensor | None = None) -> Batch:
    return Batch(
        inputs=torch.zeros(rows, 0),
        target=torch.arange(rows) % 3,
        labelled=torch.ones(rows, dtype=torch.bool),
        index=torch.arange(rows) if index is None else index,
        progress=torch.zeros(()),
    )


def check_equal(
    short: Tensor, plain: Tensor, leaves: list[Tensor], rel: float = 1e-10, slopes: float = 1e-10
) -> None:
    """Value and every gradient: the largest difference beside the largest entry."""
    assert short.dtype == plain.dtype == torch.float64
    assert short.item() == pytest.approx(plain.item(), rel=rel, abs=1e-13)
    ours, theirs = (torch.autograd.grad(loss, leaves) for loss in (short, plain))
    for one, other in zip(ours, theirs, strict=True):
        assert other.isfinite().all()
        assert other.any()
        assert (one - other).abs().max() <= slopes * other.abs().max()


class Largest(TorchDispatchMode):
    """Entries of the largest tensor that any operation made, forwards or backwards."""

    entries = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        self.entries = max(self.entries, *sizes, 0)
        return found


def largest(loss: Callable[[], Tensor], leaf: Tensor) -> int:
    with Largest() as seen:
        torch.autograd.grad(loss(), leaf)
    return seen.entries


# NST: products of channels, or of places, in place of batch x channels x channels x places --------


SHAPES = {
    "products of channels": ((3, 4, 6, 5), (3, 4, 6, 5)),
    "products of places": ((3, 9, 2, 3), (3, 7, 2, 3)),
    "channels differ": ((2, 3, 4, 4), (2, 8, 4, 4)),
    "sizes differ": ((2, 5, 8, 8), (2, 6, 4, 4)),
    "one place": ((4, 6, 1, 1), (4, 3, 1, 1)),
    "one channel": ((4, 1, 3, 3), (4, 2, 3, 3)),
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_nst_is_the_broadcast_product(kind: str, seed: int) -> None:
    ours, theirs = (
        normal(10 * seed + i, *shape).relu_() + 0.01 for i, shape in enumerate(SHAPES[kind])
    )
    ours.requires_grad_()
    found = NST(weight=1.0).loss(said(ours, ours), said(theirs, theirs), made(len(ours)), None)
    plain = naive.discrepancy(*(map_.flatten(2) for map_ in pooled_alike(ours, theirs)))
    if kind == "one place":  # of unit norm: all channels are alike, and stay so
        assert found["selectivity"].item() == pytest.approx(plain.item(), abs=1e-12)
        return
    check_equal(found["selectivity"], plain, [ours])


def test_nst_sums_over_hints_and_a_silent_channel_adds_what_it_does_in_the_broadcast() -> None:
    hints = [
        (normal(0, 3, 4, 6, 5).relu(), normal(1, 3, 4, 6, 5).relu()),
        (normal(2, 3, 9, 2, 3).relu(), normal(3, 3, 7, 2, 3).relu()),
    ]
    for ours, theirs in hints:
        ours[:, 0], theirs[1] = 0, 0
    leaves = [ours.requires_grad_() for ours, _ in hints]
    plain = sum(
        (naive.discrepancy(ours.flatten(2), theirs.flatten(2)) for ours, theirs in hints),
        torch.zeros((), dtype=torch.float64),
    )
    outputs = [said(maps[0][:, 0, 0], *maps) for maps in zip(*hints, strict=True)]
    found = NST(weight=7.0).loss(outputs[0], outputs[1], made(3), None)["selectivity"]
    # a channel of zeros has no norm: its slope is over the least norm that torch divides by
    live = [slope[:, 1:] for slope in torch.autograd.grad(found, leaves, retain_graph=True)]
    want = [7 * slope[:, 1:] for slope in torch.autograd.grad(plain, leaves, retain_graph=True)]
    assert found.item() == pytest.approx(7 * plain.item(), rel=1e-12)
    for one, other in zip(live, want, strict=True):
        assert (one - other).abs().max() <= 1e-10 * other.abs().max() > 0


@pytest.mark.parametrize(("channels", "places"), [(24, 100), (24, 9)])
def test_nst_makes_nothing_larger_than_the_maps_or_the_smaller_products(
    channels: int, places: int
) -> None:
    ours, theirs = normal(0, 2, channels, places).requires_grad_(), normal(1, 2, channels, places)
    most = 2 * max(channels * places, min(channels, places) ** 2)
    assert largest(lambda: affinity(ours, ours) - 2 * affinity(ours, theirs), ours) <= most
    assert largest(lambda: naive.discrepancy(ours, theirs), ours) == 2 * channels**2 * places


# CRD: scores of all candidates and a choice, in place of gathered rows of the bank ----------------


def rows_chosen(index: Tensor, candidates: Tensor, chosen: Tensor) -> Tensor:
    """Of each row, the row of its positive, then those of its negatives."""
    picked = [candidates[row.bool()] for row in chosen]
    return torch.cat([index[:, None], torch.stack(picked)], 1)


@pytest.mark.parametrize(("rows", "batch", "most"), [(20, 1, 1), (40, 5, 7), (90, 16, 60)])
@pytest.mark.parametrize("seed", range(3))
def test_crd_is_the_gathered_product_in_the_first_and_in_later_batches(
    rows: int, batch: int, most: int, seed: int
) -> None:
    torch.manual_seed(seed)
    classes = torch.arange(rows).square() % 7
    banks, method = Banks((6, 4), 5, classes, most).double(), CRD(temperature=0.2)
    weights = list(banks.embed.parameters())
    for step in range(3):
        ours = normal(2 * step, batch, 6).requires_grad_()
        theirs, index = normal(2 * step + 1, batch, 4), torch.randperm(rows)[:batch]
        before, drawn = banks.rows.clone(), banks.draw(classes[index])
        short = method.contrasted(said(ours), said(theirs), index, *drawn, banks)
        fresh = [F.normalize(e(p)) for e, p in zip(banks.embed, (ours, theirs), strict=True)]
        pairs = rows_chosen(index, *drawn)
        if step == 0:
            scores = [
                bank[pairs] @ one[:, :, None] / 0.2
                for bank, one in zip(before.flip(0), fresh, strict=True)
            ]
            log_z = torch.stack([(score.exp().mean() * rows).log().detach() for score in scores])
        plain = naive.contrast(fresh, before, log_z, pairs, temperature=0.2, rows=rows)
        check_equal(short, plain, [ours, *weights], slopes=1e-9)


def test_crd_makes_nothing_of_batch_by_negatives_by_dim() -> None:
    torch.manual_seed(0)
    classes = torch.arange(600) % 10
    banks, index = Banks((6, 6), 32, classes, 300), torch.arange(16)
    ours = torch.randn(16, 6, requires_grad=True)

    def short() -> Tensor:
        drawn = banks.draw(classes[index])
        return CRD().contrasted(said(ours), said(ours.detach()), index, *drawn, banks)

    def plain() -> Tensor:
        fresh = [F.normalize(embed(ours)) for embed in banks.embed]
        pairs = rows_chosen(index, *banks.draw(classes[index]))
        return naive.contrast(fresh, banks.rows, banks.log_z, pairs, temperature=0.07, rows=600)

    assert largest(short, ours) <= 2 * 601 * 32  # the banks themselves
    assert largest(plain, ours) == 16 * 301 * 32


def test_crd_draws_each_row_s_negatives_without_replacement_from_other_classes_alone() -> None:
    torch.manual_seed(0)
    classes = torch.arange(5000) % 10
    banks, target = Banks((2, 2), 2, classes, 3000), torch.arange(64) % 10
    for _ in range(5):
        candidates, chosen = banks.draw(target)
        assert len(candidates.unique()) == len(candidates)
        assert set(chosen.unique().tolist()) == {0.0, 1.0}
        assert (chosen.sum(1) == 3000).all()
        assert (classes[candidates] == target[:, None])[chosen.bool()].sum() == 0


def test_crd_draws_a_million_negatives_of_50_000_rows_in_half_a_second_of_cpu_time() -> None:
    classes = torch.arange(50_000) % 100
    banks, target = Banks((2, 2), 2, classes, 16384), torch.arange(64)
    start = time.process_time()
    _, chosen = banks.draw(target)
    assert time.process_time() - start < 0.5
    assert chosen.sum() == 64 * 16384


def test_crd_draws_pairs_of_negatives_as_evenly_as_numpy_s_choice() -> None:
    torch.manual_seed(0)
    classes, count, draws = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2]), 2, 6000
    banks, own, draw = Banks((2, 2), 2, classes, count), torch.tensor([0]), np.random.default_rng(0)
    ours, theirs = np.zeros((9, 9)), np.zeros((9, 9))
    for _ in range(draws):
        candidates, chosen = banks.draw(own)
        one, other = sorted(candidates[chosen[0].bool()].tolist())
        ours[one, other] += 1
        one, other = sorted(naive.negatives([np.arange(2, 9)], count, draw)[0].tolist())
        theirs[one, other] += 1
    possible = np.triu_indices(7, 1)  # of the seven rows of other classes
    for found in (ours, theirs):
        pairs = found[2:, 2:][possible]
        assert pairs.sum() == draws
        assert 0.001 < stats.chisquare(pairs).pvalue < 0.999


# RKD: products of unit ways, in place of batch³ x dim ---------------------------------------------


@pytest.mark.parametrize(("batch", "dim"), [(2, 3), (3, 1), (5, 4), (9, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_rkd_is_the_broadcast_over_triples(batch: int, dim: int, seed: int) -> None:
    ours, theirs = normal(seed, batch, dim).requires_grad_(), normal(seed + 9, batch, dim + 1)
    assert (angles(ours) - naive.angles(ours)).abs().max() < 1e-13
    weigh = normal(seed + 20, batch, batch, batch)
    both = [(weigh * cosine(ours)).sum() for cosine in (angles, naive.angles)]
    found = RKD(distance=0.0, angle=1.0).loss(said(ours), said(theirs), made(batch), None)["angle"]
    plain = F.smooth_l1_loss(naive.angles(ours), naive.angles(theirs))
    if dim == 1 or batch == 2:  # all angles are 0 or straight and stay so: no slope but rounding
        assert found.item() == pytest.approx(plain.item(), rel=1e-12, abs=1e-14)
        for loss in (found, plain, *both):
            assert torch.autograd.grad(loss, ours)[0].abs().max() < 1e-12
        return
    check_equal(found, plain, [ours])
    check_equal(both[0], both[1], [ours])


def test_rkd_at_equal_rows_has_the_broadcast_s_angles() -> None:
    rows = normal(0, 6, 4)
    rows[2] = rows[5]
    rows[4] = 0
    assert (angles(rows) - naive.angles(rows)).abs().max() < 1e-13
    assert angles(rows)[2, 5].abs().max() == 0


@pytest.mark.parametrize(("batch", "dim"), [(3, 1), (5, 4), (9, 20)])
def test_rkd_distances_are_those_of_the_loop_in_value_and_gradient(batch: int, dim: int) -> None:
    rows, weigh = normal(0, batch, dim).requires_grad_(), normal(1, batch, batch)
    apart = torch.stack([
        torch.stack([rows[i].sub(rows[j]).square().sum().clamp(min=1e-12).sqrt() * (i != j)
                     for j in range(batch)]) for i in range(batch)
    ])  # fmt: skip
    plain = apart / (apart.sum() / (batch * (batch - 1)))
    check_equal((weigh * distances(rows)).sum(), (weigh * plain).sum(), [rows], 1e-9, 1e-9)


def test_rkd_makes_nothing_larger_than_the_angles_and_the_ways() -> None:
    rows = normal(0, 12, 20).requires_grad_()
    assert largest(lambda: angles(rows).square().sum(), rows) == 12 * 12 * 20
    assert largest(lambda: naive.angles(rows).square().sum(), rows) == 12**3 * 20


# KDSVD: eigenvectors of the smaller Gram matrix, in place of the whole decomposition --------------


TALL, WIDE, SQUARE, LEAN = (3, 4, 5, 5), (3, 12, 3, 3), (2, 9, 3, 3), (2, 6, 1, 5)


@pytest.mark.parametrize("shape", [TALL, WIDE, SQUARE, LEAN])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 4])
def test_kdsvd_s_directions_are_those_of_the_whole_decomposition(
    shape: tuple[int, int, int, int], seed: int, count: int
) -> None:
    map_ = normal(seed, *shape).requires_grad_()
    found, plain = directions(map_, count), naive.directions(map_, count)
    assert (found - plain).abs().max() < 1e-9
    weigh = normal(seed + 5, *found.shape)
    check_equal((weigh * found).sum(), (weigh * plain).sum(), [map_], 1e-9, 1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_kdsvd_s_term_is_that_of_the_whole_decomposition(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = ((3, 4, 5, 5), (3, 6, 2, 4), (3, 8, 2, 2))
    ours = [normal(seed + i, *shape).requires_grad_() for i, shape in enumerate(shapes)]
    theirs = [normal(seed + 10 + i, *shape) for i, shape in enumerate(shapes)]
    state = nn.ModuleList(nn.Identity() for _ in shapes)

    def term() -> Tensor:
        pooled = ours[0][:, :, 0, 0]
        return KDSVD(count=2, spare=1).loss(
            said(pooled, *ours), said(pooled, *theirs), made(3), state
        )["turns"]

    short = term()
    monkeypatch.setattr("kdbench_methods.kdsvd.directions", naive.directions)
    check_equal(short, term(), ours, 1e-9, 1e-8)


@pytest.mark.parametrize("kind", ["zero", "equal values", "rank one"])
@pytest.mark.parametrize("shape", [TALL, WIDE])
def test_kdsvd_is_finite_where_the_whole_decomposition_has_no_slope(
    kind: str, shape: tuple[int, int, int, int]
) -> None:
    rows, channels, height, width = shape
    flat = torch.zeros(rows, channels, height * width, dtype=torch.float64)
    if kind == "equal values":
        flat[:, range(4), range(4)] = 2.0
    elif kind == "rank one":
        flat += normal(0, rows, channels, 1) * normal(1, rows, 1, height * width)
    map_ = flat.view(shape).requires_grad_()
    goal = matched(normal(2, *shape), normal(3, *shape), 1, 3)
    ours = matched(map_, normal(3, *shape), 1, 3)
    loss = turns(ours[0], goal[0]).sum()
    (slope,) = torch.autograd.grad(loss, map_)
    assert loss.isfinite()
    assert slope.isfinite().all()
    if kind == "rank one":
        wanted = naive.directions(flat.view(shape), 1)
        assert (directions(map_, 1) - wanted).abs().max() < 1e-7


def test_kdsvd_decomposes_the_smaller_side_alone() -> None:
    for shape, side in ((TALL, 4), (WIDE, 9)):
        seen = list[tuple[int, ...]]()

        class Decompositions(TorchDispatchMode):
            def __torch_dispatch__(
                self, function: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                if "linalg" in str(function) and "norm" not in str(function):
                    seen.append(tuple(args[0].shape))  # noqa: B023 - used up in this turn
                return function(*args, **(kwargs or {}))

        with Decompositions():
            directions(normal(0, *shape), 1)
        assert seen == [(shape[0], side, side)]


# PKT: one product of unit rows, in place of a loop over pairs -------------------------------------


@pytest.mark.parametrize(("batch", "dim"), [(1, 3), (2, 1), (4, 5), (11, 8)])
@pytest.mark.parametrize("kind", ["any", "row of zeros", "equal rows", "opposite rows", "large"])
def test_pkt_is_the_double_loop(batch: int, dim: int, kind: str) -> None:
    ours, theirs = normal(0, batch, dim), normal(1, batch, dim + 2)
    if kind == "row of zeros":
        theirs[0] = 0
    elif kind == "equal rows":
        ours[-1] = ours[0]
    elif kind == "opposite rows":
        theirs[-1] = -theirs[0]
    elif kind == "large":
        ours, theirs = 1e4 * ours, 1e-3 * theirs
    ours.requires_grad_()
    found = PKT(weight=1.0).loss(said(ours), said(theirs), made(batch), None)["affinity"]
    p, q = (naive.affinities(rows) for rows in (theirs, ours))
    plain = torch.stack([
        p[i, j] * torch.log((p[i, j] + EPSILON) / (q[i, j] + EPSILON))
        for i in range(batch) for j in range(batch)
    ]).mean()  # fmt: skip
    assert (affinities(ours) - q).abs().max() < 1e-13
    if batch == 1 or dim == 1:  # nothing to be nearer to, or nowhere to turn
        assert found.item() == pytest.approx(plain.item(), rel=1e-9, abs=1e-14)
        return
    check_equal(found, plain, [ours], 1e-9, 1e-9)


# MetaDistil: one forward-mode pass, in place of a backward pass through a backward pass -----------


def network(name: str, seed: int) -> nn.Module:
    spec = Spec.parse(name)
    register(spec)
    torch.manual_seed(seed)
    made_: nn.Module = create(
        spec, num_classes=10, image_shape=(3, 16, 16), mean=(0.5,) * 3, std=(0.25,) * 3
    ).double()
    return made_


VIT = "test_vit[patch_size=8,img_size=16]"
STUDENTS = {
    "batch norm": "resnet8[width=0.25]",
    "attention": VIT,
    "depthwise": "mobilenetv2_050",
}


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize("seed", range(2))
def test_metadistil_s_meta_gradient_is_that_of_two_backward_passes(kind: str, seed: int) -> None:
    student = network(STUDENTS[kind], seed).train()
    teacher = network(VIT if kind == "attention" else "resnet8[width=0.5]", seed + 5).eval()
    images, quiz = (torch.rand(8, 3, 16, 16, dtype=torch.float64) for _ in range(2))
    data, method = made(8), metadistil.MetaDistil(temperature=2.0, alpha=0.8)
    before = {name: one.clone() for name, one in student.state_dict().items()}

    def objective(ours: Tensor, theirs: Tensor) -> Tensor:
        outputs = (Outputs(logits=z, pooled=z) for z in (ours, theirs))
        terms = method.loss(*outputs, data, torch.zeros(()))
        return torch.stack(tuple(terms.values())).sum()

    def quiz_loss(weights: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(metadistil.answer(student, weights, quiz), data.target)

    lessons = []
    for way in (metadistil.meta_gradient, naive.lesson):
        torch.manual_seed(seed)
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            ours = metadistil.answer(student, dict(student.named_parameters()), images)
            lessons.append(way(student, teacher, images, ours, objective, quiz_loss, 0.1))
    short, plain = lessons
    assert short.quiz_loss.item() == pytest.approx(plain.quiz_loss.item(), rel=1e-12)
    for name, weight in plain.pilot.items():
        assert (short.pilot[name] - weight).abs().max() <= 1e-12
    top = max(slope.abs().max() for slope in plain.gradients if slope is not None)
    assert top > 0
    for one, other in zip(short.gradients, plain.gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one - other).abs().max() <= 1e-10 * top
    assert all(torch.equal(before[name], one) for name, one in student.state_dict().items())
