"""Compiling is a choice of the question: who is compiled, how close it stays, in whose company."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdbench.api import Batch, Losses, Method, Needs, Outputs
from kdbench.cohort.rig import Rig
from kdbench.errors import DeviceError, ExitCode
from kdbench.leaderboard.words import training
from kdbench.record import TeacherProtocol, TrainingProtocol
from kdbench.testing.bench import Bench
from kdbench.train import Runner, compile_student, lockstep, set_compiler

SHARED = Needs()
NAME = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True)
class Learning(Method):
    """Cross-entropy and the teacher's logits."""

    weight: float = 1.0
    asks: Needs = SHARED

    def needs(self) -> Needs:
        return self.asks

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        soft = (student.logits - teacher.logits).square().mean()
        return {"hard": F.cross_entropy(student.logits, batch.target), "soft": self.weight * soft}


@dataclass(frozen=True)
class Own(Learning):
    """With a step of its own."""

    def step(self, loop: Any, batch: Batch, state: Any) -> Losses:
        return super().step(loop, batch, state)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for this module, and the environment as it was."""
    before, folder = os.environ.pop(NAME, None), tmp_path_factory.mktemp("cache")
    set_compiler(folder, torch.device("cpu"))
    yield folder
    os.environ.pop(NAME)
    os.environ.update({NAME: before} if before else {})


def rig(bench: Bench) -> Rig:
    """The bench's rig, of a question that asks for compiled students."""
    cohort = bench.rig.cohort
    asked = cohort.protocol.model_copy(update={"compile": "on"})
    return Rig(replace(cohort, protocol=asked), bench.rig.bench, bench.teacher)


def compiled(rig: Rig, method: Method) -> Runner:
    runner = rig.runner(method)
    compile_student(runner, rig.views)
    return runner


def trained(rig: Rig, **runners: Runner) -> None:
    teach = rig.teach(next(iter(runners.values())).needs.maps)
    _, failures = lockstep(runners, rig.views, rig.cohort.protocol, rig.total, teach)
    assert not failures


def weights(runner: Runner) -> list[Tensor]:
    return [value.clone() for value in runner.student.state_dict().values()]


def test_a_compiled_student_ends_close_to_the_eager_one_and_to_the_bit_where_it_did_alone(
    cache: Path,
) -> None:
    method = Learning()
    eager = Bench(method)
    asked = rig(eager)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    alone = compiled(asked, method)
    fresh = weights(eager.runner)
    # what was compiled before the first step has moved nothing
    for before, after in zip(fresh, weights(alone), strict=True):
        assert torch.equal(before, after)
    assert (alone.done, alone.updates, alone.notes) == (0, 0, [])
    assert alone.compile_seconds > 0
    assert any((cache / "compiled").iterdir())
    # each student's code is its own, but for what is the same for all
    beside = compiled(asked, method)
    others = {f"other{i}": compiled(asked, Learning(weight=float(i))) for i in range(9)}
    assert not torch.equal(state, torch.random.get_rng_state())  # by init, not by compiling
    eager.train()
    trained(asked, alone=alone)
    trained(asked, **others, beside=beside)
    stats = torch._dynamo.utils.counters["stats"]
    assert stats["unique_graphs"] == 1
    for one, other in zip(weights(alone), weights(beside), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(weights(alone), weights(eager.runner), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    moved = zip(fresh, weights(alone), strict=True)
    assert any(not torch.equal(before, after) for before, after in moved)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (Own(), "the method takes over the step"),
        (Learning(asks=Needs(preacts=True)), "maps that are caught on their way"),
        (Learning(asks=Needs(class_maps=True)), "maps that are caught on their way"),
    ],
)
def test_who_cannot_be_compiled_is_known_from_the_question_and_noted(
    method: Method, why: str
) -> None:
    bench = Bench(method)
    runner = compiled(rig(bench), method)
    (note,) = runner.notes
    assert note.startswith("the student is not compiled: ")
    assert why in note
    assert runner.listen is runner.student
    assert runner.compile_seconds == 0


def test_a_question_that_does_not_ask_for_it_says_nothing_of_it_and_boards_say_compiled() -> None:
    base = {"epochs": 1, "batch_size": 2, "learning_rate": 0.1}
    off, on = TrainingProtocol(**base), TrainingProtocol(**base, compile="on")
    assert "compile" not in off.model_dump(mode="json")
    assert on.model_dump(mode="json") == off.model_dump(mode="json") | {"compile": "on"}
    assert "compile" not in TeacherProtocol(**base).model_dump(mode="json")
    assert ", compiled, float32" in training(on)
    assert "compiled" not in training(off)


def test_a_missing_compiler_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    nowhere = {"cpp.cxx": (None, str(tmp_path / "none"))}
    with (
        torch._inductor.config.patch(nowhere),
        pytest.raises(DeviceError, match="no C\\+\\+ compiler") as caught,
    ):
        set_compiler(tmp_path, torch.device("cpu"))
    assert caught.value.exit_code == ExitCode.ENVIRONMENT


def test_a_cache_that_the_user_has_set_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(NAME, "elsewhere")
    set_compiler(tmp_path, torch.device("cpu"))
    assert os.environ[NAME] == "elsewhere"
