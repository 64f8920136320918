"""Several runs on one store and one cache: nothing twice, everything done, whoever is killed."""

import importlib
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ANCHOR, CARD = r"/teachers/\w+/anchor-", r"/teachers/\w+/card.json"


@pytest.fixture(scope="module")
def load() -> Callable[[str], Any]:
    """A module of this folder."""

    def loaded(name: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(Path(__file__).parent))
            return importlib.import_module(name)

    return loaded


def test_of_four_runs_at_once_two_are_killed_with_all_that_they_hold_and_two_do_the_rest(
    load: Callable[[str], Any], tmp_path: Path
) -> None:
    runs, kills = load("runs"), load("kills")
    toml = kills.suite(tmp_path / "s.toml", methods=("kd", "rco"), seeds=4, epochs=8)
    place = runs.Place(tmp_path, (str(toml), "--workers", "1"))
    log = tmp_path / "log"
    # whoever writes the third anchor is killed; it has the teacher's lock, which the others await
    third = runs.Fault(r"os\.rename", f"{ANCHOR}|{CARD}", at=3, log=log)
    with ExitStack() as stack:
        four = [stack.enter_context(place.start(str(n), fault=third)) for n in range(4)]
        ended = when(lambda: [run for run in four if run.wait(0) is not None])
        assert [run.wait(0) for run in ended] == [-signal.SIGKILL]
        rest = [run for run in four if run not in ended]
        (second, *_) = when(lambda: [run for run in rest if "[1" in run.said().replace(" ", "")])
        time.sleep(0.2)  # it is at the last cohort, and has claimed its trials
        second.kill()
        codes = {run: run.wait(300) for run in rest}
        assert codes == {run: -signal.SIGKILL if run is second else 0 for run in rest}
    runs.sound(place)  # no question has two records
    assert [record.status for record in place.store.records()] == ["ok"] * 12
    written = [line.split() for line in log.read_text().splitlines()][3:]
    assert len([path for *_, path in written if re.search(CARD, path)]) == 1
    assert len({trainer for trainer, *_ in written}) == 1, "a teacher was trained twice"
    assert len({path for *_, path in written}) == len(written)


def when(found: Callable[[], list[Any]], seconds: float = 300) -> list[Any]:
    """What is found, as soon as something is."""
    start = time.monotonic()
    while not (these := found()):
        assert time.monotonic() - start < seconds
        time.sleep(0.02)
    return these
