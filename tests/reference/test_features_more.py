"""Losses of methods that match features, more of them: golden values, or the formula in NumPy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Batch, Hint, Losses, Maps, Method, Outputs, Port, Setup, Unsupported
from kdbench_methods.cat_kd import CATKD
from kdbench_methods.ickd import ICKD
from kdbench_methods.jacobian import Jacobian, slope_gap, slopes
from kdbench_methods.kdpp import KDpp, class_directions
from kdbench_methods.mgd import MGD
from kdbench_methods.reviewkd import Fusion, ReviewKD, context_gap
from kdbench_methods.semckd import CrossLayer, SemCKD
from kdbench_methods.simkd import Reuse, SimKD
from kdbench_methods.srrl import SRRL

Case = dict[str, Any]
Check = Callable[..., None]
Array = np.ndarray[Any, Any]
METHODS: tuple[Method, ...] = (
    ReviewKD(), SimKD(), CATKD(), SRRL(), KDpp(), SemCKD(), ICKD(), Jacobian(), MGD(),
)  # fmt: skip


@pytest.mark.golden("reviewkd_hcl")
def test_reviewkd_context_gap(case: Case, check_term: Check) -> None:
    def term(s: Outputs, t: Outputs, *_: Any) -> Tensor:
        return torch.stack(
            [context_gap(*pair) for pair in zip(s.hints, t.hints, strict=True)]
        ).sum()

    check_term(case, term)


@pytest.mark.golden("simkd")
def test_simkd_hint_term(case: Case, check_term: Check) -> None:
    reuse = Reuse(nn.Identity(), nn.Identity(), whole=True)
    check_term(case, lambda s, t, batch, _: SimKD().loss(s, t, batch, reuse)["hint"])


@pytest.mark.golden("cat_kd")
def test_cat_kd_map_term(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = CATKD(1.0, given["cam_resolution"], given["normalize"])
    check_term(case, lambda s, t, batch, _: method.loss(s, t, batch, None)["maps"])


def every_hint(method: ICKD) -> Callable[..., Tensor]:
    """The correlation term summed over all hints; the method takes the last."""

    def term(s: Outputs, t: Outputs, batch: Batch, _: Mapping[str, Any]) -> Tensor:
        return torch.stack(
            [
                method.loss(
                    replace(s, hints=(ours,)), replace(t, hints=(theirs,)), batch, nn.Identity()
                )["correlation"]
                for ours, theirs in zip(s.hints, t.hints, strict=True)
            ]
        ).sum()

    return term


@pytest.mark.golden("ickd")
def test_ickd_correlation_term_of_the_authors_code_and_of_the_paper(
    case: Case, check_term: Check
) -> None:
    check_term(case, every_hint(ICKD(1.0)))
    paper = case["loss_variants"]["paper_unnormalised_icc_over_c2"]
    check_term(case, every_hint(ICKD(1.0, normalize=False)), loss=paper)


def perceptron(drawn: Mapping[str, Tensor], role: str, images: Tensor) -> Tensor:
    """Logits of linear, tanh, linear."""
    hidden = images @ drawn[f"{role}_mlp.0.weight"].T + drawn[f"{role}_mlp.0.bias"]
    return hidden.tanh() @ drawn[f"{role}_mlp.2.weight"].T + drawn[f"{role}_mlp.2.bias"]


@pytest.mark.golden("sobolev")
def test_jacobian_slope_gap(case: Case, check_term: Check) -> None:
    def term(_s: Outputs, _t: Outputs, batch: Batch, drawn: Mapping[str, Tensor]) -> Tensor:
        images = drawn["x"].clone().requires_grad_()
        ours, theirs = (
            slopes(perceptron(drawn, role, images), images, batch.target, keep_graph=keep)
            for role, keep in (("student", True), ("teacher", False))
        )
        return slope_gap(ours, theirs, batch.labelled)

    check_term(case, term)


def test_reviewkd_hands_up_both_maps_weighed_by_attention_and_meets_the_teachers_shape() -> None:
    towards = Hint(channels=5, height=8, width=6, stride=1)
    fusion = Fusion(2, 3, towards, fuses=True).double()
    fusion.enter = nn.Sequential(nn.Conv2d(2, 3, 1).double())
    attend = fusion.attend
    assert attend is not None
    own, deeper = normal(2, 2, 4, 4), normal(2, 3, 2, 2)
    guess, handed = fusion(own, deeper)
    entered = fusion.enter(own).detach().numpy()
    weight, bias = (x.detach().numpy() for x in attend.parameters())
    for b, y, x in np.ndindex(2, 4, 4):
        mine, given = entered[b, :, y, x], deeper.numpy()[b, :, y // 2, x // 2]
        energies = bias + weight[:, :, 0, 0] @ np.concatenate([mine, given])
        shares = 1 / (1 + np.exp(-energies))
        found = handed[b, :, 2 * y, -(-6 * x // 4)].detach().numpy()
        assert found == pytest.approx(shares[0] * mine + shares[1] * given, rel=1e-9)
    assert guess.shape == (2, 5, 8, 6)


def test_reviewkd_term_is_of_the_teachers_preacts_and_pooled_features_and_warms_up() -> None:
    method, setup = ReviewKD(weight=2.0, warmup=0.5), toy_setup()
    state, batch = method.init(setup).eval(), replace(image_batch(), progress=torch.tensor(0.125))
    s, t = (
        port.model(batch.inputs, method.needs().maps) for port in (setup.student, setup.teacher)
    )
    deepest, handed = state[0](s.pooled[..., None, None], None)
    middle, handed = state[1](s.hints[1], handed)
    shallow, _ = state[2](s.hints[0], handed)
    gaps = [
        context_gap(deepest, t.pooled[..., None, None]),
        context_gap(middle, t.preacts[1]),
        context_gap(shallow, t.preacts[0]),
    ]
    found = method.loss(s, t, batch, state)["review"]
    assert found.item() == pytest.approx(2 * 0.25 * sum(gap.item() for gap in gaps), rel=1e-6)


# Methods without golden values: the formula, term by term, and finite differences ----------------


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def labelled_batch(rows: int, classes: int, progress: float = 0.5) -> Batch:
    return Batch(
        inputs=torch.zeros(rows, 0),
        target=torch.arange(rows) % classes,
        labelled=torch.ones(rows, dtype=torch.bool),
        index=torch.arange(rows),
        progress=torch.tensor(progress),
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


def test_srrl_terms_are_the_papers_formula() -> None:
    rows, dim, wide, classes = 3, 2, 4, 3
    s, t = (Outputs(logits=normal(rows, classes), pooled=normal(rows, d)) for d in (dim, wide))
    connector = nn.Sequential(nn.Conv2d(dim, wide, 1, bias=False), nn.ReLU()).double()
    classifier = nn.Linear(wide, classes).double().requires_grad_(False)
    state, batch = {"connector": connector, "classifier": classifier}, labelled_batch(rows, classes)

    feature = regression = 0.0
    weight = connector[0].weight.detach().numpy()[:, :, 0, 0]
    matrix, bias = classifier.weight.numpy(), classifier.bias.numpy()
    for b in range(rows):
        guess = [
            max(0.0, sum(weight[c, d] * s.pooled.numpy()[b, d] for d in range(dim)))
            for c in range(wide)
        ]
        for c in range(wide):
            feature += (guess[c] - t.pooled.numpy()[b, c]) ** 2 / (rows * wide)
        for k in range(classes):
            answer = bias[k] + sum(matrix[k, c] * guess[c] for c in range(wide))
            regression += (answer - t.logits.numpy()[b, k]) ** 2 / (rows * classes)

    losses = SRRL(alpha=2.0, beta=3.0).loss(s, t, batch, state)
    assert losses["feature"].item() == pytest.approx(2 * feature, rel=1e-9)
    assert losses["regression"].item() == pytest.approx(3 * regression, rel=1e-9)
    check_slopes(SRRL(), s, t, batch, state)


def check_slopes(
    method: Method, s: Outputs, t: Outputs, batch: Batch, state: Any, seed: int = 0
) -> None:
    """The gradients of all terms in the student's tensors are those of finite differences."""

    def total(*tensors: Tensor) -> Tensor:
        logits, pooled, *hints = tensors
        torch.manual_seed(seed)
        said = Outputs(logits=logits, pooled=pooled, hints=tuple(hints))
        return torch.stack([*method.loss(said, t, batch, state).values()]).sum()

    maps = s.hints if method.needs().hints else ()
    leaves = [x.detach().clone().requires_grad_() for x in (s.logits, s.pooled, *maps)]
    assert torch.autograd.gradcheck(total, leaves)


def test_kdpp_direction_term_is_the_papers_formula() -> None:
    rows, dim, classes = 5, 4, 3
    s, t = (Outputs(logits=normal(rows, classes), pooled=normal(rows, dim)) for _ in range(2))
    batch = labelled_batch(rows, classes)
    setup = replace(toy_setup(), num_classes=classes, teacher_passes=lambda _: iter([(t, batch)]))
    directions = class_directions(setup)

    total, target = 0.0, batch.target.tolist()
    for b in range(rows):
        members = [t.pooled.numpy()[i] for i in range(rows) if target[i] == target[b]]
        centre = sum(members) / len(members)
        ours, theirs = s.pooled.numpy()[b], t.pooled.numpy()[b]
        along = sum(ours * centre) / sum(centre**2) ** 0.5
        total += (1 - along / max(sum(ours**2) ** 0.5, sum(theirs**2) ** 0.5)) / rows

    state = {"connector": nn.Identity(), "directions": directions}
    found = KDpp(beta=2.0).loss(s, t, batch, state)["direction"]
    assert found.item() == pytest.approx(2 * total, rel=1e-9)
    check_slopes(KDpp(), s, t, batch, state)


def test_kdpp_takes_no_class_mean_from_rows_without_a_label() -> None:
    said = Outputs(logits=normal(2, 2), pooled=normal(2, 3))
    batch = replace(labelled_batch(2, 1), labelled=torch.tensor([True, False]))
    setup = replace(toy_setup(), num_classes=2, teacher_passes=lambda _: iter([(said, batch)]))
    found = class_directions(setup)
    assert torch.allclose(found[0], said.pooled[0] / said.pooled[0].norm())
    assert not found[1].any()


@pytest.mark.parametrize("rows", [8, 9, 12])
def test_semckd_layer_term_is_the_papers_formula(rows: int) -> None:
    shapes = [(2, 4, 4), (3, 2, 2)], [(3, 4, 4), (2, 2, 2)]
    s, t = (
        Outputs(
            logits=normal(9, 3), pooled=normal(9, 1), hints=tuple(normal(9, *one) for one in each)
        )
        for each in shapes
    )
    hints = [[Hint(channels=c, height=h, width=w, stride=1) for c, h, w in each] for each in shapes]
    state = CrossLayer(*hints, rows).double().eval()

    def similarity(layer: Tensor) -> Tensor:
        flat, found = layer.numpy().reshape(9, -1), np.zeros((9, rows))
        for b in range(9):
            for other in range(min(9, rows)):
                found[b, other] = sum(flat[b] * flat[other])
        return torch.from_numpy(found)

    def unit(vectors: Tensor) -> Array:
        array = vectors.detach().numpy()
        return array / np.sqrt((array**2).sum(1, keepdims=True))

    queries = [unit(e(similarity(m))) for e, m in zip(state.queries, s.hints, strict=True)]
    keys = [unit(e(similarity(m))) for e, m in zip(state.keys, t.hints, strict=True)]
    total = 0.0
    for i, ours in enumerate(s.hints):
        for b in range(9):
            energies = np.exp([sum(queries[i][b] * key[b]) for key in keys])
            for j, theirs in enumerate(t.hints):
                side = min(ours.shape[2], theirs.shape[2])
                small, target = (halved(m) if m.shape[2] > side else m for m in (ours, theirs))
                gap = (state.regressors[i][j](small) - target)[b].detach().numpy()  # type: ignore[index]
                total += energies[j] / sum(energies) * (gap**2).mean() / (9 * 2)

    batch = labelled_batch(9, 3)
    found = SemCKD(weight=2.0).loss(s, t, batch, state)["layers"]
    assert found.item() == pytest.approx(2 * total, rel=1e-9)
    check_slopes(SemCKD(weight=1.0), s, t, batch, state)


def halved(map_: Tensor) -> Tensor:
    """Means of 2 x 2 places."""
    return (map_[..., ::2, ::2] + map_[..., 1::2, ::2] + map_[..., ::2, 1::2] + map_[..., 1::2, 1::2]) / 4  # fmt: skip  # noqa: E501


def convolved(map_: Array, convolution: nn.Conv2d) -> Array:
    """A 3 x 3 convolution with padding, place by place."""
    weight, bias = (x.detach().numpy() for x in convolution.parameters())
    padded, found = np.pad(map_, ((0, 0), (1, 1), (1, 1))), np.zeros_like(map_)
    for c, y, x in np.ndindex(found.shape):
        found[c, y, x] = bias[c] + (weight[c] * padded[:, y : y + 3, x : x + 3]).sum()
    return found


def test_mgd_generation_term_is_the_papers_formula() -> None:
    s, t = (
        Outputs(logits=normal(3, 3), pooled=normal(3, 1), hints=(normal(3, 4, 3, 2),))
        for _ in range(2)
    )
    convolutions = [nn.Conv2d(4, 4, 3, padding=1).double() for _ in range(2)]
    generate = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1])
    state, batch = {"align": nn.Identity(), "generate": generate}, labelled_batch(3, 3)
    torch.manual_seed(0)
    masked = (torch.rand(3, 4) < 0.5).numpy()
    assert masked.any()
    assert not masked.all()

    total = 0.0
    for b in range(3):
        kept = s.hints[0].numpy()[b] * (1 - masked[b])[:, None, None]
        made = convolved(np.maximum(convolved(kept, convolutions[0]), 0), convolutions[1])
        total += ((made - t.hints[0].numpy()[b]) ** 2).sum() / 3

    torch.manual_seed(0)
    found = MGD(weight=2.0, ratio=0.5).loss(s, t, batch, state)["generation"]
    assert found.item() == pytest.approx(2 * total, rel=1e-9)
    check_slopes(MGD(weight=1.0, ratio=0.5), s, t, batch, state)


# All methods, between networks of any kind -------------------------------------------------------


class Toy(nn.Module):
    """A network with two maps, of a convolutional kind or one that lays out tokens.

    The convolutional one pools its last map by the mean of its positive values; the other's pooled
    features are signed and no mean of a map.
    """

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        steps = ((4, 2), (1, 1)) if kind == "tokens" else ((3, 2), (3, 2))
        channels = (3, width, 2 * width) if kind == "map" else (3, width, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, side, stride, side // 2 if side == 3 else 0)
            for before, after, (side, stride) in zip(channels, channels[1:], steps, strict=False)
        )
        self.fc = nn.Linear(channels[-1], 5)

    def forward(self, images: Tensor, maps: Maps = Maps()) -> Outputs:  # noqa: B008 - frozen
        preacts, hints, x = [], [], images
        for convolution in self.convolutions:
            preacts.append(convolution(x))
            x = preacts[-1] if self.kind == "tokens" else preacts[-1].relu()
            hints.append(x)
        pooled = x[..., 0, 0] - 1 if self.kind == "tokens" else x.mean((2, 3))
        places = self.fc(x.movedim(1, -1)).movedim(-1, 1)
        said = Outputs(
            logits=self.fc(pooled),
            pooled=pooled,
            hints=tuple(hints),
            preacts=tuple(preacts),
            class_maps=(places,),
        )
        return said.only(maps)

    def port(self) -> Port:
        with torch.no_grad():
            maps = self(torch.rand(1, 3, 16, 12), Maps(hints=True)).hints
        hints = tuple(
            Hint(channels=m.shape[1], height=m.shape[2], width=m.shape[3], stride=2, kind=self.kind)  # type: ignore[arg-type]
            for m in maps
        )
        return Port(
            model=self, pooled_dim=self.fc.in_features, hints=hints, norms=(None,) * len(hints),
            classifier=self.fc,
        )  # fmt: skip


def image_batch(rows: int = 4) -> Batch:
    return replace(labelled_batch(rows, 5), inputs=torch.rand(rows, 3, 16, 12))


def toy_setup(
    student: str = "map", teacher: str = "map", needs: Maps = Maps(hints=True)  # noqa: B008 - frozen
) -> Setup:  # fmt: skip
    networks = Toy(4, student), Toy(6, teacher).eval()

    def passes(split: str) -> Iterator[tuple[Outputs, Batch]]:
        assert split == "transfer"
        yield networks[1](image_batch(6).inputs, needs).detach(), image_batch(6)

    return Setup(
        student=networks[0].port(), teacher=networks[1].port(), num_classes=5, num_train=6,
        teacher_passes=passes,
    )  # fmt: skip


class ToyLoop:
    """One forward pass, and gradients instead of an update."""

    progress, decay = 0.5, 1.0

    def __init__(self, setup: Setup, method: Method) -> None:
        self.student, self.teacher = setup.student.model, setup.teacher.model
        self.maps, self.slopes = method.needs().maps, list[Tensor | None]()

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        return self.student(batch.inputs, self.maps), self.teacher(batch.inputs, self.maps).detach()

    def descend(self, losses: Losses) -> Losses:
        weights = list(self.student.parameters())
        total = torch.stack(tuple(losses.values())).sum()
        self.slopes = list(torch.autograd.grad(total, weights, allow_unused=True))
        return losses


@pytest.mark.parametrize("rows", [2, 4])
@pytest.mark.parametrize("kinds", [("map", "map"), ("map", "tokens"), ("tokens", "map")])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_step_between_networks_of_any_kind_and_size_teaches_the_student_alone(
    method: Method, kinds: Sequence[str], rows: int
) -> None:
    setup = toy_setup(*kinds, needs=method.needs().maps)
    loop, before = ToyLoop(setup, method), [w.clone() for w in setup.teacher.model.parameters()]
    losses = method.step(loop, image_batch(rows), method.init(setup))
    assert all(term.isfinite() and not term.shape for term in losses.values())
    convolutions = loop.slopes[:4]
    assert all(slope is not None and slope.any() for slope in convolutions)
    after = list(setup.teacher.model.parameters())
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert all(w.grad is None for w in after)


def test_jacobian_step_is_zero_for_a_twin_and_only_rows_with_a_label_count() -> None:
    method, setup = Jacobian(), toy_setup()
    batch = image_batch()
    twins = replace(setup, student=setup.teacher)
    assert method.step(ToyLoop(twins, method), batch, None)["jacobian"].item() == 0
    some = replace(batch, labelled=torch.tensor([True, False, False, False]))
    one = replace(image_batch(1), inputs=batch.inputs[:1])
    found, alone = (method.step(ToyLoop(setup, method), x, None)["jacobian"] for x in (some, one))
    assert found.item() == pytest.approx(alone.item(), rel=1e-4)


@pytest.mark.parametrize("teacher", ["map", "tokens"])
def test_simkd_deploys_the_teachers_classifier_on_the_projected_student(teacher: str) -> None:
    setup = toy_setup("map", teacher)
    state = SimKD().init(setup)
    deployed = SimKD().deploy(setup.student.model, state).eval()
    images = torch.rand(2, 3, 16, 12)
    last = setup.student.model(images, Maps(hints=True)).hints[-1]
    classifier = setup.teacher.classifier
    assert classifier is not None
    assert state.whole == (teacher == "map")
    assert torch.equal(deployed(images), classifier(state.projector(last).mean((2, 3))))


@pytest.mark.parametrize("method", [SimKD(), SRRL()])
def test_the_teachers_classifier_is_reused_as_a_frozen_copy(method: Method) -> None:
    setup = toy_setup()
    state = method.init(setup)
    copied = state.classifier if isinstance(state, Reuse) else state["classifier"]
    pairs = list(zip(copied.parameters(), setup.teacher.model.fc.parameters(), strict=True))  # type: ignore[union-attr]
    assert all(torch.equal(*pair) and pair[0] is not pair[1] for pair in pairs)
    assert not any(weight.requires_grad for weight, _ in pairs)


@pytest.mark.parametrize("teacher", ["map", "tokens"])
def test_towards_signed_features_no_connector_ends_in_relu(teacher: str) -> None:
    setup = toy_setup("map", teacher)
    ends = SimKD().init(setup).projector[-1], SRRL().init(setup)["connector"][-1]  # type: ignore[index]
    assert {isinstance(end, nn.ReLU) for end in ends} == {teacher == "map"}


@pytest.mark.parametrize("method", [SimKD(), SRRL()])
def test_a_teacher_without_one_linear_classifier_is_refused(method: Method) -> None:
    setup = toy_setup()
    with pytest.raises(Unsupported, match="classifier"):
        method.init(replace(setup, teacher=replace(setup.teacher, classifier=None)))
