"""`kdbench run --time-budget`: short runs add up to the one long run, wherever each is run."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.cli import main
from kdbench.record import Store

Run = Callable[..., tuple[Any, float]]

ASKED = (
    "digits", "--pair", "resnet8:resnet8[width=0.25]", "--seeds", "1", "--steps", "300",
    "-m", "scratch", "-m", "kd", "-m", "crd", "--workers", "2",
)  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What the command says as JSON in this place's store and cache, and the seconds it took."""

    def ran(place: Path, *options: str) -> tuple[Any, float]:
        monkeypatch.setenv("KDBENCH_CACHE", str(place / "cache"))
        capsys.readouterr()
        start = time.monotonic()
        code = main(["run", *ASKED, "--store", str(place / "store"), "--json", *options])
        told = capsys.readouterr()
        assert code == 0, told.err
        return json.loads(told.out)["data"], time.monotonic() - start

    return ran


def results(place: Path) -> dict[Any, Any]:
    found = {}
    for record in Store(place / "store").records():
        assert record.status == "ok"
        key = record.question.method, record.question.quiz
        assert key not in found, "a trial was done twice"
        assert record.deployed
        assert record.teacher
        found[key] = record.deployed.weights, record.logits, record.losses, record.teacher.weights
    return found


def test_short_runs_add_up_to_the_long_one_though_each_is_on_another_machine(
    tmp_path: Path, run: Run
) -> None:
    whole = tmp_path / "whole"
    # the index of plugins alone is there before
    run(tmp_path / "first", "--steps", "1")
    for place in (whole, tmp_path / "0"):
        ignored = shutil.ignore_patterns("teachers", "answers")
        shutil.copytree(tmp_path / "first" / "cache", place / "cache", ignore=ignored)
    _, seconds = run(whole)
    told, shares, budget = {"unfinished": [...]}, [0.0], 0.5 * seconds
    halfway = False
    for number in range(40):
        here = tmp_path / str(number)
        known = len(results(here))
        told, _ = run(here, "--time-budget", f"{budget:.1f}s")
        if told["unfinished"] is None:
            break
        assert told["failed"] == []
        assert len(told["unfinished"]) + len(results(here)) == 3
        before, shares = shares, [one["share"] for one in told["unfinished"]]
        halfway |= any(0 < share < 1 for share in shares)
        if sum(shares) <= sum(before) and len(results(here)) == known:
            budget *= 1.2  # so short a time is spent before the first step
        here.rename(tmp_path / str(number + 1))
    assert told["unfinished"] is None
    assert halfway, "no trial was ever put away on its way"
    assert results(here) == results(whole)
    assert not [*(here / "store").rglob("checkpoints/*.safetensors")]
    assert not [*here.rglob("checkpoint.safetensors")]


@pytest.mark.parametrize("text", ["", "9", "0m", "m", "-5m", "9 m", "1e3s", "nan"])
def test_a_time_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"--time-budget={text}"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 3
    assert "write --time-budget 90s, 9m or 2h" in error[2]
