"""Workers park while one of them measures, and nobody waits for the dead."""

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from kdbench.engine import turn as turns_module
from kdbench.engine.turn import BUSY, IDLE, MEASURING, PARKED, Turn, Turns

if TYPE_CHECKING:
    from kdbench.cohort import Workbench

LONG = 60.0


pytestmark = pytest.mark.usefixtures("kdbench_importable")


@pytest.fixture
def turns(tmp_path: Path) -> Turns:
    (tmp_path / "claims").mkdir()
    return Turns.among(2, tmp_path)


def part(turns: Turns, place: int, crumb: Any = None, clock: Any = None) -> Turn:
    clock = clock or SimpleNamespace(phase=lambda name: nullcontext())
    bench = cast("Workbench", SimpleNamespace(clock=clock))
    return Turn(turns, place, [0.0] * 3 if crumb is None else crumb, bench)


def until(what: Callable[[], bool]) -> None:
    """Wait for it."""
    start = time.monotonic()
    while not what():
        assert time.monotonic() - start < LONG, "it never came"
        time.sleep(0.01)


def _measuring(turns: Turns, place: int, release: Any) -> None:
    """A worker that measures until it is told to stop."""
    one = part(turns, place)
    with one.busy(), one.quiet():
        while not release[0]:
            time.sleep(0.01)


def _training(turns: Turns, place: int, crumb: Any, steps: Any) -> None:
    """A worker that takes steps for ever."""
    one = part(turns, place, crumb)
    watch = one.watch({"kd": 3})
    with one.busy():
        while True:
            watch("kd", steps[0])
            steps[0] += 1
            time.sleep(0.001)


@contextmanager
def running(target: Callable[..., None], *given: Any) -> Iterator[BaseProcess]:
    process = mp.get_context("forkserver").Process(target=target, args=given, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_while_one_measures_another_parks_with_a_fresh_breadcrumb_and_then_goes_on(
    turns: Turns,
) -> None:
    crumb, steps = RawArray("d", 3), RawArray("i", 1)
    one = part(turns, 0)
    with running(_training, turns, 1, crumb, steps):
        until(lambda: steps[0] > 3)
        with one.busy(), one.quiet():
            assert [*turns.places] == [MEASURING, PARKED]
            parked_at = steps[0]
            assert crumb[0] == 3  # whom to blame is still known
            time.sleep(0.3)
            assert steps[0] == parked_at
            assert time.monotonic() - crumb[2] < 0.2
        until(lambda: steps[0] > parked_at + 3)
        assert turns.places[1] == BUSY
    assert turns.places[0] == IDLE


@pytest.mark.parametrize("buried", [False, True])
def test_when_who_measures_is_killed_the_others_go_on(turns: Turns, buried: bool) -> None:
    crumb, steps, release = RawArray("d", 3), RawArray("i", 1), RawArray("b", 1)
    with running(_training, turns, 1, crumb, steps):
        until(lambda: steps[0] > 3)
        with running(_measuring, turns, 0, release) as measuring:
            until(lambda: [*turns.places] == [MEASURING, PARKED])
            os.kill(measuring.pid or 0, signal.SIGKILL)
            measuring.join()
        if buried:
            turns.left(0)
        parked_at = steps[0]
        until(lambda: steps[0] > parked_at + 3)
        # and somebody else can measure
        one = part(turns, 0)
        with one.busy(), one.quiet():
            assert [*turns.places] == [MEASURING, PARKED]


def test_who_wants_to_measure_waits_its_turn_parked(turns: Turns) -> None:
    release, later = RawArray("b", 1), RawArray("b", 1)
    with running(_measuring, turns, 0, release), running(_measuring, turns, 1, later):
        until(lambda: sorted(turns.places) == [PARKED, MEASURING])
        first = [*turns.places].index(MEASURING)
        (release, later)[first][0] = 1
        until(lambda: turns.places[1 - first] == MEASURING)
        (release, later)[1 - first][0] = 1
        until(lambda: [*turns.places] == [IDLE, IDLE])


def test_who_measures_does_not_wait_for_ever(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "PATIENCE", 0.2)
    turns.places[1] = BUSY  # it is deep in a call that watches nothing
    one = part(turns, 0)
    start = time.monotonic()
    with one.busy(), one.quiet():
        assert 0.2 <= time.monotonic() - start < LONG
    assert turns.places[0] == IDLE


def test_waiting_is_a_phase_of_its_own_and_measuring_is_not(turns: Turns) -> None:
    from kdbench.train import Clock  # with torch, which the other processes here do without

    one = part(turns, 0, clock=(clock := Clock()))
    with clock.phase("cost"), one.busy(), one.quiet():
        time.sleep(0.05)
    assert clock.spent["cost"] > 50 > clock.spent["waiting"]
    turns.places[1] = MEASURING  # as the dead leave it
    with clock.phase("loop"):
        one.watch({})("", 0)
    assert clock.spent["waiting"] > 0


def test_a_turn_that_ends_in_an_error_is_given_back(turns: Turns) -> None:
    one, other = part(turns, 0), part(turns, 1)
    with pytest.raises(KeyError), one.busy(), one.quiet():
        raise KeyError
    with other.busy(), other.quiet():
        assert [*turns.places] == [IDLE, MEASURING]


def test_who_is_parked_goes_on_when_it_is_time_to_put_things_away(turns: Turns) -> None:
    crumb, steps = RawArray("d", 3), RawArray("i", 1)
    one = part(turns, 0)
    with running(_training, turns, 1, crumb, steps):
        until(lambda: steps[0] > 3)
        with one.busy(), one.quiet():
            parked_at = steps[0]
            assert not turns.late(0.0)
            turns.until.value = time.monotonic() + 5
            assert turns.late(6.0)
            assert steps[0] == parked_at
            turns.until.value = time.monotonic()
            until(lambda: steps[0] > parked_at + 3)
