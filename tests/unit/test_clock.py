"""Where the time goes: exclusive phases, and the cores that others use meanwhile."""

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import pytest
import torch

from kdbench.train import Clock, LoadMeter, load
from kdbench.train.load import Sample, busy, foreign_load, sample


def ticking() -> Clock:
    """A clock on which a millisecond passes whenever it is read."""
    ticks = count()
    return Clock(now=lambda: float(next(ticks)))


def test_a_phase_inside_of_another_pauses_it() -> None:
    clock = ticking()
    with clock.phase("loss"):  # 0
        with clock.phase("student"):  # 1 to 2
            pass
        with clock.phase("backward"), clock.phase("loss"):  # 3, 4 to 5, 6
            pass
    assert clock.spent == {"loss": 4, "student": 1, "backward": 2}
    assert sum(clock.spent.values()) == clock.now() - 1  # all that passed from 0 to the end, at 7


def test_a_phase_left_by_an_exception_is_charged_and_closed() -> None:
    clock = ticking()
    with pytest.raises(KeyError), clock.phase("loop"), clock.phase("loss"):
        raise KeyError
    assert clock.spent == {"loss": 1, "loop": 2}
    with clock.phase("measure"):
        pass
    assert clock.spent == {"loss": 1, "loop": 2, "measure": 1}


def test_a_clock_without_a_device_waits_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    gpu = torch.device("cuda", 1)
    for clock in (Clock(), Clock(torch.device("cpu"))):
        with clock.phase("student"):
            pass
    assert waited == []
    with Clock(gpu).phase("student"):
        pass
    assert waited == [gpu, gpu]


def test_a_phase_costs_next_to_nothing() -> None:
    clock = Clock()
    start = time.process_time()
    for _ in range(10_000):
        with clock.phase("student"):
            pass
    assert (time.process_time() - start) / 10_000 < 20e-6


# Foreign load -----------------------------------------------------------------------------------


def test_what_this_process_computed_is_not_foreign() -> None:
    before = Sample(wall=10.0, busy=100.0, own=3.0)
    assert foreign_load(before, Sample(12.0, 103.0, 5.0)) == 0.5
    assert foreign_load(before, Sample(12.0, 102.0, 5.0)) == 0.0
    assert foreign_load(before, Sample(12.0, 101.9, 5.0)) == 0.0  # ticks are coarse


def test_where_the_system_does_not_tell_there_is_no_foreign_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "_STAT", load.Path("/nowhere/stat"))
    meter = LoadMeter()
    assert not meter.tells
    assert meter.foreign() is None


def test_only_cpus_that_this_process_may_use_count_and_idling_does_not() -> None:
    lines = [
        "cpu  9 9 9 9 9 9 9 9 9 9",
        "cpu0 1 2 4 1000 1000 8 16 32 64 64",
        "cpu1 9 9 9 9 9 9 9 9",
    ]
    assert busy(lines, {0}) == (1 + 2 + 4 + 8 + 16 + 32) / load._TICKS
    assert busy(lines, {0, 1}) == (63 + 6 * 9) / load._TICKS
    assert busy(lines, {0, 2}) is None
    assert busy(["cpu0 0 0 0 0 0 0 0 0"], {0}) is None  # a system that counts nothing


@pytest.fixture
def neighbour() -> Iterator[None]:
    """A process that keeps a core busy."""
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    )
    assert child.stdout
    child.stdout.readline()
    try:
        yield
    finally:
        child.kill()
        child.communicate()


@pytest.mark.skipif(sample().busy is None, reason="the system does not tell what its CPUs do")
def test_a_busy_neighbour_is_foreign_load(neighbour: None) -> None:
    meter = LoadMeter()
    time.sleep(0.5)
    assert (meter.foreign() or 0.0) > load.LOUD
