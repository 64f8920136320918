"""Methods that change the target: golden values, slow statements of the formulas, and limits."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench.api import Batch, Method, Outputs, Port, Setup, Unsupported
from kdbench_methods.kd_hard import KDHard
from kdbench_methods.label_smoothing import LabelSmoothing
from kdbench_methods.nkd import NKD
from kdbench_methods.partial import Partial
from kdbench_methods.tang import KDPt, KDPtSim, KDRel, KDSim, KDTopK
from kdbench_methods.tfkd import TfKDReg, TfKDSelf

Case = dict[str, Any]
Check = Callable[..., None]
MakeBatch = Callable[..., Batch]


class Says(nn.Module):
    """A network that says these logits, whatever it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Outputs:
        return said(self.logits)


def said(logits: Tensor) -> Outputs:
    return Outputs(logits=logits, pooled=logits)


def drawn(rows: int, classes: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, classes, generator=draw, dtype=torch.float64)


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def port(classifier: nn.Linear | None = None) -> Port:
    return Port(model=nn.Linear(1, 1), pooled_dim=4, hints=(), classifier=classifier)


def setup(classes: int, weight: Tensor | None = None, **more: Any) -> Setup:
    """Of a teacher whose classifier has this weight, or that has no linear one."""
    linear = None
    if weight is not None:
        linear = nn.Linear(weight.shape[1], classes).to(weight)
        linear.weight.data.copy_(weight)
    return Setup(student=port(), teacher=port(linear), num_classes=classes, num_train=9, **more)


def total(method: Method, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Tensor:
    return torch.stack([*method.loss(student, teacher, batch, state).values()]).sum()


# Golden values -----------------------------------------------------------------------------------


@pytest.mark.golden("label_smoothing")
def test_label_smoothing_is_both_conventions(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    spread = {"tfkd_repo": "others", "uniform_all_classes": "all"}[given["variant"]]
    method = LabelSmoothing(epsilon=given["epsilon"], spread=spread)
    check_term(case, lambda s, t, batch, _: total(method, s, t, batch, None))


@pytest.mark.golden("tfkd_self")
def test_tfkd_self_is_the_authors_element_mean_and_by_default_the_papers_sum(
    case: Case, check_term: Check
) -> None:
    given = case["hyperparameters"]
    paper = TfKDSelf(temperature=given["tau"], alpha=1.0, multiplier=given["multiplier"])
    authors = replace(paper, authors=True)
    check_term(case, lambda s, t, batch, _: authors.loss(s, t, batch, Says(t.logits))["soft"])
    check_term(
        case,
        lambda s, t, batch, _: paper.loss(s, t, batch, Says(t.logits))["soft"],
        loss=case["loss_paper"],
    )


@pytest.mark.golden("tfkd_reg")
def test_tfkd_reg_is_the_authors_element_mean_and_by_default_the_papers_sum(
    case: Case, check_term: Check
) -> None:
    given = case["hyperparameters"]
    paper = TfKDReg(
        temperature=given["tau"],
        alpha=1.0,
        confidence=given["a"],
        multiplier=given["multiplier"],
    )
    authors = replace(paper, authors=True)
    check_term(case, lambda s, t, batch, _: authors.loss(s, t, batch, None)["soft"])
    check_term(
        case,
        lambda s, t, batch, _: paper.loss(s, t, batch, None)["soft"],
        loss=case["loss_paper"],
    )


def check_partial(
    case: Case, check_term: Check, method: Partial, weight: str | None = None
) -> None:
    """The soft term is the golden divergence; with the target's entropy the golden cross-entropy.

    Teacher and student have temperatures of their own there, so the teacher's logits are scaled.
    """
    ours, theirs = case["hyperparameters"]["T_student"], case["hyperparameters"]["T"]

    def soft(s: Outputs, t: Outputs, batch: Batch, named: Any) -> tuple[Tensor, Any]:
        state = method.init(setup(t.logits.shape[-1], named.get(weight)))
        scaled = said(t.logits * ours / theirs)
        return method.loss(s, scaled, batch, state)["soft"], state

    def crossed(s: Outputs, t: Outputs, batch: Batch, named: Any) -> Tensor:
        term, state = soft(s, t, batch, named)
        target = method.soft_target(t.logits / theirs, batch.target, state)
        assert target[0, :5].tolist() == pytest.approx(
            case["loss_variants"]["rho_first_row_head5"], rel=1e-9
        )
        return term / ours**2 - torch.xlogy(target, target).sum(-1).mean()

    check_term(case, crossed)
    check_term(case, lambda *given: soft(*given)[0], loss=case["loss_variants"]["kl_times_T2"])


@pytest.mark.golden("kd_topk")
def test_kd_topk_keeps_the_largest(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = KDTopK(given["T_student"], alpha=1.0, k=given["k"], rest=given["rest"])
    check_partial(case, check_term, method)


@pytest.mark.golden("kd_pt")
def test_kd_pt_keeps_the_true_class(case: Case, check_term: Check) -> None:
    check_partial(case, check_term, KDPt(case["hyperparameters"]["T_student"], alpha=1.0))


@pytest.mark.golden("kd_sim")
def test_kd_sim_keeps_the_class_weights_cosines(case: Case, check_term: Check) -> None:
    given = case["hyperparameters"]
    method = KDSim(given["T_student"], alpha=1.0, power=given["alpha"], spread=given["beta"])
    check_partial(case, check_term, method, "teacher_classifier_weight")


@pytest.mark.golden("kd_rel")
def test_kd_rel_by_row_keeps_the_relation_of_the_other_classes(
    case: Case, check_term: Check
) -> None:
    given = case["hyperparameters"]
    method = KDRel(given["T_student"], alpha=1.0, reading="row", true_mass=given["p_target"])
    check_partial(case, check_term, method)


# Formulas without golden values ------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_nkd_is_its_formula_row_by_row(
    temperature: float, classes: int, make_batch: MakeBatch
) -> None:
    ours, theirs = drawn(4, classes, 1).requires_grad_(), drawn(4, classes, 2)
    batch = make_batch(torch.zeros(4, 0), torch.arange(4) % classes)
    method, sure, rest = NKD(temperature=temperature, gamma=1.5), 0.0, 0.0
    for z_s, z_t, y in zip(ours.tolist(), theirs.tolist(), batch.target.tolist(), strict=True):
        sure -= softmax(z_t, 1)[y] * math.log(softmax(z_s, 1)[y]) / 4
        n_s, n_t = (softmax(z[:y] + z[y + 1 :], temperature) for z in (z_s, z_t))
        rest -= sum(t * math.log(s) for s, t in zip(n_s, n_t, strict=True)) / 4

    losses = method.loss(said(ours), said(theirs), batch, None)

    assert losses["target"].item() == pytest.approx(sure, rel=1e-9)
    assert losses["rest"].item() == pytest.approx(1.5 * temperature**2 * rest, rel=1e-9, abs=1e-12)
    assert torch.autograd.gradcheck(
        lambda z: total(method, said(z), said(theirs), batch, None), ours
    )


def check_target(
    method: Partial,
    state: Any,
    targets: list[list[float]],
    ours: Tensor,
    theirs: Tensor,
    batch: Batch,
) -> None:
    """The soft term is T² · KL of these targets and has the gradient of its differences."""
    apart = 0.0
    for z_s, target in zip(ours.tolist(), targets, strict=True):
        p_s = softmax(z_s, method.temperature)
        apart += sum(t * math.log(t / s) for s, t in zip(p_s, target, strict=True)) / len(ours)
    found = method.loss(said(ours), said(theirs), batch, state)["soft"]
    assert found.item() == pytest.approx(method.alpha * method.temperature**2 * apart, rel=1e-9)
    assert torch.autograd.gradcheck(
        lambda z: total(method, said(z), said(theirs), batch, state), ours.requires_grad_()
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_kd_hard_is_its_formula_row_by_row_and_learns_from_rows_without_a_label_too(
    alpha: float, make_batch: MakeBatch
) -> None:
    ours, theirs = drawn(6, 5, 1).requires_grad_(), drawn(6, 5, 2).requires_grad_()
    labels, labelled = [3, 0, 4, 1, 2, 0], [True, True, False, True, True, False]
    batch = make_batch(torch.zeros(6, 0), torch.tensor(labels))
    batch = replace(batch, labelled=torch.tensor(labelled))
    terms = KDHard(alpha=alpha).loss(said(ours), said(theirs), batch, None)
    by_label, by_teacher = [], []
    for row, other, label, known in zip(
        ours.tolist(), theirs.tolist(), labels, labelled, strict=True
    ):
        said_of = softmax(row, 1.0)
        by_teacher.append(-math.log(said_of[other.index(max(other))]))
        by_label += [-math.log(said_of[label])] if known else []
    assert terms["hard"].item() == pytest.approx((1 - alpha) * sum(by_label) / 4, rel=1e-9)
    assert terms["taught"].item() == pytest.approx(alpha * sum(by_teacher) / 6, rel=1e-9)
    (gradient,) = torch.autograd.grad(terms["taught"], theirs, allow_unused=True)
    assert gradient is None


def test_kd_pt_sim_shares_what_the_true_class_leaves_by_similarity(make_batch: MakeBatch) -> None:
    ours, theirs, weight = drawn(4, 5, 1), drawn(4, 5, 2), drawn(5, 3, 3)
    batch = make_batch(torch.zeros(4, 0), torch.tensor([0, 3, 3, 4]))
    method = KDPtSim(temperature=2.0, alpha=0.7, power=0.5, spread=0.4)
    targets = []
    for z_t, y in zip(theirs.tolist(), batch.target.tolist(), strict=True):
        scores = []
        for row in weight.tolist():
            c = sum(a * b for a, b in zip(row, weight[y].tolist(), strict=True))
            c /= math.hypot(*row) * math.hypot(*weight[y].tolist())
            scores.append(math.exp(math.copysign(abs(c) ** 0.5, c) / 0.4))
        sure = softmax(z_t, 2.0)[y]
        others = sum(scores) - scores[y]
        targets.append([sure if k == y else (1 - sure) * scores[k] / others for k in range(5)])
    check_target(method, method.init(setup(5, weight)), targets, ours, theirs, batch)


def test_kd_rel_by_class_mean_is_the_teachers_mean_over_the_labelled_rows_of_a_class(
    make_batch: MakeBatch,
) -> None:
    passes = drawn(9, 4, 5)
    batches = [
        make_batch(torch.zeros(3, 0), torch.tensor(rows))
        for rows in ([0, 1, 2], [3, 3, 0], [1, 2, 0])
    ]
    batches[1] = replace(batches[1], labelled=torch.tensor([True, True, False]))

    def teacher_passes(split: str) -> Iterator[tuple[Outputs, Batch]]:
        assert split == "transfer"
        yield from zip(map(said, passes.split(3)), batches, strict=True)

    members = {0: [0, 8], 1: [1, 6], 2: [2, 7], 3: [3, 4]}  # row 5 has no label
    means = []
    for rows in members.values():
        softened = [softmax(passes[row].tolist(), 3.0) for row in rows]
        means.append([sum(column) / len(rows) for column in zip(*softened, strict=True)])
    method = KDRel(temperature=3.0, alpha=0.7)
    state = method.init(setup(4, teacher_passes=teacher_passes))
    batch = make_batch(torch.zeros(4, 0), torch.tensor([3, 0, 2, 2]))
    targets = [means[y] for y in batch.target.tolist()]
    check_target(method, state, targets, drawn(4, 4, 1), drawn(4, 4, 2), batch)


def test_kd_rel_by_class_tree_gives_siblings_more_than_strangers(make_batch: MakeBatch) -> None:
    method = KDRel(
        temperature=1.0, alpha=1.0, reading="class_tree", true_mass=0.6, sibling_share=0.8
    )
    teacher = replace(port(), model=nn.Linear(1, 1).double())
    state = method.init(replace(setup(6, class_tree=(0, 0, 0, 1, 1, 1)), teacher=teacher))
    batch = make_batch(torch.zeros(2, 0), torch.tensor([1, 5]))
    a, b = 0.4 * 0.8 / 2, 0.4 * 0.2 / 3
    assert a > b
    targets = [[a, 0.6, a, b, b, b], [b, b, b, a, a, 0.6]]
    check_target(method, state, targets, drawn(2, 6, 1), drawn(2, 6, 2), batch)


@pytest.mark.parametrize("tree", [(0, 1, 2, 3), (0, 0, 0, 0), (0, 0, 0, 1)])
def test_kd_rel_by_class_tree_is_a_distribution_where_a_class_has_no_sibling_or_no_stranger(
    tree: tuple[int, ...],
) -> None:
    state = KDRel(reading="class_tree").init(setup(4, class_tree=tree))
    assert state.sum(-1).tolist() == pytest.approx([1.0] * 4)
    assert state.diagonal().tolist() == pytest.approx([0.9] * 4)


# What a method asks for, and what it leaves alone ------------------------------------------------


@pytest.mark.parametrize("method", [KDSim(), KDPtSim()])
def test_similarity_is_unsupported_without_one_linear_classifier(method: Method) -> None:
    with pytest.raises(Unsupported, match="class weights"):
        method.init(setup(10))


def test_the_class_tree_reading_is_unsupported_without_a_tree() -> None:
    with pytest.raises(Unsupported, match="no tree"):
        KDRel(reading="class_tree").init(setup(10))


class Peer(nn.Module):
    """A network whose answers depend on its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Outputs:
        return said(self.linear(self.norm(images)))


def test_the_peer_is_built_as_a_student_and_learns_from_the_labels_in_its_stage_alone(
    make_batch: MakeBatch,
) -> None:
    roles = list[str]()

    def build(role: str) -> nn.Module:
        roles.append(role)
        return Peer()

    method = TfKDSelf()
    peer = method.init(setup(3, build=build))
    assert roles == ["student"]
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(8, 6, generator=draw)
    batch = make_batch(images, torch.arange(8) % 3)
    nothing = said(torch.zeros(8, 0))

    (loss,) = method.pretrain(said(torch.zeros(8, 3)), nothing, batch, peer).values()
    loss.backward()
    answer = peer(images).logits
    assert loss.item() == pytest.approx(nn.functional.cross_entropy(answer, batch.target).item())
    assert all(weight.grad is not None and weight.grad.any() for weight in peer.parameters())
    peer.zero_grad()

    before = {name: value.clone() for name, value in peer.state_dict().items()}
    student = torch.randn(8, 3, generator=draw).requires_grad_()
    losses = method.loss(said(student), nothing, batch, peer)
    torch.stack([*losses.values()]).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in peer.state_dict().items())
    assert all(weight.grad is None for weight in peer.parameters())
    assert not peer.training
    settled = method.loss(said(student), nothing, batch, Says(peer.eval()(images).logits))
    assert losses["soft"].item() == settled["soft"].item()


def test_the_peer_s_share_of_the_budget_is_a_field() -> None:
    assert [stage.share for stage in TfKDSelf(share=0.25).stages()] == [0.25, 0.75]


METHODS = [LabelSmoothing(spread="others"), TfKDReg(), NKD(), KDTopK(), KDPt(), KDSim(), KDPtSim(),
           KDRel(reading="row"), KDRel(reading="class_tree")]  # fmt: skip
each = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


def state_of(method: Method, classes: int) -> Any:
    weight = drawn(classes, 4, 9).float()
    return method.init(setup(classes, weight, class_tree=tuple(k // 3 for k in range(classes))))


@each
def test_rows_without_a_label_change_no_term_that_needs_the_class(
    method: Method, make_batch: MakeBatch
) -> None:
    state = state_of(method, 4)
    ours, theirs = drawn(6, 4, 1), drawn(6, 4, 2)
    few = make_batch(torch.zeros(4, 0), torch.tensor([0, 1, 2, 3]))
    many = make_batch(torch.zeros(6, 0), torch.tensor([0, 1, 2, 3, -1, -100]))
    many = replace(many, labelled=torch.arange(6) < 4)
    alone = method.loss(said(ours[:4]), said(theirs[:4]), few, state)
    among = method.loss(said(ours), said(theirs), many, state)
    for term in alone.keys() - ({"soft"} if isinstance(method, KDTopK) else set()):
        assert among[term].item() == pytest.approx(alone[term].item(), rel=1e-12), term


def test_kd_topk_learns_from_rows_without_a_label_too(make_batch: MakeBatch) -> None:
    ours, theirs = drawn(6, 4, 1), drawn(6, 4, 2)
    known = make_batch(torch.zeros(6, 0), torch.tensor([0, 1, 2, 3, 0, 0]))
    unknown = replace(known, labelled=torch.zeros(6, dtype=torch.bool))
    method = KDTopK(k=2)
    terms = [method.loss(said(ours), said(theirs), b, None) for b in (known, unknown)]
    assert terms[0]["soft"].item() == terms[1]["soft"].item() > 0
    assert terms[1]["hard"].item() == 0


@each
@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_saturated_narrow_logits_give_finite_float32_terms_and_gradients(
    method: Method, classes: int, kind: torch.dtype, make_batch: MakeBatch
) -> None:
    ours = (200 * drawn(2, classes, 1).sign()).to(kind).requires_grad_()
    theirs = (200 * drawn(2, classes, 2).sign()).to(kind).requires_grad_()
    theirs.data[0] = -200
    theirs.data[0, 1] = 200
    batch = make_batch(torch.zeros(2, 0), torch.tensor([1, 0]))
    losses = method.loss(said(ours), said(theirs), batch, state_of(method, classes))
    for term, value in losses.items():
        assert value.isfinite(), term
        assert value.dtype == torch.float32, term
    torch.stack([*losses.values()]).sum().backward()
    assert ours.grad is not None
    assert ours.grad.isfinite().all()
    assert theirs.grad is None
