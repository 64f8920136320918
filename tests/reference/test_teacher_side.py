"""Methods whose news is the teacher's side equal slow statements of their formulas, in float64."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Losses, Method, Outputs, Port, Setup, Unsupported
from kdbench.errors import UsageError
from kdbench.record import TrainingProtocol
from kdbench_methods import timm_tasks
from kdbench_methods.dml import DML
from kdbench_methods.dot import DOT
from kdbench_methods.kd import KD
from kdbench_methods.metadistil import MetaDistil
from kdbench_methods.rco import RCO
from kdbench_methods.timm_tasks import Feature, Logit, Token

Array = np.ndarray[Any, Any]
MakeBatch = Callable[..., Batch]
CLASSES = 5


class Net(nn.Module):
    """Linear, tanh, linear, in float64."""

    def __init__(self, seed: int, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(4, width), nn.Tanh())
        self.head = nn.Linear(width, CLASSES)
        self.double()

    def forward(self, images: Tensor) -> Outputs:
        pooled = self.body(images)
        return Outputs(logits=self.head(pooled), pooled=pooled)


class Loop:
    """The loop of plain gradient descent or of any optimizer, without a host."""

    progress, decay = 0.5, 1.0

    def __init__(self, student: nn.Module, teacher: nn.Module, quiz: Batch | None = None) -> None:
        self.student, self.teacher, self.quiz = student, teacher, quiz
        self.weights = list(student.parameters())
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(self.weights, 0.1)

    def ask_student(self, batch: Batch) -> Outputs:
        return self.student(batch.inputs)

    def ask_teacher(self, batch: Batch) -> Outputs:
        return self.teacher(batch.inputs).detach()

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        return self.ask_student(batch), self.ask_teacher(batch)

    def gradients(self, losses: Losses, *, keep_graph: bool = False) -> Sequence[Tensor | None]:
        return torch.autograd.grad(
            total(losses), self.weights, allow_unused=True, retain_graph=keep_graph
        )

    def update(self, gradients: Sequence[Tensor | None]) -> None:
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        self.optimizer.step()

    def descend(self, losses: Losses) -> Losses:
        self.update(self.gradients(losses))
        return losses

    def quiz_batch(self) -> Batch:
        assert self.quiz is not None
        return self.quiz

    @torch.no_grad()
    def teacher_update(self, gradients: Sequence[Tensor | None], learning_rate: float) -> None:
        for weight, gradient in zip(self.teacher.parameters(), gradients, strict=True):
            slope = torch.zeros_like(weight) if gradient is None else gradient
            weight -= learning_rate * (slope + 5e-4 * weight)  # as the host, with weight decay


def total(losses: Losses) -> Tensor:
    return torch.stack(tuple(losses.values())).sum()


def rows(make_batch: MakeBatch, seed: int, count: int = 7) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 4, generator=draw, dtype=torch.float64)
    return make_batch(images, torch.randint(CLASSES, (count,), generator=draw))


def setup_of(student: nn.Module, teacher_width: int = 6, **more: Any) -> Setup:
    ports = [
        Port(model=student, pooled_dim=6, hints=()),
        Port(model=nn.Identity(), pooled_dim=teacher_width, hints=()),
    ]
    return Setup(student=ports[0], teacher=ports[1], num_classes=CLASSES, num_train=7, **more)


def said(network: nn.Module, batch: Batch) -> Outputs:
    outputs: Outputs = network(batch.inputs)
    return outputs


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# Slow statements, in loops


def log_softmax(logits: Array, temperature: float = 1.0) -> Array:
    rows_ = []
    for row in logits / temperature:
        top = max(row)
        rows_.append(row - top - math.log(sum(math.exp(value - top) for value in row)))
    return np.array(rows_)


def slow_hard(logits: Array, target: Array) -> float:
    log = log_softmax(logits)
    return -sum(log[i, target[i]] for i in range(len(log))) / len(log)


def slow_kl(learner: Array, judge: Array, temperature: float) -> float:
    """T² · KL(judge || learner), mean over rows."""
    log_q, log_p = log_softmax(learner, temperature), log_softmax(judge, temperature)
    found = 0.0
    for i in range(len(log_p)):
        for k in range(log_p.shape[1]):
            found += math.exp(log_p[i, k]) * (log_p[i, k] - log_q[i, k])
    return temperature**2 * found / len(log_p)


def slope(function: Callable[[Array], float], at: Array, step: float = 1e-5) -> Array:
    """Central differences in every entry."""
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        sides = []
        for sign in (1, -1):
            moved = at.copy()
            moved[place] += sign * step
            sides.append(function(moved))
        found[place] = (sides[0] - sides[1]) / (2 * step)
    return found


# DML


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (3.0, 0.5)])
def test_dml_is_two_cross_entropies_and_two_divergences(
    temperature: float, weight: float, make_batch: MakeBatch
) -> None:
    student, peer, batch = Net(1), Net(2), rows(make_batch, 0)
    method = DML(temperature=temperature, weight=weight)
    state = method.init(setup_of(student, build=lambda role: {"student": peer}[role]))
    ours = said(student, batch)
    losses = method.loss(ours, ours, batch, state)
    z_s, z_p = (said(net, batch).logits.detach().numpy() for net in (student, peer))
    target = batch.target.numpy()
    expected = {
        "hard": slow_hard(z_s, target),
        "mutual": weight * slow_kl(z_s, z_p, temperature),
        "peer_hard": slow_hard(z_p, target),
        "peer_mutual": weight * slow_kl(z_p, z_s, temperature),
    }
    assert {name: term.item() for name, term in losses.items()} == pytest.approx(expected, rel=1e-9)


def test_each_side_of_dml_learns_from_the_other_s_answer_as_it_stands(
    make_batch: MakeBatch,
) -> None:
    peer, batch = Net(2), rows(make_batch, 0)
    leaf = said(Net(1), batch).logits.detach().requires_grad_()
    theirs: list[Tensor] = []

    def state(images: Tensor) -> Outputs:
        outputs = said(peer, replace(batch, inputs=images))
        theirs.append(outputs.logits)
        return outputs

    method: Any = DML()
    losses = method.loss(Outputs(logits=leaf, pooled=leaf), None, batch, state)
    ours, other = torch.autograd.grad(total(losses), (leaf, theirs[0]))
    z_s, z_p, target = leaf.detach().numpy(), theirs[0].detach().numpy(), batch.target.numpy()
    for found, learner, judge in ((ours, z_s, z_p), (other, z_p, z_s)):
        expected = slope(
            lambda z, judge=judge: slow_hard(z, target) + slow_kl(z, judge, 1.0), learner
        )
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_the_peer_of_dml_is_a_network_of_its_own_that_is_trained(make_batch: MakeBatch) -> None:
    student, batch = Net(1), rows(make_batch, 0)
    state = DML().init(setup_of(student, build=lambda role: Net(2)))
    assert not {id(w) for w in student.parameters()} & {id(w) for w in state.parameters()}
    ours = said(student, batch)
    total(DML().loss(ours, ours, batch, state)).backward()
    assert all(w.grad is not None and w.grad.any() for w in state.parameters())
    assert all(w.grad is not None and w.grad.any() for w in student.parameters())


# DOT


def slow_dot(
    method: DOT, batches: Sequence[Batch], teacher: nn.Module, rates: Sequence[float]
) -> list[Array]:
    """The student's weights after a step on each batch, entry by entry."""
    network = Net(1)
    learnt = list(network.parameters())
    weights = [w.detach().numpy().copy() for w in network.parameters()]
    slow, fast = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for batch, rate in zip(batches, rates, strict=True):
        for weight, value in zip(learnt, weights, strict=True):
            weight.data = torch.from_numpy(value.copy())
        z_t = said(teacher, batch).logits.detach()
        terms = KD(method.temperature, method.alpha).loss(
            said(network, batch), Outputs(logits=z_t, pooled=z_t), batch, None
        )
        hard, soft = (
            [slope.numpy() for slope in torch.autograd.grad(term, learnt, retain_graph=True)]
            for term in (terms["hard"], terms["soft"])
        )
        for i, weight in enumerate(weights):
            for place in np.ndindex(*weight.shape):
                decayed = hard[i][place] + method.weight_decay * weight[place]
                slow[i][place] = (method.momentum - method.delta) * slow[i][place] + decayed
                fast[i][place] = (method.momentum + method.delta) * fast[i][place] + soft[i][place]
                weight[place] -= rate * (slow[i][place] + fast[i][place])
    return weights


@pytest.mark.parametrize(
    "method", [DOT(), DOT(delta=0.05, momentum=0.5, weight_decay=0.1, alpha=0.4), DOT(delta=0.0)]
)
def test_several_steps_of_dot_equal_a_slow_optimizer(method: DOT, make_batch: MakeBatch) -> None:
    student, teacher, rates = Net(1), Net(2), (0.1, 0.1, 0.05, 0.05, 0.01)
    batches = [rows(make_batch, seed) for seed in range(len(rates))]
    loop, state = Loop(student, teacher), method.init(setup_of(student))
    protocol = TrainingProtocol(epochs=1, batch_size=7, learning_rate=0.1)
    loop.optimizer = method.optimizer(loop.weights, protocol)
    for batch, rate in zip(batches, rates, strict=True):
        loop.optimizer.param_groups[0]["lr"] = rate
        method.step(loop, batch, state)
    expected = slow_dot(method, batches, teacher, rates)
    for weight, value in zip(student.parameters(), expected, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), value, rtol=1e-9, atol=1e-12)


def test_dot_without_a_difference_is_kd_with_momentum(make_batch: MakeBatch) -> None:
    ours, theirs, teacher = Net(1), Net(1), Net(2)
    method = DOT(delta=0.0)
    one, two, state = Loop(ours, teacher), Loop(theirs, teacher), method.init(setup_of(ours))
    two.optimizer = torch.optim.SGD(two.weights, 0.1, momentum=0.9, weight_decay=5e-4)
    for seed in range(5):
        method.step(one, rows(make_batch, seed), state)
        KD().step(two, rows(make_batch, seed), None)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_dot_s_own_optimizer_has_neither_momentum_nor_weight_decay() -> None:
    protocol = TrainingProtocol(
        epochs=1, batch_size=7, learning_rate=0.3, momentum=0.9, weight_decay=1e-3
    )
    (group,) = DOT().optimizer([*Net(1).parameters()], protocol).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0, 0)


def test_dot_leaves_a_weight_without_part_alone(make_batch: MakeBatch) -> None:
    student, method = Net(1), DOT(weight_decay=0.5)
    student.register_parameter("idle", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    loop, state = Loop(student, Net(2)), method.init(setup_of(student))
    method.step(loop, rows(make_batch, 0), state)
    assert torch.equal(student.get_parameter("idle"), torch.ones(3, dtype=torch.float64))
    assert not same(student.body, Net(1).body)


def test_dot_s_loss_has_the_slow_statement_s_value_and_slope(make_batch: MakeBatch) -> None:
    batch, teacher = rows(make_batch, 0), Net(2)
    leaf = said(Net(1), batch).logits.detach().requires_grad_()
    z_t = said(teacher, batch).logits
    losses = DOT(temperature=2.0, alpha=0.7).loss(
        Outputs(logits=leaf, pooled=leaf), Outputs(logits=z_t, pooled=z_t), batch, []
    )
    target, judge = batch.target.numpy(), z_t.detach().numpy()

    def slow(z: Array) -> float:
        return 0.3 * slow_hard(z, target) + 0.7 * slow_kl(z, judge, 2.0)

    assert total(losses).item() == pytest.approx(slow(leaf.detach().numpy()), rel=1e-9)
    (found,) = torch.autograd.grad(total(losses), leaf)
    np.testing.assert_allclose(
        found.numpy(), slope(slow, leaf.detach().numpy()), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    "wrong", [{"delta": 0.1}, {"delta": 0.3, "momentum": 0.2}, {"momentum": 1.0}, {"delta": -0.1}]
)
def test_a_momentum_of_dot_outside_of_0_to_1_is_a_usage_error(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        DOT(**wrong)


# timm's tasks


class Fixed(nn.Module):
    """Answers in timm's convention, for a task that a test makes by itself."""

    pretrained_cfg = {"mean": (0.5,), "std": (0.25,)}

    def __init__(self, outputs: Outputs, token: Tensor | None = None) -> None:
        super().__init__()
        self.outputs, self.token = outputs, token

    def forward(self, images: Tensor) -> Any:
        both = self.outputs.logits, self.token
        return self.outputs.logits if self.token is None else both

    def forward_features(self, images: Tensor) -> Tensor:
        return images

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return self.outputs.pooled if pre_logits else self.outputs.logits

    def set_distilled_training(self, enable: bool = True) -> None:
        pass


def by_timm(kind: str, student: nn.Module, teacher: nn.Module, **options: Any) -> nn.Module:
    task: nn.Module = getattr(timm_tasks.tasks, kind)(
        student,
        timm_tasks.tasks.DistillationTeacher(teacher),
        criterion=nn.CrossEntropyLoss(),
        verbose=False,
        **options,
    )
    return task


def answers(seed: int, width: int) -> Outputs:
    draw = torch.Generator().manual_seed(seed)
    return Outputs(
        logits=torch.randn(7, CLASSES, generator=draw).requires_grad_(),
        pooled=torch.randn(7, width, generator=draw).requires_grad_(),
    )


def check_equal(losses: Losses, expected: Tensor, leaves: Sequence[Tensor]) -> None:
    torch.testing.assert_close(total(losses), expected, rtol=1e-6, atol=0)
    ours, theirs = (torch.autograd.grad(loss, leaves) for loss in (total(losses), expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_timm_logit_is_timm_s_task(make_batch: MakeBatch) -> None:
    student, teacher, batch = answers(0, 6), answers(1, 8), rows(make_batch, 0)
    method = Logit(temperature=3.0, weight=0.7, hard_weight=0.2)
    losses = method.loss(student, teacher, batch, method.init(setup_of(Net(1))))
    task = by_timm(
        "LogitDistillationTask", Fixed(student), Fixed(teacher),
        temperature=3.0, distill_loss_weight=0.7, task_loss_weight=0.2,
    )  # fmt: skip
    expected = task(torch.zeros(7, 1, 2, 2), batch.target)
    check_equal(losses, expected["loss"], [student.logits])
    torch.testing.assert_close(losses["hard"], 0.2 * expected["task_loss"])
    assert teacher.logits.grad is None


@pytest.mark.parametrize("width", [6, 8])
def test_timm_feature_is_timm_s_task_and_its_projection_is_trained(
    width: int, make_batch: MakeBatch
) -> None:
    student, teacher, batch = answers(0, 6), answers(1, width), rows(make_batch, 0)
    method = Feature(weight=0.7, hard_weight=0.2)
    state = method.init(setup_of(Net(1), width))
    task = by_timm(
        "FeatureDistillationTask", Fixed(student), Fixed(teacher), distill_loss_weight=0.7,
        task_loss_weight=0.2, student_feature_dim=6, teacher_feature_dim=width,
    )  # fmt: skip
    task.load_state_dict(state.state_dict())
    losses = method.loss(student, teacher, batch, state)
    expected = task(torch.zeros(7, 1, 2, 2), batch.target)
    check_equal(losses, expected["loss"], [student.logits, student.pooled])
    shapes = [tuple(w.shape) for w in state.parameters()]
    assert shapes == ([] if width == 6 else [(8, 6), (8,)])
    total(method.loss(student, teacher, batch, state)).backward()
    assert all(w.grad is not None and w.grad.any() for w in state.parameters())
    assert teacher.pooled.grad is None


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_timm_token_is_timm_s_task(kind: Any, make_batch: MakeBatch) -> None:
    student, teacher, batch = answers(0, 6), answers(1, 8), rows(make_batch, 0)
    token = answers(2, 6).logits
    method = Token(temperature=2.0, weight=0.7, hard_weight=0.2, kind=kind)
    state = method.init(setup_of(Distilled()))
    task = by_timm(
        "TokenDistillationTask", Fixed(student, token), Fixed(teacher), temperature=2.0,
        distill_loss_weight=0.7, task_loss_weight=0.2, distill_type=kind,
    )  # fmt: skip
    expected = task(torch.zeros(7, 1, 2, 2), batch.target)
    losses = method.asked(state, teacher, batch, student.logits, token)
    check_equal(losses, expected["loss"], [student.logits, token])


class Distilled(nn.Module):
    """Two heads that read two tokens; says their mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.head_dist = (nn.Linear(2, CLASSES).double() for _ in range(2))

    def set_distilled_training(self, enable: bool = True) -> None:
        raise AssertionError("the host's student answers with one tensor of logits")

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        return self.head, self.head_dist

    def forward(self, images: Tensor) -> Outputs:
        main, token = self.head(images[:, :2]), self.head_dist(images[:, 2:])
        return Outputs(logits=(main + token) / 2, pooled=images)


def test_a_step_of_timm_token_teaches_labels_to_one_head_and_the_teacher_to_the_other(
    make_batch: MakeBatch,
) -> None:
    student, teacher, batch = Distilled(), Net(2), rows(make_batch, 0)
    expected = Distilled()
    main, token = expected.head(batch.inputs[:, :2]), expected.head_dist(batch.inputs[:, 2:])
    z_t = said(teacher, batch).logits.detach()
    loss = F.cross_entropy(main, batch.target) + F.cross_entropy(token, z_t.argmax(1))
    slopes = torch.autograd.grad(loss, [*expected.parameters()])
    method = Token(kind="hard")
    method.step(Loop(student, teacher), batch, method.init(setup_of(student)))
    for found, old, gradient in zip(
        student.parameters(), expected.parameters(), slopes, strict=True
    ):
        torch.testing.assert_close(found, old - 0.1 * gradient)
    assert not student.head._forward_hooks
    assert not student.head_dist._forward_hooks


def test_timm_token_says_unsupported_without_a_distillation_token() -> None:
    with pytest.raises(Unsupported, match="no distillation token"):
        Token().init(setup_of(Net(1)))


@pytest.mark.parametrize("method", [Logit(), Feature()])
def test_a_row_without_a_label_counts_in_timm_s_soft_term_alone(
    method: Method, make_batch: MakeBatch
) -> None:
    student, teacher, batch = answers(0, 6), answers(1, 6), rows(make_batch, 0)
    state = method.init(setup_of(Net(1)))
    some = torch.arange(7) < 4
    found = method.loss(student, teacher, replace(batch, labelled=some), state)
    hard = F.cross_entropy(student.logits[some], batch.target[some])
    torch.testing.assert_close(found["hard"], hard)
    whole = method.loss(student, teacher, batch, state)
    (other,) = set(found) - {"hard"}
    assert torch.equal(found[other], whole[other])


def test_timm_s_tasks_keep_no_graph_between_steps(make_batch: MakeBatch) -> None:
    student, batch = answers(0, 6), rows(make_batch, 0)
    state = Feature().init(setup_of(Net(1), 8))
    Feature().loss(student, answers(1, 8), batch, state)
    stand_ins = [m for m in state.modules() if isinstance(m, timm_tasks.Said)]
    assert len(stand_ins) == 2
    assert all(one.logits is None and one.pooled is None for one in stand_ins)


def test_a_timm_without_tasks_yields_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name, _ in timm_tasks.kdbench_methods()] == [
        "timm_logit", "timm_feature", "timm_token",
    ]  # fmt: skip
    monkeypatch.setattr(timm_tasks, "tasks", None)
    assert list(timm_tasks.kdbench_methods()) == []


# MetaDistil and RCO


@pytest.mark.parametrize("still", [{"pilot_rate": 0.0}, {"teacher_rate": 0.0}])
def test_metadistil_whose_pilot_or_teacher_stands_still_leaves_the_teacher_and_equals_kd(
    still: dict[str, float], make_batch: MakeBatch
) -> None:
    quiz = rows(make_batch, 99)
    meta, plain = Loop(Net(1), Net(2), quiz), Loop(Net(1), Net(2), quiz)
    for seed in range(4):
        batch = rows(make_batch, seed)
        MetaDistil(teacher_start=0.0, **still).step(meta, batch, torch.zeros(()))
        KD().step(plain, batch, None)
    assert same(meta.teacher, Net(2))
    assert same(meta.student, plain.student)
    assert not same(meta.student, Net(1))


def test_rco_with_one_anchor_trains_as_kd_to_the_bit(make_batch: MakeBatch) -> None:
    assert RCO(anchors=1).stages() == KD().stages()
    one, two = Loop(Net(1), Net(2)), Loop(Net(1), Net(2))
    for seed in range(3):
        RCO(anchors=1).step(one, rows(make_batch, seed), None)
        KD().step(two, rows(make_batch, seed), None)
    assert same(one.student, two.student)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("anchors", [1, 3, 4, 7, 49])
def test_rco_s_anchors_rise_and_end_at_the_finished_teacher(anchors: int, restart: bool) -> None:
    found = [stage.anchor for stage in RCO(anchors=anchors, restart=restart).stages()]
    assert found == sorted(set(found))
    assert found[-1] == 1.0
    assert all(0 < anchor <= 1 for anchor in found)
