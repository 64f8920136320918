"""What a step costs: from rounds to figures, the memory of a method's own, and shared teachers."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from kdbench.api import Batch, Losses, Method, Needs, Outputs, Stage
from kdbench.cohort import cost
from kdbench.cohort.cost import costs, summarise
from kdbench.record import Cost
from kdbench.testing.bench import Bench, Case
from kdbench.train import PHASES, Block, Round
from kdbench.train import timing as timing_module

SHARED = Needs()
TINY = Case(rows=32, batch_size=8, steps=8)


def spent(wall: float, cpu: float | None = None, teacher: float = 0.0) -> Block:
    phases = dict.fromkeys(PHASES, 0.0) | {"teacher": teacher, "student": wall * 0.99 - teacher}
    return Block(wall_ms=wall, cpu_ms=cpu or wall, phases=phases, steps=8)


def turn(kd: float, scratch: float = 10.0, foreign: float | None = 0.0, **more: float) -> Round:
    return Round({"scratch": spent(scratch), "kd": spent(kd, **more)}, foreign)


def summed(rounds: list[Round], baseline: str | None = "scratch") -> dict[str, Any]:
    return summarise(rounds, baseline, batch_size=64)["kd"]


def test_overhead_pairs_method_and_baseline_within_a_round() -> None:
    # the machine is ten times slower in half of the rounds; the ratio is 1.5 throughout
    rounds = [turn(15.0 * slow, 10.0 * slow, teacher=4.0) for slow in (1, 10, 1, 10, 1, 10, 1)]
    found = summed(rounds)
    assert (found["overhead"], found["overhead_interval"]) == (1.5, (1.5, 1.5))
    assert found["step_ms"] == 15
    assert found["images_per_second"] == pytest.approx(64000 / 15)
    assert found["parts_ms"]["teacher"] == 4
    assert found["rounds"] == 7
    assert found["unaccounted"] == pytest.approx(0.01)
    theirs = summarise(rounds, "scratch", batch_size=64)["scratch"]
    assert (theirs["overhead"], theirs["overhead_interval"], theirs["cpu_overhead"]) == (
        1,
        (1, 1),
        1,
    )


def test_the_interval_of_the_overhead_holds_its_median_and_is_the_same_each_time() -> None:
    rounds = [turn(10.0 + i) for i in (3, 1, 4, 1, 5, 9, 2, 6)]
    one, two = summed(rounds), summed(rounds)
    assert one == two
    low, high = one["overhead_interval"]
    assert one["overhead"] == pytest.approx(1.35)
    assert 1.1 <= low < one["overhead"] < high <= 1.9


def test_five_rounds_support_no_interval_and_no_baseline_no_overhead() -> None:
    rounds = [turn(11.0)] * 5
    assert summed(rounds)["overhead_interval"] is None
    alone = summed(rounds, None)
    assert (alone["overhead"], alone["cpu_overhead"]) == (None, None)


def test_cpu_time_has_a_ratio_of_its_own() -> None:
    found = summed([turn(30.0, 10.0, cpu=12.0)] * 6)
    assert (found["overhead"], found["cpu_overhead"], found["cpu_ms"]) == (3, 1.2, 12)


def test_rounds_in_which_others_compute_are_left_out_and_counted() -> None:
    found = summed([turn(15.0, foreign=0.1)] * 6 + [turn(90.0, foreign=0.31)] * 5)
    assert (found["step_ms"], found["rounds"], found["discarded"]) == (15, 6, 5)
    assert (found["valid"], found["why_not"], found["foreign_load"]) == (True, "", 0.1)


def test_with_fewer_than_six_quiet_rounds_all_count_and_times_may_not_be_compared() -> None:
    found = summed([turn(15.0, foreign=0.0)] * 5 + [turn(20.0, foreign=1.0)] * 7)
    assert (found["step_ms"], found["rounds"], found["discarded"]) == (20, 12, 0)
    assert (found["valid"], found["why_not"]) == (False, "foreign load in 7 of 12 rounds")
    assert found["foreign_load"] == 1


def test_where_the_system_does_not_tell_nothing_is_discarded() -> None:
    found = summed([turn(15.0, foreign=None)] * 6)
    assert (found["valid"], found["discarded"], found["foreign_load"]) == (True, 0, None)


# The whole pass ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wide(Method):
    """Cross-entropy; holds so many MiB more during its loss."""

    mib: int = 0
    asks: Needs = SHARED
    anchor: float = 1.0

    def needs(self) -> Needs:
        return self.asks

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(anchor=self.anchor),)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        ballast = torch.zeros(self.mib * 2**18)
        return {"hard": F.cross_entropy(student.logits, batch.target) + ballast.sum()}


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells of other processes: what a round says does not depend on this machine's."""
    monkeypatch.setattr(timing_module.LoadMeter, "foreign", lambda self: None)
    monkeypatch.setattr(timing_module.LoadMeter, "tells", False)


def measured(
    *methods: Wide, taught: float = 0.8, tally: Any = None
) -> tuple[dict[str, Cost], dict[str, Exception]]:
    benches = [Bench(method, TINY) for method in methods]
    rig = benches[0].rig
    if tally:
        vars(rig)["recall"] = SimpleNamespace(tally=tally)
    runners = {str(place): bench.runner for place, bench in enumerate(benches)}
    return costs(rig, runners, 0.0, taught=taught)


def test_a_method_that_allocates_64_mib_more_takes_64_mib_more_whoever_is_beside_it() -> None:
    found, failures = measured(Wide(0), Wide(64), Wide(0), Wide(128))
    assert failures == {}
    none, some, again, more = (one.peak_memory_mb for one in found.values())
    assert more - some == 64
    assert some - none <= 64
    assert 0 < none == again
    (alone,) = measured(Wide(64))[0].values()
    assert alone.peak_memory_mb == some


def test_a_teacher_is_paid_whole_or_read_or_shared_by_those_who_asked_it() -> None:
    methods = Wide(), Wide(), Wide(asks=Needs(teacher="none")), Wide(asks=Needs(teacher="private"))
    tally = SimpleNamespace(read=64, reading=0.016)  # a row is read in a quarter of a millisecond
    found, _ = measured(*methods, taught=0.8, tally=tally)  # 8 steps, 100 ms each, by two methods
    for one in (found["0"], found["1"]):
        own = one.step_ms - one.parts_ms["teacher"]
        assert one.parts_ms["teacher"] > 0
        assert one.warm_ms == pytest.approx(own + 8 * 0.25)
        assert (one.amortised_ms, one.cells) == (pytest.approx(own + 50), 2)
    for one in (found["2"], found["3"]):
        assert (one.warm_ms, one.amortised_ms, one.cells) == (one.step_ms, one.step_ms, 1)


def test_what_was_not_kept_is_never_warm() -> None:
    live = measured(Wide())[0]["0"]
    assert (live.warm_ms, live.cells) == (None, 1)
    none_read = measured(Wide(), tally=SimpleNamespace(read=0, reading=0.0))[0]["0"]
    assert none_read.warm_ms is None
    young = measured(Wide(anchor=0.5), tally=SimpleNamespace(read=64, reading=1.0))[0]["0"]
    assert young.warm_ms is None
    assert young.amortised_ms is not None


def test_a_method_that_fails_when_its_memory_is_measured_has_no_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*given: Any) -> float:
        raise RuntimeError("not once more")

    monkeypatch.setattr(cost, "peak_memory_mb", refuse)
    found, failures = measured(Wide())
    assert found == {}
    assert str(failures["0"]) == "not once more"
