"""What each first-party method promises: identities, where gradients go, extremes, any shape."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.api import Batch, Hint, Losses, Method, Needs, Outputs, Port, Setup, Stage, Unsupported
from kdbench.errors import UsageError
from kdbench_methods import at, fitnet, kd, metadistil, rco, scratch
from kdbench_methods.at import AT
from kdbench_methods.fitnet import FitNet
from kdbench_methods.kd import KD
from kdbench_methods.metadistil import MetaDistil
from kdbench_methods.rco import RCO
from kdbench_methods.scratch import Scratch

ALL: dict[str, Method] = {
    name: method
    for module in (at, fitnet, kd, metadistil, rco, scratch)
    for name, method in module.kdbench_methods()
}
SHAPES = ((8, 8, 8), (12, 4, 4), (16, 2, 2))


def outputs(
    rows: int = 6, classes: int = 10, seed: int = 0, scale: float = 3.0, **kinds: Any
) -> Outputs:
    """Leaves that take gradients, as a network might say them."""
    draw = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw).mul(scale).to(**kinds).requires_grad_()

    return Outputs(
        logits=leaf(rows, classes),
        pooled=leaf(rows, 16),
        hints=tuple(leaf(rows, *shape) for shape in SHAPES),
    )


def batch(rows: int = 6, classes: int = 10, seed: int = 0, width: int = 4, **kinds: Any) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        inputs=torch.randn(rows, width, generator=draw, **kinds),
        target=torch.randint(classes, (rows,), generator=draw),
        labelled=torch.ones(rows, dtype=torch.bool),
        index=torch.arange(rows),
        progress=torch.tensor(0.0),
    )


def hint(channels: int, height: int, width: int, kind: Any = "map") -> Hint:
    return Hint(channels=channels, height=height, width=width, stride=1, kind=kind)


def setup(student: Sequence[Hint], teacher: Sequence[Hint]) -> Setup:
    ports = [
        Port(model=nn.Identity(), pooled_dim=16, hints=tuple(hints)) for hints in (student, teacher)
    ]
    return Setup(student=ports[0], teacher=ports[1], num_classes=10, num_train=100)


def state_of(method: Method) -> Any:
    hints = [hint(*shape) for shape in SHAPES]
    return method.init(setup(hints, hints))


def total(losses: Losses) -> Tensor:
    return torch.stack(tuple(losses.values())).sum()


class Net(nn.Module):
    """Linear, an optional layer between, tanh, linear: smooth, so that differences converge."""

    def __init__(self, between: Sequence[nn.Module] = (), classes: int = 5, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(4, 8), *between, nn.Tanh())
        self.head = nn.Linear(8, classes)
        self.double()

    def forward(self, images: Tensor) -> Outputs:
        pooled = self.body(images)
        return Outputs(logits=self.head(pooled), pooled=pooled)


class Attention(nn.Module):
    """Fused attention over the four pairs of a row's features."""

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.reshape(len(features), 1, 4, 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens).reshape_as(features)


class FakeLoop:
    """A loop of plain gradient descent that notes what is asked for; random numbers by step."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module, decays: Sequence[float] = (1.0,) * 4
    ) -> None:
        self.student, self.teacher, self.decays = student.train(), teacher.eval(), decays
        self.progress, self.decay = 0.0, decays[0]
        self.quizzes = 0
        self.teacher_rates: list[float] = []

    def run(self, method: Method, state: Any = None) -> "FakeLoop":
        for step, decay in enumerate(self.decays):
            self.decay, self.progress = decay, step / len(self.decays)
            torch.manual_seed(1000 + step)
            method.step(self, batch(8, 5, seed=step, dtype=torch.float64), state)
        return self

    def ask_student(self, batch: Batch) -> Outputs:
        return self.student(batch.inputs)

    def ask_teacher(self, batch: Batch) -> Outputs:
        return self.teacher(batch.inputs).detach()

    def forward(self, batch: Batch) -> tuple[Outputs, Outputs]:
        return self.ask_student(batch), self.ask_teacher(batch)

    def gradients(self, losses: Losses) -> Sequence[Tensor | None]:
        return torch.autograd.grad(
            total(losses), list(self.student.parameters()), allow_unused=True
        )

    def update(self, gradients: Sequence[Tensor | None]) -> None:
        _descend(self.student, gradients, 0.1 * self.decay)

    def descend(self, losses: Losses) -> Losses:
        self.update(self.gradients(losses))
        return losses

    def quiz_batch(self) -> Batch:
        self.quizzes += 1
        return batch(7, 5, seed=500 + self.quizzes, dtype=torch.float64)

    def teacher_update(self, gradients: Sequence[Tensor | None], learning_rate: float) -> None:
        self.teacher_rates.append(learning_rate)
        _descend(self.teacher, gradients, learning_rate)


@torch.no_grad()
def _descend(network: nn.Module, gradients: Sequence[Tensor | None], rate: float) -> None:
    for weight, gradient in zip(network.parameters(), gradients, strict=True):
        if gradient is not None:
            weight -= rate * gradient


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# Hyperparameters


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (KD, "temperature", 0), (KD, "temperature", math.inf), (KD, "temperature", math.nan),
        (KD, "temperature", "4"), (KD, "alpha", 1.5), (KD, "alpha", -0.1), (KD, "alpha", True),
        (AT, "weight", -1), (AT, "power", 0), (AT, "power", 2.0),
        (FitNet, "weight", -1), (FitNet, "hint", -1),
        (RCO, "anchors", 0), (RCO, "alpha", 2), (RCO, "temperature", -4),
        (MetaDistil, "quiz", 0), (MetaDistil, "quiz", 1), (MetaDistil, "teacher_start", 1.1),
        (MetaDistil, "pilot_rate", -1), (MetaDistil, "teacher_rate", -1),
        (MetaDistil, "temperature", 0), (MetaDistil, "alpha", 1.01),
    ],
)  # fmt: skip
def test_a_hyperparameter_out_of_range_is_a_usage_error_with_field_value_and_range(
    make: Callable[..., Method], field: str, value: object
) -> None:
    with pytest.raises(UsageError) as caught:
        make(**{field: value})
    assert f"{field} = {value!r}" in caught.value.what
    assert any(bracket in caught.value.why for bracket in "[(")


@pytest.mark.parametrize(
    "make",
    [
        lambda: KD(temperature=2, alpha=0), lambda: KD(alpha=1), lambda: AT(weight=0, power=1),
        lambda: RCO(anchors=1), lambda: FitNet(weight=0, hint=0),
        lambda: MetaDistil(pilot_rate=0, teacher_rate=0, teacher_start=1),
    ],
)  # fmt: skip
def test_the_closed_ends_of_ranges_are_allowed(make: Callable[[], Method]) -> None:
    make()


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        (Scratch(), Needs(teacher="none")),
        (KD(), Needs()),
        (RCO(), Needs()),
        (AT(), Needs(hints=True)),
        (FitNet(), Needs(hints=True)),
        (MetaDistil(quiz=0.2), Needs(teacher="private", quiz=0.2)),
    ],
)
def test_a_method_asks_for_what_it_reads_and_no_more(method: Method, needs: Needs) -> None:
    assert method.needs() == needs


# Identities


def test_kd_without_soft_term_is_scratch() -> None:
    student, data = outputs(), batch()
    losses = KD(alpha=0).loss(student, outputs(seed=1), data, None)
    assert losses["soft"].item() == 0
    assert torch.equal(total(losses), Scratch().loss(student, student, data, None)["hard"])


def test_kd_at_high_temperature_pulls_centred_logits_together() -> None:
    student, teacher = outputs(dtype=torch.float64), outputs(seed=1, dtype=torch.float64)
    soft = KD(temperature=1e4, alpha=1.0).loss(student, teacher, batch(), None)["soft"]
    (gradient,) = torch.autograd.grad(soft, student.logits)
    gap = (student.logits - teacher.logits).detach()
    rows, classes = gap.shape
    torch.testing.assert_close(
        gradient, (gap - gap.mean(1, keepdim=True)) / classes / rows, rtol=1e-2, atol=1e-6
    )


@pytest.mark.parametrize("name", ["kd", "rco", "metadistil", "at", "fitnet"])
def test_hard_is_the_weighted_cross_entropy_of_the_labelled_rows(name: str) -> None:
    method, student = ALL[name], outputs()
    data = replace(batch(), labelled=torch.tensor([True, False, True, True, False, True]))
    expected = F.cross_entropy(student.logits[data.labelled], data.target[data.labelled])
    weight = 1 - getattr(method, "alpha", 0.0)
    hard = method.loss(student, outputs(seed=1), data, state_of(method))["hard"]
    torch.testing.assert_close(hard, weight * expected)


def test_at_and_fitnet_are_zero_for_equal_hints() -> None:
    same = outputs()
    assert AT().loss(same, same, batch(), None)["attention"].item() == 0
    assert FitNet().loss(same, same, batch(), nn.Identity())["hint"].item() == 0


def test_at_does_not_see_the_scale_of_a_map() -> None:
    student, teacher = outputs(), outputs(seed=1)
    louder = replace(student, hints=tuple(7 * hint for hint in student.hints))
    before, after = (
        AT().loss(one, teacher, batch(), None)["attention"] for one in (student, louder)
    )
    torch.testing.assert_close(after, before)


def test_at_of_a_dead_map_is_finite() -> None:
    dead = replace(
        outputs(),
        hints=tuple(torch.zeros_like(hint, requires_grad=True) for hint in outputs().hints),
    )
    loss = AT().loss(dead, outputs(seed=1), batch(), None)["attention"]
    gradients = torch.autograd.grad(loss, dead.hints)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


# RCO


@pytest.mark.parametrize("restart", [False, True])
def test_rco_with_one_anchor_is_kd(restart: bool) -> None:
    one = RCO(anchors=1, restart=restart)
    assert one.stages() == KD().stages()
    assert one.needs() == KD().needs()


@pytest.mark.parametrize("stage", range(4))
def test_rco_s_losses_are_kd_s_to_the_bit_in_every_stage(stage: int) -> None:
    student, teacher, data = outputs(), outputs(seed=1), replace(batch(), stage=stage)
    ours = RCO(temperature=3, alpha=0.7).loss(student, teacher, data, None)
    theirs = KD(temperature=3, alpha=0.7).loss(student, teacher, data, None)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("anchors", [2, 3, 4, 7, 10])
def test_rco_s_stages_share_the_budget_equally_and_end_at_the_finished_teacher(
    anchors: int,
) -> None:
    stages = RCO(anchors=anchors).stages()
    assert len(stages) == anchors
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    assert [stage.anchor for stage in stages] == [i / anchors for i in range(1, anchors + 1)]
    assert stages[-1].anchor == 1


def test_rco_restarts_the_schedule_in_each_stage_only_when_asked_to() -> None:
    assert {stage.schedule for stage in RCO().stages()} == {"continue"}
    assert {stage.schedule for stage in RCO(restart=True).stages()} == {"restart"}
    assert RCO(anchors=2).stages()[0] == Stage(share=0.5, anchor=0.5)


# Gradients and extremes


@pytest.mark.parametrize("name", ["at", "fitnet", "kd", "rco", "scratch"])
def test_the_student_gets_a_gradient_and_the_teacher_none(name: str) -> None:
    method, student, teacher = ALL[name], outputs(), outputs(seed=1)
    total(method.loss(student, teacher, batch(), state_of(method))).backward()
    read = [
        student.logits,
        *(student.hints if name == "at" else student.hints[1:2] if name == "fitnet" else ()),
    ]
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in read)
    assert all(tensor.grad is None for tensor in (teacher.logits, teacher.pooled, *teacher.hints))


def test_metadistil_s_losses_reach_the_teacher_s_logits() -> None:
    student, teacher = outputs(), outputs(seed=1)
    total(MetaDistil().loss(student, teacher, batch(), torch.zeros(()))).backward()
    assert teacher.logits.grad is not None
    assert teacher.logits.grad.any()


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(ALL))
def test_saturated_narrow_outputs_of_a_ragged_batch_give_finite_float32_losses(
    name: str, dtype: torch.dtype, classes: int
) -> None:
    method = ALL[name]
    state = state_of(method)  # in float32, as the host keeps it
    student, teacher = (outputs(2, classes, seed, 1e3, dtype=dtype) for seed in (0, 1))
    for one in (student, teacher):
        one.logits.data.clamp_(-200, 200)
        for map_ in one.hints:
            map_.data.clamp_(-200, 200)
    losses = method.loss(student, teacher, batch(2, classes), state)
    total(losses).backward()
    assert all(
        loss.dtype == torch.float32 and loss.shape == () and loss.isfinite()
        for loss in losses.values()
    )
    assert all(
        leaf.grad is None or leaf.grad.isfinite().all() for leaf in (student.logits, *student.hints)
    )


# FitNet


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((8, 16, 16), (12, 8, 8)), ((8, 8, 8), (12, 16, 16)), ((8, 8, 8), (12, 8, 8)),
        ((8, 8, 8), (12, 7, 5)), ((8, 32, 32), (12, 4, 4)), ((8, 4, 4), (12, 14, 14)),
        ((8, 16, 4), (12, 4, 16)), ((8, 1, 1), (12, 1, 1)), ((8, 2, 2), (12, 1, 1)),
        ((3, 56, 56), (4, 14, 14)), ((8, 16, 8), (12, 8, 8)), ((8, 7, 7), (12, 8, 8)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["map", "tokens"])
def test_fitnet_s_regressor_gives_the_teacher_s_shape_from_any_and_is_trained(
    student: tuple[int, int, int], teacher: tuple[int, int, int], kind: str
) -> None:
    state = FitNet(hint=0).init(setup([hint(*student)], [hint(*teacher, kind)]))
    leaf = torch.randn(2, *student, requires_grad=True)
    guess = state(leaf)
    assert guess.shape == (2, *teacher)
    assert (guess.min() < 0) == (kind == "tokens")

    theirs = Outputs(
        logits=torch.zeros(2, 3), pooled=torch.zeros(2, 1), hints=(torch.randn(2, *teacher),)
    )
    ours = replace(theirs, logits=torch.zeros(2, 3, requires_grad=True), hints=(leaf,))
    total(FitNet(hint=0).loss(ours, theirs, batch(2, 3), state)).backward()
    assert all(
        weight.grad is not None and weight.grad.isfinite().all() for weight in state.parameters()
    )
    assert any(weight.grad.any() for weight in state.parameters())


@pytest.mark.parametrize(
    ("student", "teacher", "layer", "kernel"),
    [
        ((8, 16, 16), (12, 8, 8), nn.Conv2d, (3, 3)),
        ((8, 8, 8), (12, 16, 16), nn.ConvTranspose2d, (4, 4)),
        ((8, 8, 8), (12, 8, 8), nn.Conv2d, (1, 1)),
        ((8, 8, 8), (12, 6, 7), nn.Conv2d, (3, 2)),
    ],
)
def test_fitnet_s_regressor_is_the_field_s_where_the_field_has_one(
    student: tuple[int, int, int],
    teacher: tuple[int, int, int],
    layer: type,
    kernel: tuple[int, int],
) -> None:
    built = fitnet.regressor(hint(*student), hint(*teacher))
    assert [type(part) for part in built] == [layer, nn.BatchNorm2d, nn.ReLU]
    assert built[0].kernel_size == kernel


@pytest.mark.parametrize("teacher", [(12, 4, 4), (12, 14, 14), (12, 4, 64)])
def test_fitnet_s_regressor_stays_small_where_the_field_has_none(
    teacher: tuple[int, int, int],
) -> None:
    built = fitnet.regressor(hint(8, 32, 32), hint(*teacher))
    assert sum(weight.numel() for weight in built[:2].parameters()) == 8 * 12 + 12


def test_fitnet_says_unsupported_where_the_pair_has_no_such_hint() -> None:
    with pytest.raises(Unsupported, match="no hint 1"):
        FitNet().init(setup([hint(*SHAPES[0])], [hint(*SHAPES[0])]))


# MetaDistil


BETWEEN: dict[str, Callable[[], list[nn.Module]]] = {
    "plain": lambda: [],
    "batch-norm": lambda: [nn.BatchNorm1d(8)],
    "dropout": lambda: [nn.Dropout(0.3)],
    "attention": lambda: [Attention()],
    "no-second-derivative": lambda: [nn.Hardsigmoid()],
}


def lesson_of(student: nn.Module, teacher: nn.Module, pilot_rate: float = 0.5) -> metadistil.Lesson:
    data, quiz = (batch(8, 5, seed=seed, dtype=torch.float64) for seed in (0, 99))

    def objective(z_s: Tensor, z_t: Tensor) -> Tensor:
        ours, theirs = (Outputs(logits=z, pooled=z) for z in (z_s, z_t))
        return total(
            MetaDistil(temperature=2.0, alpha=0.8).loss(ours, theirs, data, torch.zeros(()))
        )

    def quiz_loss(weights: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(metadistil.answer(student, weights, quiz.inputs), quiz.target)

    ours = metadistil.answer(student, dict(student.named_parameters()), data.inputs)
    return metadistil.meta_gradient(
        student, teacher, data.inputs, ours, objective, quiz_loss, pilot_rate
    )


@pytest.mark.parametrize("between", sorted(BETWEEN))
def test_the_meta_gradient_is_the_slope_of_the_quiz_loss(between: str) -> None:
    student = Net(BETWEEN[between](), seed=1).train()
    teacher = Net(BETWEEN[between](), seed=2).eval()
    torch.manual_seed(3)
    gradients = lesson_of(student, teacher).gradients
    directions = [torch.randn_like(weight) for weight in teacher.parameters()]
    predicted = sum(
        (g * d).sum().item() for g, d in zip(gradients, directions, strict=True) if g is not None
    )

    def quiz_loss(distance: float) -> float:
        torch.manual_seed(3)
        _descend(teacher, directions, -distance)
        loss = lesson_of(student, teacher).quiz_loss.item()
        _descend(teacher, directions, distance)
        return loss

    measured = (quiz_loss(1e-4) - quiz_loss(-1e-4)) / 2e-4
    assert predicted == pytest.approx(measured, rel=1e-5)
    assert abs(predicted) > 1e-5


def test_the_meta_gradient_is_zero_without_a_pilot_step() -> None:
    lesson = lesson_of(Net(seed=1), Net(seed=2), pilot_rate=0.0)
    assert all(gradient is not None and not gradient.any() for gradient in lesson.gradients)


@pytest.mark.parametrize("between", sorted(BETWEEN))
def test_the_virtual_step_leaves_weights_buffers_gradients_and_random_state_alone(
    between: str,
) -> None:
    networks = Net(BETWEEN[between](), seed=1).train(), Net(BETWEEN[between](), seed=2).eval()
    before = [
        {name: tensor.clone() for name, tensor in net.state_dict().items()} for net in networks
    ]
    versions = [tensor._version for net in networks for tensor in net.state_dict().values()]
    random = torch.get_rng_state()
    lesson_of(*networks)
    assert torch.equal(torch.get_rng_state(), random)
    assert versions == [tensor._version for net in networks for tensor in net.state_dict().values()]
    for net, old in zip(networks, before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in net.state_dict().items())
        assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize("between", sorted(BETWEEN))
def test_metadistil_with_a_teacher_that_cannot_move_is_kd_to_the_bit(between: str) -> None:
    def networks() -> tuple[nn.Module, nn.Module]:
        return Net(BETWEEN[between](), seed=1), Net(BETWEEN[between](), seed=2)

    meta = FakeLoop(*networks()).run(MetaDistil(teacher_rate=0, teacher_start=0), torch.zeros(()))
    plain = FakeLoop(*networks()).run(KD())
    assert meta.quizzes == 4
    assert same_weights(meta.student, plain.student)
    assert not same_weights(plain.student, networks()[0])


def test_metadistil_is_kd_before_the_teacher_starts() -> None:
    meta = FakeLoop(Net(seed=1), Net(seed=2)).run(MetaDistil(teacher_start=1), torch.zeros(()))
    plain = FakeLoop(Net(seed=1), Net(seed=2)).run(KD())
    assert meta.quizzes == 0
    assert same_weights(meta.student, plain.student)
    assert same_weights(meta.teacher, Net(seed=2))


def test_metadistil_moves_the_teacher_and_thereby_the_student() -> None:
    meta = FakeLoop(Net(seed=1), Net(seed=2)).run(
        MetaDistil(teacher_rate=0.1, teacher_start=0), torch.zeros(())
    )
    plain = FakeLoop(Net(seed=1), Net(seed=2)).run(KD())
    assert not same_weights(meta.teacher, Net(seed=2))
    assert not same_weights(meta.student, plain.student)


def test_the_teacher_s_rate_decays_from_where_the_teacher_starts() -> None:
    decays = (1.0, 1.0, 0.1, 0.1, 0.01, 0.001, 0.0, 0.0)
    loop = FakeLoop(Net(seed=1), Net(seed=2), decays)
    loop.run(MetaDistil(teacher_start=0.25, teacher_rate=2e-4), torch.zeros(()))
    assert loop.teacher_rates == pytest.approx([2e-4, 2e-4, 2e-5, 2e-6])


def test_the_pilot_step_shrinks_with_the_schedule() -> None:
    def teacher_after(decay: float, pilot_rate: float) -> nn.Module:
        loop = FakeLoop(Net(seed=1), Net(seed=2), (decay,))
        method = MetaDistil(teacher_start=0, teacher_rate=0.1, pilot_rate=pilot_rate)
        return loop.run(method, torch.zeros(())).teacher

    assert same_weights(teacher_after(0.5, 0.5), teacher_after(1.0, 0.25))
    assert not same_weights(teacher_after(0.5, 0.5), teacher_after(1.0, 0.5))
