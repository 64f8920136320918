"""Cohorts and teachers that are put away and taken up: nothing is lost, doubled or different."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from kdbench.cohort import Workbench
from kdbench.errors import DataError
from kdbench.record import Environment, PutAway, Store, standing
from kdbench.teacher import folder
from kdbench.train import Runner

Planned = Callable[..., Any]
METHODS = ["scratch", "kd", "fitnet", "crd"]
CURVE = {"curve": 4, "validation_rows": 300, "split": "test"}


class Patience:
    """Late when asked so often; not for good, if the steps are many."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, seconds: float) -> bool:
        self.left -= math.isfinite(seconds)
        return seconds == math.inf or self.left <= 0


@pytest.fixture
def bench(tmp_path: Path, kdbench_bench: Any) -> Workbench:
    """With a store of its own, and the session's teachers."""
    return replace(kdbench_bench, store=Store(tmp_path / "store"))


@pytest.fixture
def cohort(kdbench_plan: Planned, kdbench_bench: Any) -> Any:
    """With its teacher, so that patience is with the cohort alone."""
    (made,) = kdbench_plan(methods=METHODS, evaluation=CURVE, teacher={"rows": 600}).cohorts
    kdbench_bench.train_teacher(*made.teachers, "")
    return made


def kept(bench: Workbench) -> list[Path]:
    return sorted((bench.store.root / "checkpoints").glob("*"))


def result(record: Any) -> Any:
    return record.status, record.deployed.weights, record.logits, record.curve, record.losses


def test_a_cohort_that_is_put_away_again_and_again_ends_in_the_same_bits_whoever_goes_on_with_whom(
    bench: Workbench, cohort: Any, kdbench_answer: Any
) -> None:
    whole = kdbench_answer(cohort, bench=bench)
    assert not kept(bench)
    bench.late = Patience(3)
    with pytest.raises(PutAway) as away:
        kdbench_answer(cohort, bench=bench)
    assert (away.value.where.step, away.value.where.share) == (3, 3 / 8)
    assert away.value.records == ()
    assert len(kept(bench)) == 4
    found = {}
    for trials in (cohort.trials[::2], cohort.trials[1::2]):
        half = replace(cohort, trials=trials)
        # in training, after it, before anything is timed, and before anything is measured
        for times, step in ((2, 5), (3, 8), (2, 8), (1, 8)):
            bench.late = Patience(times)
            with pytest.raises(PutAway) as away:
                kdbench_answer(half, bench=bench)
            assert away.value.where.step == step
        bench.late = lambda seconds: False
        found |= kdbench_answer(half, bench=bench)
    assert {name: result(record) for name, record in found.items()} == {
        name: result(record) for name, record in whole.items()
    }
    assert all(len(record.curve) == 4 for record in found.values())
    assert all(found[name].seconds.keys() == whole[name].seconds.keys() for name in whole)


def test_what_is_trained_is_put_away_before_it_is_measured_and_measured_if_there_is_time(
    bench: Workbench, cohort: Any, kdbench_answer: Any
) -> None:
    bench.late = Patience(100)
    records = kdbench_answer(cohort, bench=bench)
    assert {record.status for record in records.values()} == {"ok"}
    assert {standing(path).share for path in kept(bench)} == {1.0}  # type: ignore[union-attr]


def test_a_trial_that_fails_before_the_cohort_is_put_away_has_its_record_at_once(
    bench: Workbench, cohort: Any, kdbench_answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Runner.step

    def failing(self: Runner, step: Any) -> None:
        if self.done == 1 and self.needs.maps.hints:
            raise RuntimeError("no more")
        real(self, step)

    monkeypatch.setattr(Runner, "step", failing)
    bench.late = Patience(3)
    with pytest.raises(PutAway) as away:
        kdbench_answer(cohort, bench=bench)
    assert [(r.question.method, r.status) for r in away.value.records] == [("fitnet", "failed")]
    assert len(kept(bench)) == 3


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("alone", "different steps"),
        ("environment", "another one now"),
        ("torn", "cannot be read"),
    ],
)
def test_what_would_not_give_the_same_bits_starts_again_and_says_so(
    spoil: str, why: str, bench: Workbench, cohort: Any, kdbench_answer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    two = replace(cohort, trials=cohort.trials[:2])
    whole = kdbench_answer(two, bench=bench)
    bench.late = Patience(3)
    with pytest.raises(PutAway):
        kdbench_answer(two, bench=bench)
    told = list[str]()
    bench.late, bench.note = lambda seconds: False, told.append
    first, _ = kept(bench)
    if spoil == "alone":
        first.unlink()
    elif spoil == "torn":
        first.write_bytes(first.read_bytes()[:-50])
    else:
        monkeypatch.setattr(Environment, "group", property(lambda self: "another"))
    found = kdbench_answer(two, bench=bench)
    assert [result(record) for record in found.values()] == [result(r) for r in whole.values()]
    assert [why in note for note in told] == [True]


def test_a_trial_of_other_code_is_never_gone_on_with(
    bench: Workbench, cohort: Any, kdbench_answer: Any
) -> None:
    one = replace(cohort, trials=cohort.trials[:1])
    bench.late = Patience(3)
    with pytest.raises(PutAway):
        kdbench_answer(one, bench=bench)
    other = replace(one, trials=(replace(one.trials[0], code="0" * 64),))
    bench.late = Patience(2)
    with pytest.raises(PutAway) as away:
        kdbench_answer(other, bench=bench)
    assert away.value.where.step == 2
    assert len(kept(bench)) == 2
    bench.store.forget(one.trials[0].question.fingerprint)
    assert not kept(bench)


def test_a_teacher_that_is_put_away_is_the_same_teacher_with_the_same_anchors(
    tmp_path: Path, bench: Workbench, kdbench_plan: Planned
) -> None:
    asked = {"rows": 64, "anchors": 4, "epochs": 4}
    (job,) = kdbench_plan(methods=["kd"], teacher=asked, budget=1.0).cohorts[0].teachers
    folders = []
    for name, steps in (("whole", 10_000), ("parts", 3)):
        here = replace(bench, cache=tmp_path / name)
        folders.append(folder(job, here.cache))
        for _ in range(100):
            here.late = Patience(steps)
            try:
                here.train_teacher(job, "")
                break
            except PutAway as away:
                assert away.where.share < 1
                assert (folders[-1] / "checkpoint.safetensors").exists()
        assert not (folders[-1] / "checkpoint.safetensors").exists()
    one, two = ((home / "card.json").read_bytes() for home in folders)
    assert one == two
    assert one.count(b"0.") >= 3
    for anchor in folders[0].glob("anchor-*"):
        first, second = load_file(anchor), load_file(folders[1] / anchor.name)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_who_waits_for_another_process_s_teacher_leaves_when_it_is_late(
    tmp_path: Path, bench: Workbench, kdbench_plan: Planned
) -> None:
    (job,) = kdbench_plan(methods=["kd"], teacher={"rows": 64}).cohorts[0].teachers
    here = replace(bench, cache=tmp_path / "cache", late=lambda seconds: True)
    home = folder(job, here.cache)
    home.mkdir(parents=True)
    with FileLock(home / "lock"), pytest.raises(PutAway) as stopped:
        here.train_teacher(job, "")
    assert stopped.value.where.share == 0
    assert not (home / "checkpoint.safetensors").exists()
    here.late = lambda seconds: False
    here.train_teacher(job, "")
    assert (home / "card.json").exists()


def test_a_teacher_of_another_environment_starts_again_and_a_torn_one_is_said_to_be_torn(
    tmp_path: Path, bench: Workbench, kdbench_plan: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = kdbench_plan(methods=["kd"], teacher={"rows": 64}).cohorts[0].teachers
    told = list[str]()
    here = replace(bench, cache=tmp_path / "cache", note=told.append)
    away = folder(job, here.cache) / "checkpoint.safetensors"

    def steps(number: int) -> int:
        here.late = Patience(number)
        with pytest.raises(PutAway) as stopped:
            here.train_teacher(job, "")
        return int(stopped.value.where.step)

    assert [steps(3), steps(2)] == [3, 5]
    assert told == []
    with monkeypatch.context() as patch:
        patch.setattr(Environment, "group", property(lambda self: "another"))
        assert steps(2) == 2
    assert len(told) == 1
    assert "starts again" in told[0]
    assert steps(1) == 1
    away.write_bytes(away.read_bytes()[:-50])
    with pytest.raises(DataError, match="not what was written"):
        here.train_teacher(job, "")
    assert not away.exists()
