"""A run that is killed or interrupted goes on, and its records are those of one that was not."""

import importlib
import os
import signal
import time
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
            time.sleep(0.2)
        assert run.wait(60) == 130, run.said()
        run.gone()
        assert "interrupted: " in run.said().splitlines()[-1]
    return steps(place)


@pytest.mark.usefixtures("kdbench_registry")
def test_killed_and_interrupted_again_and_again_a_run_ends_with_the_records_of_one_that_was_not(
    kills: Any, tmp_path: Path
) -> None:
    toml = kills.suite(
        tmp_path / "s.toml", methods=("crd", "rco"), epochs=40, checkpoint_seconds=0.05
    )
    known = Path(os.environ["KDBENCH_CACHE"])
    reference, place = (kills.place(tmp_path / name, toml, 1, known) for name in ("one", "other"))
    with reference.start("whole") as run:
        assert run.wait(300) == 0, run.said()
    assert len(reference.store.records()) == 3

    def killed(kind: str, path: str, at: int, action: str, delay: float) -> None:
        event = r"os\.rename" if delay else kills._WRITE
        moment = kills.Moment(kind, kills.Fault(event, path, at, action, delay), 0.0, False)
        ((kill),) = kills.chain(place, iter([moment]).__next__, 300)
        assert kill.moment is moment
