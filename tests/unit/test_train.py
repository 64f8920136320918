"""The one loop: what is seen, taught, stepped and timed, and that nobody pays for another."""

import copy
import math
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain, count, cycle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbench.api import Batch, Hint, Losses, Maps, Method, Needs, Outputs, Port, Setup, Stage
from kdbench.data import Split, Views
from kdbench.errors import ContractError
from kdbench.record import TrainingProtocol
from kdbench.train import (
    PHASES,
    Asked,
    Clock,
    Diverged,
    LoadMeter,
    Runner,
    Step,
    block,
    guarded,
    interleave,
    learning_rate,
    lockstep,
    spread,
    stream,
)
from kdbench.train import timing as timing_module
from kdbench.train.contract import tensors_of, total_loss
from kdbench.train.load import Sample

CPU = torch.device("cpu")
ROWS = 70
SHARED, ALONE, HINTS = Needs(), Needs(teacher="none"), Needs(hints=True)
QUIZ = Needs(quiz=0.2, teacher="private")


def protocol(**changes: Any) -> TrainingProtocol:
    base = {"epochs": 4, "batch_size": 16, "learning_rate": 0.1, "weight_decay": 1e-3}
    return TrainingProtocol(**{**base, **changes})


def views(rows: range = range(ROWS), **changes: Any) -> Views:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (ROWS, 1, 6, 6), generator=draw, dtype=torch.uint8)
    split = Split(pixels.contiguous(memory_format=torch.channels_last), torch.arange(ROWS) % 3, "d")
    return Views(split, rows, **{"shift": 1, "flip": False, "device": CPU, "seed": 7, **changes})


class Net(nn.Module):
    """Two convolutions, a norm and a classifier."""

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3),
        )
        self.head = nn.Linear(width, 3)

    def forward(self, images: Tensor, maps: Maps = Maps()) -> Outputs:  # noqa: B008 - frozen
        features = self.body(images)
        pooled = features.mean((2, 3))
        if maps.hints:
            return Outputs(logits=self.head(pooled), pooled=pooled, hints=(features,))
        return Outputs(logits=self.head(pooled), pooled=pooled)

    def port(self) -> Port:
        return Port(
            model=self, pooled_dim=4, hints=(Hint(channels=4, height=4, width=4, stride=1),)
        )


@dataclass(frozen=True)
class Plain(Method):
    """Cross-entropy and the teacher's logits; notes what it sees."""

    asks: Needs = SHARED
    plan: tuple[Stage, ...] = (Stage(),)
    seen: list[Batch] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def needs(self) -> Needs:
        return self.asks

    def stages(self) -> tuple[Stage, ...]:
        return self.plan

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        hard = F.cross_entropy(student.logits, batch.target)
        if self.asks.teacher == "none":
            return {"hard": hard}
        return {"hard": hard, "soft": (student.logits - teacher.logits).square().mean()}

    def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
        self.seen.append(batch)
        self.rates.append(loop.optimizer.param_groups[0]["lr"])
        return super().step(loop, batch, state)


@dataclass(frozen=True)
class Regressing(Plain):
    """With a regressor of its own on the hints."""

    asks: Needs = HINTS

    def init(self, setup: Setup) -> nn.Module:
        return nn.Conv2d(setup.student.hints[0].channels, setup.teacher.hints[0].channels, 1)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: nn.Module) -> Losses:
        gap = F.mse_loss(state(student.hints[0]), teacher.hints[0])
        return {"hard": F.cross_entropy(student.logits, batch.target), "hint": gap}


def setup() -> Setup:
    return Setup(student=Net().port(), teacher=Net().port(), num_classes=3, num_train=ROWS)


def runner(
    method: Method | None = None, asked: TrainingProtocol | None = None, **options: Any
) -> Runner:
    asked = asked or protocol()
    student = options.pop("student", None) or Net(seed=1)
    total = options.pop("total", asked.total_steps(ROWS))
    return Runner(
        method or Plain(), student, setup(), asked, seed=3, total=total, device=CPU, **options
    )


class Teacher:
    """A frozen teacher that counts how often it is asked, at which anchor."""

    def __init__(self, maps: Maps = Maps()) -> None:  # noqa: B008 - frozen
        self.net, self.asked, self.maps = Net(seed=9).eval(), list[float](), maps

    @torch.no_grad()
    def __call__(self, asked: Asked) -> Outputs:
        anchor, images = asked.anchor, asked.images
        self.asked.append(anchor)
        said = self.net(images, self.maps)
        return Outputs(logits=said.logits * anchor, pooled=said.pooled, hints=said.hints)


def train(
    runners: dict[str, Runner], teacher: Any = None, rows: range = range(ROWS), **options: Any
) -> Any:
    first = next(iter(runners.values()))
    asked = teacher or Teacher(reduce(operator.or_, (r.needs.maps for r in runners.values())))
    fails = options.pop("fails", ())
    done = lockstep(runners, views(rows), first.protocol, first.total, asked, **options)
    assert [*done[1]] == [*fails], done[1]
    return done


def weights(network: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in network.state_dict().values()]


def same(one: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


# The schedule -----------------------------------------------------------------------------------


def test_multistep_is_reduced_first_at_the_step_of_each_milestone() -> None:
    asked = protocol(
        schedule="multistep", milestones=(150 / 240, 180 / 240, 210 / 240), learning_rate=0.05
    )
    each, total = 782, 782 * 240
    for epoch, before, after in ((150, 0.05, 0.005), (180, 0.005, 5e-4), (210, 5e-4, 5e-5)):
        assert learning_rate(asked, epoch * each - 1, total) == pytest.approx(before)
        assert learning_rate(asked, epoch * each, total) == pytest.approx(after)
    assert learning_rate(asked, 0, total) == 0.05


def test_cosine_starts_at_the_peak_and_would_be_0_one_step_after_the_last() -> None:
    asked = protocol()
    rates = [learning_rate(asked, step, 100) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[50] == pytest.approx(0.05)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 1e-4
    assert learning_rate(asked, 100, 100) == pytest.approx(0, abs=1e-12)


def test_warm_up_rises_in_equal_steps_to_the_peak() -> None:
    asked = protocol(warmup=0.1)
    rates = [learning_rate(asked, step, 100) for step in range(12)]
    assert rates[:10] == pytest.approx([0.01 * (i + 1) for i in range(10)])
    assert rates[10] == 0.1
    assert rates[11] < 0.1


# The stream -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "sizes"), [("keep", [16] * 4 + [6]), ("drop", [16] * 4)])
def test_an_epoch_shows_every_row_once_but_for_a_dropped_rest(last: str, sizes: list[int]) -> None:
    asked = protocol(last_batch=last)
    total = asked.total_steps(ROWS)
    steps = [*stream(views(), asked, total)]
    assert [number for _, number, _ in steps] == [*range(total)]
    for epoch in range(4):
        batches = [rows for e, _, rows in steps if e == epoch]
        assert [len(rows) for rows in batches] == sizes
        assert len(torch.cat(batches).unique()) == sum(sizes)
    assert not torch.equal(steps[0][2], steps[len(sizes)][2])


def test_a_remainder_of_one_row_is_never_a_batch() -> None:
    asked, part = protocol(), views(range(65))
    assert {len(rows) for _, _, rows in stream(part, asked, asked.total_steps(65))} == {16}


def test_all_methods_see_the_same_batches_and_progress_counts_the_budget() -> None:
    one, two = Plain(), Plain(asks=ALONE)
    train({"one": runner(one), "two": runner(two)})
    assert len(one.seen) == len(two.seen) == 20
    for a, b in zip(one.seen, two.seen, strict=True):
        assert a.inputs is b.inputs
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.target, a.index % 3)
    assert [round(float(b.progress), 6) for b in one.seen] == [round(i / 20, 6) for i in range(20)]


# The teacher ------------------------------------------------------------------------------------


def test_the_shared_teacher_is_asked_once_a_step_for_all_methods_with_the_same_anchor() -> None:
    teacher = Teacher()
    half = Plain(plan=(Stage(share=0.5, anchor=0.5), Stage(share=0.5)))
    none = Plain(asks=ALONE)
    train({"a": runner(), "b": runner(), "half": runner(half), "none": runner(none)}, teacher)
    assert sorted(teacher.asked) == [0.5] * 10 + [1.0] * 20


def test_anchors_teach_at_their_shares_of_the_budget() -> None:
    teacher = Teacher()
    route = Plain(plan=tuple(Stage(share=1 / 4, anchor=i / 4) for i in (1, 2, 3, 4)))
    train({"route": runner(route)}, teacher)
    assert teacher.asked == [0.25] * 5 + [0.5] * 5 + [0.75] * 5 + [1.0] * 5
    assert [batch.stage for batch in route.seen] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


def test_hints_that_another_method_asked_for_are_not_there() -> None:
    @dataclass(frozen=True)
    class Peeking(Plain):
        def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
            return {"hard": teacher.hints[0].mean()}

    _, failures = train(
        {"honest": runner(Regressing()), "peeking": runner(Peeking())}, fails=["peeking"]
    )
    assert "did not declare" in str(failures["peeking"])


def test_without_a_teacher_nothing_is_asked_and_its_logits_are_empty() -> None:
    @dataclass(frozen=True)
    class Alone(Plain):
        asks: Needs = ALONE

        def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
            assert teacher.logits.shape == (len(batch.inputs), 0)
            return super().loss(student, teacher, batch, state)

    def never(asked: Asked) -> Outputs:
        raise AssertionError("asked")

    train({"alone": runner(Alone())}, never)


# Updates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_loop_equals_torch_s_own_backward_over_ten_steps(
    optimizer: str, nesterov: bool, layout: torch.memory_format
) -> None:
    asked = protocol(
        steps=10, optimizer=optimizer, nesterov=nesterov, warmup=0.2, learning_rate=0.05
    )
    student = Net(seed=1).to(memory_format=layout)
    mine = copy.deepcopy(student)
    train({"one": runner(asked=asked, student=student, total=10)})
    if optimizer == "sgd":
        plain: Any = torch.optim.SGD(
            mine.parameters(),
            0.05,
            0.9,
            weight_decay=1e-3,
            nesterov=nesterov,
            foreach=False,
            fused=False,
        )
    else:
        plain = torch.optim.AdamW(
            mine.parameters(), 0.05, (0.9, 0.999), weight_decay=1e-3, foreach=False, fused=False
        )
    teacher, seen = Teacher(), views()
    mine.train()
    for epoch, number, rows in stream(seen, asked, 10):
        plain.param_groups[0]["lr"] = learning_rate(asked, number, 10)
        images = seen.batch(rows, epoch)
        logits = mine(images).logits
        loss = F.cross_entropy(logits, seen.labels[rows]) + F.mse_loss(
            logits, teacher(Asked(1.0, "running", images, rows, epoch, second=False)).logits
        )
        plain.zero_grad()
        loss.backward()
        plain.step()
    for ours, theirs in zip(weights(student), weights(mine), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_extra_weights_join_the_optimizer_and_move() -> None:
    one = runner(Regressing())
    before = weights(one.modules)
    assert len(before) == 2
    assert sum(w.numel() for w in one.extra_weights) == 4 * 4 + 4
    grouped = {id(w) for group in one.optimizer.param_groups for w in group["params"]}
    assert {id(w) for w in one.state.parameters()} <= grouped
    train({"one": one})
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(one.modules), strict=True))


def test_a_stage_may_train_the_state_alone() -> None:
    first = Regressing(plan=(Stage(share=0.5, trains="state"), Stage(share=0.5)))
    one, trail = runner(first), []
    train({"one": one}, after=lambda *_: trail.append([w.detach().clone() for w in one.weights]))
    ours = len(one.student_weights)
    start = [p.detach() for p in Net(seed=1).parameters()]
    assert same(trail[9][:ours], start)
    assert not same(trail[9][ours:], trail[0][ours:])
    assert not same(trail[10][:ours], start)


def test_a_restarted_stage_clears_momentum_and_begins_its_own_schedule() -> None:
    stages = (Stage(share=0.5), Stage(share=0.5, schedule="restart"))
    sizes: list[float] = []

    @dataclass(frozen=True)
    class Watching(Plain):
        def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
            momentum = [state["momentum_buffer"] for state in loop.optimizer.state.values()]
            sizes.append(sum(float(buffer.abs().sum()) for buffer in momentum))
            return super().step(loop, batch, state)

    asked = protocol(warmup=0.2)
    method = Watching(plan=stages)
    train({"one": runner(method, asked)})
    assert [size > 0 for size in sizes] == [False, *[True] * 9, False, *[True] * 9]
    assert method.rates[10:] == [learning_rate(asked, step, 10) for step in range(10)]
    assert method.rates[:10] == [learning_rate(asked, step, 20) for step in range(10)]


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.6), (1.0, 0.0), (1.5, -0.5)])
def test_shares_that_are_not_the_whole_budget_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ContractError, match=r"shares of stages\(\)"):
        runner(Plain(plan=tuple(Stage(share=share) for share in shares)))


def test_losses_are_the_means_of_the_last_epoch_by_term() -> None:
    @dataclass(frozen=True)
    class Counting(Plain):
        def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
            step = torch.round(batch.progress * 20)
            return {"hard": 0 * student.logits.sum() + step, "extra": torch.ones(())}

    losses, _ = train({"one": runner(Counting())})
    assert losses["one"] == pytest.approx({"hard": 17.0, "extra": 1.0})  # steps 15 to 19


def test_in_bfloat16_losses_and_weights_stay_in_float32() -> None:
    kinds = set()

    @dataclass(frozen=True)
    class Kinds(Plain):
        def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
            kinds.update({student.logits.dtype, teacher.logits.dtype})
            return super().loss(student, teacher, batch, state)

    one = runner(Kinds(), protocol(precision="bfloat16"))
    full = runner()
    losses, _ = train({"one": one})
    train({"one": full})
    assert kinds == {torch.float32}
    assert {p.dtype for p in one.weights} == {torch.float32}
    assert all(math.isfinite(value) for value in losses["one"].values())
    assert not same(weights(one.student), weights(full.student))
    gaps = [(a - b).abs().max() for a, b in zip(one.weights, full.weights, strict=True)]
    assert max(gaps) < 0.2


# Quiz and private teacher -----------------------------------------------------------------------


@dataclass(frozen=True)
class Quizzing(Plain):
    """Asks for a quiz batch every step, and moves its teacher."""

    asks: Needs = QUIZ
    quizzes: list[Batch] = field(default_factory=list)

    def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
        self.quizzes.append(loop.quiz_batch())
        loss = F.cross_entropy(loop.teacher(batch.inputs).logits, batch.target)
        loop.teacher_update(torch.autograd.grad(loss, [*loop.teacher.parameters()]), 0.01)
        return super().step(loop, batch, state)


def test_quiz_batches_come_from_the_quiz_rows_unaugmented_and_stream_batches_never_do() -> None:
    method, quiz = Quizzing(), views(range(56, ROWS), shift=0)
    train({"one": runner(method, quiz=quiz, private=Net(seed=9).eval())}, rows=range(56))
    assert all(set(batch.index.tolist()) <= set(range(56)) for batch in method.seen)
    shown = [set(batch.index.tolist()) for batch in method.quizzes]
    assert all(rows == set(range(56, ROWS)) for rows in shown)  # 14 rows are one batch
    for batch in method.quizzes[:3]:
        assert torch.equal(batch.inputs, quiz.plain(batch.index))
    assert not torch.equal(method.quizzes[0].index, method.quizzes[1].index)


def test_a_quiz_batch_is_of_the_stage_that_asks_for_it() -> None:
    method = Quizzing(plan=(Stage(share=0.5), Stage(share=0.5)))
    quiz = views(range(56, ROWS), shift=0)
    train({"one": runner(method, quiz=quiz, private=Net(seed=9).eval())}, rows=range(56))
    assert [batch.stage for batch in method.quizzes] == [batch.stage for batch in method.seen]
    assert {batch.stage for batch in method.quizzes} == {0, 1}


def test_without_some_rows_the_others_keep_their_order_and_their_views() -> None:
    whole, part = views(), views(range(56))
    kept = [row for row in whole.order(2).tolist() if row < 56]
    assert part.order(2).tolist() == kept
    rows = torch.tensor(kept[:8])
    assert torch.equal(whole.batch(rows, 2), part.batch(rows, 2))


def test_a_private_teacher_moves_in_its_own_trial_only() -> None:
    private, shared = Net(seed=9).eval(), Teacher()
    before = weights(shared.net)
    quiz = views(range(56, ROWS), shift=0)
    one = runner(Quizzing(), quiz=quiz, private=private)
    train({"one": one, "two": runner()}, shared, rows=range(56))
    assert same(before, weights(shared.net))
    assert not same(before, weights(private))
    alone = runner()
    train({"two": alone}, rows=range(56))
    again = runner()
    train(
        {"one": runner(Quizzing(), quiz=quiz, private=Net(seed=9).eval()), "two": again},
        rows=range(56),
    )
    assert same(weights(alone.student), weights(again.student))


@pytest.mark.parametrize(
    ("call", "said"), [("quiz_batch", "Needs(quiz="), ("teacher", 'Needs(teacher="private")')]
)
def test_what_was_not_declared_is_not_there(call: str, said: str) -> None:
    one = runner()
    with pytest.raises(ContractError) as error:
        getattr(one, call)() if call == "quiz_batch" else getattr(one, call)
    assert said in str(error.value)


# Lockstep ---------------------------------------------------------------------------------------


def test_a_runner_that_fails_leaves_alone_and_the_others_go_on_to_the_bit() -> None:
    @dataclass(frozen=True)
    class Failing(Plain):
        def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
            if len(self.seen) == 7:
                batch.inputs.zero_()
                batch.index.zero_()
                torch.manual_seed(0)
                raise RuntimeError("enough")
            return super().step(loop, batch, state)

    left, watched = [], []
    good, alone = runner(), runner()
    losses, failures = train(
        {"bad": runner(Failing()), "good": good},
        fails=["bad"],
        watch=lambda name, step: watched.append((name, step)),
        after=lambda done, active: left.append((done, [*active])),
    )
    train({"good": alone})
    assert {name: str(error) for name, error in failures.items()} == {"bad": "enough"}
    assert [*losses] == ["bad", "good"]  # means of the epoch before it failed
    assert same(weights(good.student), weights(alone.student))
    assert left == [(i, ["bad", "good"] if i < 8 else ["good"]) for i in range(1, 21)]
    assert watched[:4] == [("bad", 0), ("good", 0), ("bad", 1), ("good", 1)]
    assert ("bad", 8) not in watched


def test_when_all_have_left_the_stream_ends() -> None:
    @dataclass(frozen=True)
    class Failing(Plain):
        def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
            raise RuntimeError("no")

    done = []
    runners = {"a": runner(Failing()), "b": runner(Failing())}
    train(runners, fails=["a", "b"], after=lambda number, active: done.append(number))
    assert done == [1]


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_term_at_the_end_of_the_epoch() -> None:
    @dataclass(frozen=True)
    class Exploding(Plain):
        def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
            losses = super().loss(student, teacher, batch, state)
            return {**losses, "soft": losses["soft"] * (math.inf if batch.progress > 0.44 else 1)}

    _, failures = train({"one": runner(Exploding())}, fails=["one"])
    assert isinstance(failures["one"], Diverged)
    assert str(failures["one"]) == "the term 'soft' is inf before step 10"


def test_randomness_is_a_function_of_seed_and_step_whoever_draws_beside() -> None:
    @dataclass(frozen=True)
    class Drawing(Plain):
        drawn: list[float] = field(default_factory=list)
        times: int = 1

        def init(self, setup: Setup) -> Tensor:
            return torch.rand(3)

        def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
            self.drawn.extend(torch.rand(self.times).tolist()[:1])
            return super().loss(student, teacher, batch, state)

    alone, first, greedy = Drawing(), Drawing(), Drawing(times=100)
    one = runner(alone)
    train({"one": one})
    two = runner(first)
    train({"greedy": runner(greedy), "one": two})
    assert alone.drawn == first.drawn == greedy.drawn
    assert len(set(alone.drawn)) == 20
    assert torch.equal(one.state, two.state)
    other = Runner(Drawing(), Net(seed=1), setup(), protocol(), seed=4, total=20, device=CPU)
    assert not torch.equal(one.state, other.state)


def test_what_a_step_says_is_written_to_is_noticed() -> None:
    def touched(touch: Callable[[Batch, Outputs], Any]) -> bool:
        seen = views()
        step = Step(seen, torch.arange(4), 0, 0.0, Teacher())
        said = step.teacher(1.0, "running", False)
        assert not step.written
        touch(step.batch, said)
        return step.written

    assert touched(lambda batch, said: batch.inputs.add_(1))
    assert touched(lambda batch, said: batch.inputs[0, 0, 0].zero_())
    assert touched(lambda batch, said: batch.target.fill_(0))
    assert touched(lambda batch, said: batch.labelled.logical_not_())
    assert touched(lambda batch, said: batch.progress.zero_())
    assert touched(lambda batch, said: said.pooled.detach().relu_())
    assert touched(lambda batch, said: said.logits.requires_grad_())
    assert not touched(lambda batch, said: batch.inputs.clone().zero_())
    assert not touched(lambda batch, said: (said.logits + 1).relu())


def test_what_belongs_to_all_is_put_back_whatever_a_plugin_does() -> None:
    def upset() -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
        torch.set_float32_matmul_precision("high")

    with pytest.raises(ContractError, match=r"init\(\) changed global state"), guarded("init()"):
        upset()
    with pytest.raises(KeyError), guarded("step()"):
        upset()
        raise KeyError
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == 1
    assert torch.get_float32_matmul_precision() == "highest"


# The contract -----------------------------------------------------------------------------------


def test_a_state_is_a_tree_of_modules_tensors_and_optimizers() -> None:
    module, tensor = nn.Linear(1, 1), torch.zeros(1)
    optimizer = torch.optim.SGD(module.parameters())
    found = tensors_of({"a": [module, (tensor, None)], "b": {"c": optimizer}})
    assert found == ([module], [tensor], [optimizer])
    assert tensors_of(None) == ([], [], [])
    for wrong in (1, "a", [1.0], {"a": {module}}, lambda: None):
        with pytest.raises(ContractError, match="state holds a"):
            tensors_of(wrong)


@pytest.mark.parametrize(
    "wrong", [None, {}, "0.5", 0.5, torch.zeros(()), {"a": 0.5}, {"a": torch.zeros(1)}]
)
def test_losses_are_scalar_tensors_by_name(wrong: Any) -> None:
    with pytest.raises(ContractError):
        total_loss(wrong)
    assert float(total_loss({"a": torch.tensor(1.5), "b": torch.tensor(2.0)})) == 3.5


# Timing -----------------------------------------------------------------------------------------


def foreign(*loads: float | None) -> LoadMeter:
    """A meter that tells these loads of one round after the other, and the last from then on."""
    wall, busy = count(1.0), [1.0]
    # read when the meter is made, and at the start and the end of every round
    rounds = chain([0.0], *((0.0, load) for load in loads), cycle((0.0, loads[-1])))

    def sample() -> Sample:
        load = next(rounds)
        busy[0] += load or 0.0
        return Sample(next(wall), None if loads == (None,) else busy[0], 0.0)

    return LoadMeter(sample)


def timed(runners: dict[str, Runner], **options: Any) -> Any:
    teachers = {name: Teacher(one.needs.maps) for name, one in runners.items()}
    return interleave(
        runners, views(), teachers, **{"seconds": 0.0, "meter": foreign(None), **options}
    )


def test_rounds_have_every_phase_of_every_method_and_none_is_negative() -> None:
    quiz = views(range(56, ROWS), shift=0)
    runners = {
        "plain": runner(),
        "none": runner(Plain(asks=ALONE)),
        "hints": runner(Regressing()),
        "private": runner(Quizzing(), quiz=quiz, private=Net(seed=9).eval()),
    }
    rounds, failures = timed(runners)
    assert failures == {}
    assert len(rounds) == timing_module.ROUNDS.start == 6
    for one in rounds:
        assert [*one.blocks] == [*runners]
        for spent in one.blocks.values():
            assert spent.phases.keys() == set(PHASES)
            assert min(spent.phases.values()) >= 0
            used = ("data", "student", "backward", "update", "loss")
            assert all(spent.phases[name] > 0 for name in used)
            assert spent.cpu_ms > 0
            assert spent.steps == timing_module.FEW == 2
    asked, unasked = (
        min(one.blocks[name].phases["teacher"] for one in rounds) for name in ("plain", "none")
    )
    assert unasked < asked


def test_phases_never_overlap_and_what_none_of_them_has_is_told() -> None:
    @dataclass(frozen=True)
    class Dawdling(Plain):
        """Sleeps in its own code."""

        def loss(self, *given: Any) -> Losses:
            time.sleep(0.01)
            return super().loss(*given)

    one = runner(Dawdling())
    found = block(one, views(), Teacher(), spread(one.total, 4), lambda step: time.sleep(0.01))
    assert sum(found.phases.values()) <= found.wall_ms
    assert found.phases["loss"] > 10
    assert max(ms for name, ms in found.phases.items() if name != "loss") < found.phases["loss"]
    assert found.unaccounted * found.wall_ms > 10  # the watcher's sleep belongs to no phase
    assert found.cpu_ms < found.wall_ms - 20 + 1
    assert found.unaccounted == 1 - math.fsum(found.phases.values()) / found.wall_ms


def test_a_block_leaves_the_runner_s_own_clock_alone() -> None:
    one = runner()
    one.clock = kept = Clock()
    with kept.phase("cost"):
        block(one, views(), Teacher(), [0, 1])
    assert one.clock is kept
    assert [*kept.spent] == ["cost"]


def test_in_training_the_phases_of_all_runners_are_on_one_clock() -> None:
    clock, runners = Clock(), {"one": runner(), "hints": runner(Regressing())}
    for one in runners.values():
        one.clock = clock
    with clock.phase("loop"):
        start = clock.now()
        train(runners, clock=clock)
        whole = clock.now() - start
    assert clock.spent.keys() == {*PHASES, "loop"}
    assert sum(clock.spent.values()) == pytest.approx(whole, rel=0.02)


def test_a_round_visits_all_of_the_budget_stages_included() -> None:
    route = Plain(plan=tuple(Stage(share=1 / 4, anchor=i / 4) for i in (1, 2, 3, 4)))
    one, asked = runner(route), Teacher()
    interleave({"one": one}, views(), {"one": asked}, seconds=0.0, meter=foreign(None))
    assert asked.asked[:8] == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    assert len(asked.asked) == 8 * 7


def test_no_step_is_charged_with_drawing_the_views_of_a_whole_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn, real = [], Views._words

    def spying(self: Views, purpose: str, epoch: int) -> Any:
        drawn.append((purpose, epoch))
        return real(self, purpose, epoch)

    monkeypatch.setattr(Views, "_words", spying)
    timed({"one": runner(), "two": runner()})
    assert drawn.count(("views", 0)) == sum(purpose == "views" for purpose, _ in drawn) == 1


def test_a_method_that_fails_while_it_is_timed_leaves_alone() -> None:
    @dataclass(frozen=True)
    class Tired(Plain):
        def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
            if len(self.seen) == 15:
                raise RuntimeError("tired")
            return super().step(loop, batch, state)

    rounds, failures = timed({"tired": runner(Tired()), "good": runner()})
    assert {name: str(error) for name, error in failures.items()} == {"tired": "tired"}
    assert [[*one.blocks] for one in rounds] == [["good"]] * 6


def test_rounds_go_on_while_there_is_time_and_stop_at_the_last() -> None:
    rounds, _ = timed({"one": runner()}, seconds=1e9)
    assert len(rounds) == timing_module.ROUNDS.stop == 16
    assert {one.blocks["one"].steps for one in rounds} == {timing_module.POINTS} == {8}


def test_rounds_in_which_others_compute_are_repeated_until_six_are_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing_module, "TELLING", 0.0)
    meter = foreign(0.0, 1.0, 0.2, 0.4, 0.0)  # the first is of the warm-up
    rounds, _ = timed({"one": runner()}, meter=meter)
    assert [one.loud for one in rounds] == [True, False, True, False, False, False, False, False]
    assert rounds[0].foreign == 1.0


def test_where_others_never_stop_rounds_end_when_six_of_twelve_cannot_be_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing_module, "TELLING", 0.0)
    rounds, _ = timed({"one": runner()}, meter=foreign(1.0))
    assert [one.loud for one in rounds] == [True] * 7


def test_a_round_is_long_enough_for_the_system_s_ticks() -> None:
    one = runner()
    start = time.perf_counter()
    rounds, _ = timed({"one": one}, meter=foreign(0.0))
    spent = time.perf_counter() - start
    assert len(rounds) == 6
    lasted = [found.blocks["one"].wall_ms * found.blocks["one"].steps for found in rounds]
    assert 100 < sum(lasted) / len(lasted) <= 1e3 * spent / 6
    assert rounds[0].blocks["one"].steps % timing_module.FEW == 0
