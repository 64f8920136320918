"""A run that is killed or interrupted goes on, and its records are those of one that was not."""

import importlib
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdbench.record import Standing, standing


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("kills")


def steps(place: Any) -> dict[str, int]:
    """The steps at which trials are put away."""
    found: dict[str, Standing | None] = {
        path.name: standing(path) for path in place.store.root.glob("checkpoints/*.safetensors")
    }
    assert all(found.values()), "a checkpoint cannot be read"
    return {name: one.step for name, one in found.items() if one}


def interrupted(place: Any, name: str, times: int) -> dict[str, int]:
    """Interrupts a run so often once it has put something away; where its trials then stand."""
    before = steps(place)
    with place.start(name) as run:
        while steps(place) == before:
            assert run.wait(0.02) is None, run.said()
        for _ in range(times):
            os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does
            time.sleep(0.02)
        # of an interpreter that had nothing left to do the signal itself is the end: 130 in a shell
        assert run.wait(60) in (130, -signal.SIGINT)[:times], run.said()
        run.gone()
        assert "interrupted: " in run.said().splitlines()[-1]
    return steps(place)


@pytest.mark.usefixtures("kdbench_registry")
def test_killed_and_interrupted_again_and_again_a_run_ends_with_the_records_of_one_that_was_not(
    kills: Any, tmp_path: Path
) -> None:
    toml = kills.suite(
        tmp_path / "s.toml", methods=("crd", "rco"), epochs=30, checkpoint_seconds=0.05
    )
    known = Path(os.environ["KDBENCH_CACHE"])
    reference, place = (kills.place(tmp_path / name, toml, 1, known) for name in ("one", "other"))
    assert not kills.struck(reference, "whole", None, 300)
    assert len(reference.store.records()) == 3

    def killed(kind: str, at: int, delay: float = 0.0, *, alone: bool = False) -> None:
        fault = kills.KINDS[kind](random.Random(0))
        action = "kill-leader" if alone else "kill"
        moment = kills.Moment(kind, replace(fault, at=at, action=action, delay=delay), 0.0, alone)
        assert kills.struck(place, f"{kind} {at}", moment, 300), "it was not hit"

    killed("a teacher's step", 2, 0.05, alone=True)
    first = interrupted(place, "once", 1)
    assert len(first) == 3
    killed("a checkpoint", 6)  # all of its file is written, and it has not its name yet
    second = interrupted(place, "twice", 2)
    assert second.keys() == first.keys()
    assert min(second.values()) >= min(first.values()) > 0, "it began anew"
    killed("a record", 4, alone=True)  # the second one is begun
    assert len(place.store.records()) == 1
    assert not kills.struck(place, "last", None, 300)
    assert kills.same(place, reference) == 3
