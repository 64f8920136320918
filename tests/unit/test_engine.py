"""Where cohorts run: nothing twice, nothing that another is at; one error does not end the rest."""

import pickle
import signal
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench import engine
from kdbench.engine import Bug
from kdbench.engine.turn import Turns
from kdbench.engine.worker import Bench, Crash, _device, _work
from kdbench.errors import DataError, DeviceError, ExitCode, UsageError
from kdbench.record import Store

STUDENT = "resnet8[width=0.25]"


@pytest.fixture
def run(
    tmp_path: Path, kdbench_suite: Any, kdbench_registry: Any, kdbench_silence: Any
) -> Callable[..., Any]:
    def ran(
        methods: list[str], pairs: tuple[str, ...] = (f"resnet8:{STUDENT}",), **options: Any
    ) -> Any:
        suite = kdbench_suite(methods=methods, pairs=pairs, steps=2)
        store = Store(tmp_path / "store")
        return engine.run(suite, kdbench_registry, store, kdbench_silence, workers=1, **options)

    return ran


def test_what_is_answered_is_not_asked_again_and_what_failed_only_on_request(
    tmp_path: Path, run: Callable[..., Any], kdbench_silence: Any
) -> None:
    plans: list[Any] = []
    methods = ["kd", "rco[anchors=3]"]
    first = run(methods, started=plans.append)
    assert [(str(r.question.method), r.status) for r in first.records] == [
        ("kd", "ok"), ("rco", "unsupported"),
    ]  # fmt: skip
    assert plans == [first.plan]
    assert [*first.records] == kdbench_silence.records
    assert len(kdbench_silence.teachers) == 1
    assert first.bad == first.records[1:]
    assert run(methods).records == ()
    (again,) = run(methods, retry=True).records
    assert (again.question.method, again.attempt) == ("rco", 2)
    assert len(Store(tmp_path / "store").records()) == 3
    assert not [*(tmp_path / "store").rglob(".*.part")]


def test_a_trial_that_another_run_is_at_is_left_to_it_and_a_bad_pair_does_not_end_the_others(
    tmp_path: Path, run: Callable[..., Any], kdbench_plan: Callable[..., Any], kdbench_silence: Any
) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    pairs = (f"resnet8[checkpoint={bad}]:{STUDENT}", f"resnet8:{STUDENT}")
    (other,) = kdbench_plan(methods=["scratch"], steps=2).trials
    store = Store(tmp_path / "store")
    with store.claim(other.question.fingerprint) as ours:
        assert ours
        with pytest.raises(DataError, match=r"bad.safetensors cannot be read as weights"):
            run(["scratch", "kd"], pairs)
    assert [(r.question.method, r.question.teacher) for r in store.records()] == [("kd", "resnet8")]
    with store.claim(other.question.fingerprint):
        assert run(["scratch", "kd"]).claimed == 1
    assert [r.question.method for r in run(["scratch", "kd"]).records] == ["scratch"]


def test_a_device_that_is_not_there_is_what_a_worker_says_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = Pipe()
    _work(theirs, [0.0] * 3, Bench(tmp_path, tmp_path, "cuda"), Turns.among(1, tmp_path), 0)
    said = ours.recv()
    assert isinstance(said, DeviceError)
    assert said.what == "no CUDA device is available"


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cuda:-1", "", "CPU"])
def test_a_device_that_kdbench_does_not_know_is_refused_before_anything_runs(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no device"):
        Bench(tmp_path, tmp_path, name)


def test_a_device_beyond_those_that_there_are_is_what_a_worker_says_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _device("cuda") == torch.device("cuda")
    assert _device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match=r"no CUDA device 2"):
        _device("cuda:2")


def test_a_worker_that_cannot_begin_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: torch.device) -> None:
        raise RuntimeError(f"{device} is odd")

    monkeypatch.setattr("kdbench.cohort.environment", broken)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = Pipe()
    _work(theirs, [0.0] * 3, Bench(tmp_path, tmp_path, "cpu"), Turns.among(1, tmp_path), 0)
    said = ours.recv()
    assert isinstance(said, Crash)
    assert (said.kind, said.message) == ("RuntimeError", "cpu is odd")
    assert "Traceback" in said.trace


def test_a_worker_whose_parent_is_gone_ends_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for goodbye in (False, True):
        ours, theirs = Pipe()
        if goodbye:
            ours.send(None)
        ours.close()
        _work(theirs, [0.0] * 3, Bench(tmp_path, tmp_path, "cpu"), Turns.among(1, tmp_path), 0)


def test_a_bug_of_our_own_is_told_as_one_with_its_trace() -> None:
    bug = Bug(Crash("KeyError", "'x'", "Traceback ..."))
    assert bug.exit_code == ExitCode.BUG
    assert bug.trace == "Traceback ..."
    assert "this is a bug of kdbench" in str(pickle.loads(pickle.dumps(bug)))


def test_there_is_at_least_one_core() -> None:
    assert engine.cores() >= 1
