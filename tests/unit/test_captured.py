"""A replayed step does what the eager one does, and what a recording would freeze is not recorded.

Without a GPU the recording is a tape: it runs the same ATen operations on the same memory again,
as a CUDA graph does, and knows nothing of the host's part between them.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdbench.api import Batch, Losses, Method, Needs, Outputs, Setup, Stage
from kdbench.testing.bench import Bench
from kdbench.train.captured import Buffers, Captured
from kdbench.train.lanes import Lanes, tried

SYNCHRONOUS = {"_local_scalar_dense", "nonzero", "is_nonzero"}
MASKED = {"index", "index_put", "index_put_"}


class Tape(TorchDispatchMode):
    """A recording of operations; it refuses those for which a GPU's host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name in MASKED and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if masks or name in SYNCHRONOUS:
            raise RuntimeError(f"called a synchronizing operation, {func}")
        said = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, said))
        return said

    def capture(self, function: Callable[[bool], None]) -> None:
        function(False)
        with self:
            function(True)

    def replay(self) -> None:
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, said in self.done:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(said), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class Alone:
    """A lane of tapes, of which the first `crowded` fail for want of memory."""

    def __init__(self, crowded: int = 0, lanes: int = 1) -> None:
        self.era, self.tapes, self.replays = 0, list[Tape](), 0
        self.crowded, self.lanes = crowded, lanes

    def recording(self) -> Tape:
        if self.crowded:
            self.crowded -= 1
            raise torch.OutOfMemoryError
        self.tapes.append(Tape())
        return self.tapes[-1]

    def run(self, replay: Callable[[], None]) -> None:
        self.replays += 1
        replay()

    def narrow(self) -> bool:
        self.lanes //= 2
        self.era += self.lanes > 0
        return self.lanes > 0


@dataclass(frozen=True)
class Student(Method):
    """Cross-entropy, the teacher's logits and hints, a regressor with dropout and a warm-up."""

    plan: tuple[Stage, ...] = (Stage(),)

    def needs(self) -> Needs:
        return Needs(hints=True)

    def stages(self) -> tuple[Stage, ...]:
        return self.plan

    def init(self, setup: Setup) -> Any:
        ours, theirs = (port.hints[-1].channels for port in (setup.student, setup.teacher))
        return nn.Sequential(nn.Dropout(0.3), nn.Conv2d(ours, theirs, 1))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        gap = F.mse_loss(state(student.hints[-1]), teacher.hints[-1])
        soft = (student.logits - teacher.logits).square().mean()
        hard = F.cross_entropy(student.logits, batch.target)
        return {"hard": hard, "soft": batch.progress * soft, "hint": gap}


def bench(method: Method, **changes: Any) -> Bench:
    base = {"rows": 40, "batch_size": 16, "ragged": True, "steps": 12}
    return Bench(method, **{**base, **changes})


def captured(bench: Bench, lane: Alone | None = None) -> Alone:
    lane = lane or Alone()
    bench.runner.launch = Captured(bench.runner, Buffers(), lane)
    return lane


def values(bench: Bench) -> list[Tensor]:
    parts = bench.runner.student, bench.runner.modules
    return [value for part in parts for value in part.state_dict().values()]


def both(method: Method, **changes: Any) -> tuple[Bench, Bench, Alone]:
    """The method trained eagerly, and trained by replay."""
    eager, replayed = bench(method, **changes), bench(method, **changes)
    lane = captured(replayed)
    eager.losses, replayed.losses = eager.train(), replayed.train()
    return eager, replayed, lane


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_replayed_training_ends_where_the_eager_one_does(precision: str) -> None:
    eager, replayed, lane = both(Student(), precision=precision)
    # epochs of 16, 16 and 8 rows: the second full batch and the second ragged one are recorded
    assert len(lane.tapes) == 2
    assert lane.replays == 12 - 2
    assert replayed.runner.notes == []
    for one, other in zip(values(eager), values(replayed), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert replayed.losses == pytest.approx(eager.losses, rel=1e-5)


def test_every_stage_has_its_recording_and_a_restart_begins_anew() -> None:
    first = Stage(share=0.5, trains="state")
    plan = (first, Stage(share=0.5, schedule="restart"))
    eager, replayed, lane = both(Student(plan), ragged=False)
    assert len(lane.tapes) == 2
    for one, other in zip(values(eager), values(replayed), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_adamw_is_recorded_with_its_own_step_counter() -> None:
    @dataclass(frozen=True)
    class Adam(Student):
        def optimizer(self, parameters: Any, protocol: Any) -> Any:
            return torch.optim.AdamW(parameters, 1e-3, fused=True)

    eager, replayed, lane = both(Adam())
    assert lane.replays == 10
    assert not any(group["capturable"] for group in replayed.runner.optimizer.param_groups)
    for one, other in zip(values(eager), values(replayed), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class Masked(Student):
    """Takes the mean over the rows that a mask picks."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        rows = batch.target > 4
        return {"hard": F.cross_entropy(student.logits[rows], batch.target[rows])}


@dataclass(frozen=True)
class Hurried(Student):
    """Weighs by the host's copy of the progress."""

    def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
        student, _ = loop.forward(batch)
        hard = F.cross_entropy(student.logits, batch.target)
        return loop.descend({"hard": (1 + loop.progress) * hard})


@dataclass(frozen=True)
class Counting(Student):
    """Counts its steps in an attribute of its state."""

    def init(self, setup: Setup) -> Any:
        state = super().init(setup)
        state.steps = 0
        return state

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        state.steps += 1
        return {"hard": F.cross_entropy(student.logits, batch.target) * (1 + 1 / state.steps)}


@dataclass(frozen=True)
class Rebinding(Student):
    """Puts another tensor into its state at every step."""

    def init(self, setup: Setup) -> Any:
        return {"mean": torch.zeros(setup.num_classes)}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        state["mean"] = 0.9 * state["mean"] + 0.1 * student.logits.detach().mean(0)
        return {"gap": (student.logits - state["mean"]).square().mean()}


@dataclass(frozen=True)
class Frozen(Student):
    """Reads the host's clock of its own, which nobody can see but in the values."""

    calls: list[int] = field(default_factory=list)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        self.calls.append(1)
        hard = F.cross_entropy(student.logits, batch.target)
        return {"hard": hard * (1 + float(torch.rand(())))}


@dataclass(frozen=True)
class Drawn(Frozen):
    """As `Frozen`, by a number that no operation gives."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        self.calls.append(1)
        return {"hard": len(self.calls) * F.cross_entropy(student.logits, batch.target)}


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (Masked(), "synchronizing"),
        (Hurried(), "asks the host for progress"),
        (Counting(), "replaces 'steps'"),
        (Rebinding(), "replaces 'mean'"),
        (Frozen(), "synchronizing"),
    ],
)
def test_what_a_recording_would_freeze_stays_eager_to_the_bit_with_a_note(
    method: Student, why: str
) -> None:
    eager, replayed, lane = both(method)
    assert lane.replays == 0
    (note,) = replayed.runner.notes
    assert why in note
    for one, other in zip(values(eager), values(replayed), strict=True):
        assert torch.equal(one, other)
    assert replayed.losses == eager.losses


def test_a_recording_whose_values_differ_is_not_used() -> None:
    one = bench(Drawn())
    lane = captured(one)
    one.train()
    assert lane.replays == 0
    assert one.runner.notes == [
        "steps are launched one kernel at a time: a replayed step differs at progress 0.00"
    ]


def test_where_memory_runs_out_lanes_are_given_up_and_then_the_recording() -> None:
    one = bench(Student(), ragged=False)
    lane = captured(one, Alone(crowded=1, lanes=4))
    one.train()
    assert (lane.era, len(lane.tapes), one.runner.notes) == (1, 1, [])
    two = bench(Student(), ragged=False)
    lane = captured(two, Alone(crowded=9, lanes=4))
    two.train()
    assert (lane.era, lane.tapes) == (2, [])
    assert two.runner.notes == ["steps are launched one kernel at a time: out of memory"]


def test_recordings_of_an_earlier_era_are_made_again() -> None:
    one = bench(Student(), ragged=False, steps=8)
    lane = captured(one)
    one.train(last=4)
    lane.era += 1
    one.train()
    assert len(lane.tapes) == 2
    eager = bench(Student(), ragged=False, steps=8)
    eager.train()
    for first, second in zip(values(eager), values(one), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


def test_a_buffer_is_filled_once_for_all_who_ask_and_keeps_its_address() -> None:
    buffers, images = Buffers(), torch.rand(2, 3).t()
    first = buffers.holding("inputs", images)
    assert first is not images
    assert first.stride() == images.stride()
    version = first._version
    assert buffers.holding("inputs", images) is first
    assert first._version == version
    assert buffers.holding("inputs", images + 1) is first
    assert torch.equal(first, images + 1)
    assert buffers.holding("second", images) is not first


def test_the_fastest_setting_is_found_by_two_blocks_of_each() -> None:
    clock, cost = 0.0, {1: 3.0, 2: 1.0, 4: 2.0}
    used, first = [], True
    trial = tried([1, 2, 4], lambda: clock, wait=3, block=4)
    for _ in range(3 + 2 * 3 * 4 + 5):
        setting = next(trial)
        used.append(setting)
        slow = 50.0 if setting == 2 and first else 0.0  # one slow block does not decide
        first = first and setting != 4
        clock += cost[setting] + slow
    blocks = [setting for setting in (1, 2, 4, 1, 2, 4) for _ in range(4)]
    assert used == [1] * 3 + blocks + [2] * 5


def test_one_setting_needs_no_trial() -> None:
    def never() -> float:
        raise AssertionError

    trial = tried([1], never)
    assert [next(trial) for _ in range(50)] == [1] * 50


class Stream:
    """A stream that notes what waits for what."""

    made: list["Stream"]

    def __init__(self, *_: Any) -> None:
        self.waited: list[Stream] = []
        self.made.append(self)

    def wait_stream(self, other: "Stream") -> None:
        self.waited.append(other)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """The current stream, where torch's are such."""
    Stream.made, pools = [], count()
    current = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    return current


def test_graphs_that_share_memory_never_run_at_once_however_many_lanes_are_in_use(
    here: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    monkeypatch.setattr("kdbench.train.lanes.CudaGraph", lambda device, pool: pool)
    lanes = Lanes(torch.device("cuda"), 5, 8)
    assert lanes.width == 8
    for _ in range(400):
        streams = {}
        for place in range(12):  # more than asked for: all that a pool may be shared by
            before = [len(stream.waited) for stream in Stream.made]
            lanes.run(place, lambda: None)
            used = [s for s, n in zip(Stream.made, before, strict=True) if len(s.waited) > n]
            assert all(stream.waited[-1] is here for stream in used)  # behind what came before
            pool = lanes.graph(place)
            assert streams.setdefault(pool, used) == used
        seen.add(lanes.count)
        lanes.join()
        assert set(here.waited) >= set(Stream.made[1:])  # the step ends when all have ended
    assert seen == {1, 2, 4, 8}


def test_fewer_lanes_have_pools_of_their_own_until_one_is_left(here: Stream) -> None:
    lanes = Lanes(torch.device("cuda"), 4, 8)
    assert [lanes.narrow(), lanes.narrow(), lanes.narrow()] == [True, True, False]
    assert (lanes.width, lanes.count, lanes.era) == (1, 1, 2)
    lanes.run(3, lambda: None)  # one lane is the current stream
    assert not any(stream.waited for stream in Stream.made)
