"""Where cohorts run: nothing twice, nothing that another is at; one error does not end the rest."""

import json
import math
import pickle
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench import engine
from kdbench.engine import Bug, Until
from kdbench.engine.bench import Bench, Crash
from kdbench.engine.queue import Queue, level
from kdbench.engine.resident import _device, work
from kdbench.engine.schedule import Schedule
from kdbench.engine.turn import Turns
from kdbench.engine.worker import Worker
from kdbench.errors import DataError, DeviceError, ExitCode, UsageError
from kdbench.plan import Cohort
from kdbench.record import Standing, Store, standing
from kdbench.suite import Limits

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


def test_what_was_left_to_a_run_that_is_gone_is_tried_once_more_and_what_it_did_is_not(
    tmp_path: Path, run: Callable[..., Any], kdbench_plan: Callable[..., Any], kdbench_silence: Any
) -> None:
    store = Store(tmp_path / "store")
    freed, done, held, _ = kdbench_plan(methods=["scratch", "kd", "at", "dkd"], steps=2).trials
    claims = {one.spec.name: ExitStack() for one in (freed, done, held)}
    for one in (freed, done, held):
        assert claims[one.spec.name].enter_context(store.claim(one.question.fingerprint))

    def told(record: Any) -> None:  # the other run fails at one, and is killed at another
        if record.question.method == "dkd":
            where = kdbench_silence.records[0].environment
            store.add(done.record("digits", "failed", where))
            claims["kd"].close()
            claims["scratch"].close()

    kdbench_silence.record = lambda record: (kdbench_silence.records.append(record), told(record))
    ran = run(["scratch", "kd", "at", "dkd"])
    assert [record.question.method for record in ran.records] == ["dkd", "scratch"]
    assert ran.claimed == 1
    claims["at"].close()
    assert sorted((r.question.method, r.status) for r in store.records()) == [
        ("dkd", "ok"), ("kd", "failed"), ("scratch", "ok"),
    ]  # fmt: skip


def test_a_device_that_is_not_there_is_what_a_worker_says_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = Pipe()
    work(theirs, [0.0] * 3, Bench(tmp_path, tmp_path, "cuda"), Turns.among(1, tmp_path), 0)
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
    work(theirs, [0.0] * 3, Bench(tmp_path, tmp_path, "cpu"), Turns.among(1, tmp_path), 0)
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
        work(theirs, [0.0] * 3, Bench(tmp_path, tmp_path, "cpu"), Turns.among(1, tmp_path), 0)


def test_a_bug_of_our_own_is_told_as_one_with_its_trace() -> None:
    bug = Bug(Crash("KeyError", "'x'", "Traceback ..."))
    assert bug.exit_code == ExitCode.BUG
    assert bug.trace == "Traceback ..."
    assert "this is a bug of kdbench" in str(pickle.loads(pickle.dumps(bug)))


def test_there_is_at_least_one_core() -> None:
    assert engine.cores() >= 1


# What waits, and how it is shared --------------------------------------------------------------


PAIRS = tuple(f"{teacher}:resnet8[width={width}]"
              for teacher in ("resnet8", "resnet14") for width in (0.25, 0.5))  # fmt: skip


def test_a_worker_stays_with_its_teacher_then_joins_another_s_and_then_takes_a_new_one(
    kdbench_plan: Any,
) -> None:
    made = kdbench_plan(methods=["kd"], pairs=PAIRS, seeds=[0, 1])
    cohorts, teachers = made.work(), made.teachers(made.work())
    queue = Queue(teachers, cohorts)
    first, second = (queue.next((), ()) for _ in range(2))
    assert first and second and [first.work, second.work] == [*teachers]
    assert queue.next((), ()) is None  # neither teacher is there
    queue.came(teachers[1])
    one, two = cohorts[0].taught_by, cohorts[-1].taught_by

    def taken(last: Any = (), others: Any = ()) -> Any:
        task = queue.next(last, others)
        return task and task.taught_by

    assert taken(one, [one]) == two  # the other's cohorts wait for their teacher
    queue.came(teachers[0])
    assert taken() == one
    assert taken(two, [one]) == two
    assert taken((), [two]) == two
    assert taken((), [two]) == two
    assert taken((), [two]) == one
    assert len(queue) == 2


def test_who_waits_for_a_teacher_that_is_lost_is_let_go(kdbench_plan: Any) -> None:
    made = kdbench_plan(methods=["kd"])
    (job,) = made.teachers(made.work())
    queue, error = Queue([job], made.work()), DataError("no", "never", "give up")
    queue.next((), ())
    queue.lose(job, error)
    task = queue.next((), ())
    assert task
    assert queue.lost(task.work.teachers) is error


def test_trials_that_stand_at_different_steps_are_tasks_of_their_own(
    tmp_path: Path, kdbench_plan: Any
) -> None:
    (cohort,) = kdbench_plan(methods=["kd", "scratch", "at", "fitnet"]).work()
    store = Store(tmp_path)
    assert level([cohort], store) == [cohort]
    for place, step in ((0, 3), (1, 5), (3, 3)):
        trial = cohort.trials[place]
        path = store.checkpoint(trial.question.fingerprint, trial.code)
        path.parent.mkdir(exist_ok=True)
        where = {"standing": json.dumps(asdict(Standing(step, 8, "e", "t")))}
        head = json.dumps({"__metadata__": where}).encode()
        path.write_bytes(len(head).to_bytes(8, "little") + head)
    assert [[trial.spec.name for trial in part.trials] for part in level([cohort], store)] == [
        ["kd", "fitnet"], ["scratch"], ["at"],
    ]  # fmt: skip


def test_a_cohort_that_two_workers_share_has_the_results_of_one_that_one_worker_trains(
    tmp_path: Path, kdbench_suite: Any, kdbench_registry: Any, kdbench_silence: Any
) -> None:
    suite = kdbench_suite(methods=["scratch", "kd", "fitnet"], steps=4)
    found = []
    for workers in (1, 2):
        store, seen = Store(tmp_path / str(workers)), set[int]()
        kdbench_silence.tick = lambda all_, seen=seen: seen.update(one.trials for one in all_)
        engine.run(suite, kdbench_registry, store, kdbench_silence, workers=workers)
        found.append({
            r.question.method: (r.deployed.weights, r.logits)
            for r in store.records()
            if r.deployed
        })  # fmt: skip
        assert seen - {0} == ({3} if workers == 1 else {1, 2})
    assert len(found[0]) == 3
    assert found[0] == found[1]


# When the time is over --------------------------------------------------------------------------


def test_when_the_time_is_over_nothing_is_begun(run: Callable[..., Any]) -> None:
    ran = run(["kd"], until=Until(time.monotonic(), math.inf))
    assert (ran.late, ran.records) == (True, ())
    assert not run(["kd"]).late


def test_a_cohort_is_put_away_and_the_next_run_goes_on_with_it(
    tmp_path: Path, run: Callable[..., Any], kdbench_silence: Any
) -> None:
    told = list[str]()
    kdbench_silence.note = told.append
    store, checkpoints = Store(tmp_path / "store"), tmp_path / "store" / "checkpoints"

    real = Schedule._hand_out

    def hurrying(self: Schedule) -> None:
        real(self)
        if any(isinstance(one.task.work, Cohort) for one in self.workers if one.task):
            self.turns.until.value = 0.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Schedule, "_hand_out", hurrying)
        ran = run(["scratch", "kd"])
    assert (ran.late, ran.records, len(store.records())) == (True, (), 0)
    assert len([*checkpoints.iterdir()]) == 2
    assert [note.split(" is ")[-1] for note in told] == ["put away at 50%"]
    assert [r.status for r in run(["scratch", "kd"]).records] == ["ok", "ok"]
    assert not [*checkpoints.iterdir()]


def test_who_is_not_back_at_the_end_is_ended_and_its_trials_stay_open(
    tmp_path: Path, run: Callable[..., Any], kdbench_silence: Any
) -> None:
    told = list[str]()
    kdbench_silence.note = told.append
    ran = run(["kd"], until=Until(math.inf, time.monotonic()))
    assert (ran.late, ran.records) == (True, ())
    assert [note.split(" was ")[-1] for note in told] == ["ended, because the time is over"]
    assert [r.status for r in run(["kd"]).records] == ["ok"]


@pytest.mark.parametrize(("seconds", "reserve"), [(10.0, 1.0), (540.0, 30.0), (7200.0, 30.0)])
def test_a_budget_leaves_time_to_tell_what_came_out(seconds: float, reserve: float) -> None:
    until = Until.budget(seconds, 100.0)
    assert until.away == pytest.approx(100 + seconds - reserve)
    assert until.end == pytest.approx(100 + seconds - reserve / 2)


def test_where_it_is_not_plain_whose_memory_it_is_trials_are_run_in_halves_until_one_is_alone(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["scratch"])  # its teacher is there
    together: list[int] = []

    def weighed(worker: Worker, every: float) -> tuple[int, int]:
        if not isinstance(worker.task.work, Cohort):
            return 0, 0
        together.append(len(worker.task.work.trials))
        return 10**15, 0

    monkeypatch.setattr(Worker, "weigh", weighed)
    found = run(["kd", "fitnet", "at"], limits=Limits(memory_gb=2))
    assert {r.question.method: r.status for r in found.records} == dict.fromkeys(
        ["kd", "fitnet", "at"], "oom"
    )
    assert {r.failure.message.partition(": ")[2] for r in found.records} == {
        "took more than 2 GB of memory"
    }
    assert sorted(together) == [1, 1, 1, 2, 3]


def test_a_signal_has_what_is_in_training_put_away_and_is_told_when_that_is_done(
    tmp_path: Path, kdbench_suite: Any, kdbench_registry: Any, kdbench_silence: Any
) -> None:
    notes: list[str] = []
    kdbench_silence.note = notes.append
    kdbench_silence.tick = lambda workers: (
        signal.raise_signal(signal.SIGINT)
        if not notes and any(doing.trials and doing.share > 0.02 for doing in workers)
        else None
    )
    suite = kdbench_suite(methods=["scratch", "kd"], steps=2000)
    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        engine.run(suite, kdbench_registry, store, kdbench_silence, workers=1)
    assert notes[0] == "putting away what is in training; once more to leave at once"
    assert "is put away at" in notes[1]
    standings = {standing(path) for path in (tmp_path / "store" / "checkpoints").iterdir()}
    (where,) = standings
    assert where
    assert 0.02 < where.share < 1
    assert kdbench_silence.records == []
