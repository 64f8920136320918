"""What all pairing rests on: a trial's bits depend neither on what runs beside it nor on where."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdbench import engine
from kdbench.cohort import Workbench
from kdbench.data.decoded import pixels
from kdbench.record import PutAway, Record, Store

METHODS = ["scratch", "kd", "fitnet", "at", "rco", "metadistil"]
PLAIN = "resnet8:resnet8[width=0.25]"
DROPPING = "resnet8:resnet8[width=0.25,drop_rate=0.2,drop_path_rate=0.2]"
TIMED = dict.fromkeys(("created", "seconds", "cost", "attempt", "answers"), True)


def bits(record: Record) -> dict[str, Any]:
    """All of a record that may not depend on the hour, the neighbours or the machine's load."""
    assert record.status == "ok", record.failure
    assert record.deployed
    found = record.model_dump(exclude=TIMED | {"deployed": {"latency_ms", "throughput"}})
    assert len(found["deployed"]["weights"]) == len(found["logits"]) == 64
    return found


@pytest.fixture
def cohorts(kdbench_plan: Callable[..., Any]) -> Callable[..., Any]:
    def planned(*methods: str, pair: str = DROPPING, **changes: Any) -> Any:
        return kdbench_plan(methods=list(methods), pairs=[pair], **changes).cohorts

    return planned


@pytest.mark.parametrize("pair", [PLAIN, DROPPING])
def test_alone_among_others_and_in_reversed_order_a_method_has_the_same_bits(
    pair: str, cohorts: Callable[..., Any], kdbench_answer: Callable[..., Any]
) -> None:
    cohorts = partial(cohorts, pair=pair)
    together = {name: bits(record) for name, record in kdbench_answer(*cohorts(*METHODS)).items()}
    held_out = [f"{name} quiz 0.1" for name in ("scratch", "kd", "metadistil")]
    assert [*together] == [*METHODS[:5], *held_out]
    assert len({record["deployed"]["weights"] for record in together.values()}) == len(together)
    backwards = kdbench_answer(*cohorts(*METHODS[::-1]))
    assert {name: bits(record) for name, record in backwards.items()} == together
    for method in METHODS:
        alone = kdbench_answer(*cohorts(method))
        assert alone
        for name, record in alone.items():
            assert bits(record) == together[name], name


def test_every_method_has_the_same_bits_whoever_comes_before_it(
    cohorts: Callable[..., Any], kdbench_answer: Callable[..., Any], kdbench_registry: Any
) -> None:
    names = [e.name for e in kdbench_registry.entries if e.kind == "method"]
    forwards = kdbench_answer(*cohorts(*names, "at[weight=10]+kd", pair=PLAIN))
    backwards = kdbench_answer(*cohorts("at[weight=10]+kd", *names[::-1], pair=PLAIN))
    assert forwards.keys() == backwards.keys()
    assert len(forwards) > 50
    declined = {name for name, record in forwards.items() if record.status == "unsupported"}
    assert declined == {"timm_token"}  # a student with a distillation token is needed
    for name in forwards.keys() - declined:
        assert bits(forwards[name]) == bits(backwards[name]), name
        assert "trained again" not in forwards[name].cost.why_not  # none moves what belongs to all


def test_two_runs_from_nothing_have_the_same_bits_and_another_seed_has_others(
    tmp_path: Path, cohorts: Callable[..., Any], kdbench_answer: Callable[..., Any]
) -> None:
    def fresh(name: str, seed: int) -> dict[str, Record]:
        bench = Workbench(tmp_path / name, Store(tmp_path / name / "store"), torch.device("cpu"))
        found: dict[str, Record] = kdbench_answer(
            *cohorts("fitnet", "metadistil", seeds=[seed]), bench=bench
        )
        return found

    first, second, other = fresh("a", 0), fresh("b", 0), fresh("c", 1)
    for name, record in first.items():
        assert bits(record) == bits(second[name])
        assert record.deployed and other[name].deployed
        assert record.deployed.weights != other[name].deployed.weights
        assert record.logits != other[name].logits
        assert record.teacher == other[name].teacher  # one shared teacher


def in_memory(*asked: Any) -> tuple[np.ndarray[Any, Any], str]:
    """Pixels that no file is behind."""
    mapped, digest = pixels(*asked)
    assert isinstance(mapped, np.memmap)
    return np.array(mapped), digest


@pytest.mark.parametrize("way", ["asked live", "decoded and asked anew", "in memory", "put away"])
def test_however_it_comes_by_pixels_and_answers_and_in_how_many_parts_a_trial_has_the_same_bits(
    way: str,
    tmp_path: Path,
    cohorts: Callable[..., Any],
    kdbench_answer: Callable[..., Any],
    kdbench_bench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (cohort,) = cohorts("kd")
    usual = kdbench_answer(cohort)["kd"]
    assert usual.answers["kept"] == 1
    bench = Workbench(tmp_path, Store(tmp_path / "store"), torch.device("cpu"))
    shutil.copytree(kdbench_bench.cache / "teachers", tmp_path / "teachers")
    if way == "asked live":
        (cohort,) = cohorts("kd", limits={"answers_gb": 0.0})
    if way == "in memory":
        monkeypatch.setattr("kdbench.data.split.pixels", in_memory)
    if way == "put away":
        steps = iter([False, False, True])
        bench.late = lambda seconds: next(steps, False)
        with pytest.raises(PutAway) as away:
            kdbench_answer(cohort, bench=bench)
        assert 0 < away.value.where.step < 8
        bench.late = lambda seconds: False
    found = kdbench_answer(cohort, bench=bench)["kd"]
    assert found.answers.get("live", 0) == (way == "asked live")
    assert bits(found) == bits(usual)


def test_in_one_worker_in_two_and_in_this_process_a_trial_has_the_same_bits(
    tmp_path: Path,
    kdbench_registry: Any,
    kdbench_suite: Any,
    cohorts: Callable[..., Any],
    kdbench_answer: Callable[..., Any],
    kdbench_silence: Any,
) -> None:
    suite = kdbench_suite(methods=["kd"], pairs=[DROPPING], seeds=[0, 1])
    found = {}
    for workers in (1, 2):
        store = Store(tmp_path / str(workers))
        run = engine.run(suite, kdbench_registry, store, kdbench_silence, workers=workers)
        assert len(run.records) == len(store.records()) == 2
        found[workers] = {record.question.seed: bits(record) for record in run.records}
    here = {s: bits(kdbench_answer(*cohorts("kd", seeds=[s]))["kd"]) for s in (0, 1)}
    assert found[1] == found[2] == here
