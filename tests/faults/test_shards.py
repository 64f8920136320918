"""One suite on several machines: shards in stores of their own are one run's records together."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.cli import main
from kdbench.record import Store

ASKED = (
    "digits", "--pair", "resnet8:resnet8[width=0.25]", "--seeds", "1", "--steps", "4",
    "-m", "kd", "-m", "metadistil",
)  # fmt: skip


@pytest.fixture
def kdbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """What a command says as JSON."""
    monkeypatch.setitem(sys.modules, "altair", None)  # nobody looks at the board's page

    def ran(*line: object) -> Any:
        capsys.readouterr()
        code = main([*map(str, line), "--json"])
        told = capsys.readouterr()
        assert code == 0, told.err
        return json.loads(told.out)["data"]

    return ran


def results(store: Path) -> dict[str, Any]:
    found = {}
    for record in Store(store).records():
        assert record.deployed
        assert record.cost
        told = record.deployed.weights, record.logits, record.quality, record.cost.cells
        found[record.fingerprints.question] = told
    return found


def test_shards_in_stores_of_their_own_are_one_run_s_records_once_they_are_copied_together(
    tmp_path: Path, kdbench: Callable[..., Any]
) -> None:
    one, first, second, third = (tmp_path / name for name in ("one", "first", "second", "third"))
    whole = kdbench("run", *ASKED, "--store", one)
    parts = [
        kdbench("run", *ASKED, "--store", store, "--shard", f"{number}/2")
        for number, store in ((1, first), (2, second))
    ]

    assert [part["trials"] for part in parts] == [{"ok": 1}, {"ok": 3}]
    nothing = kdbench("run", *ASKED, "--store", third, "--shard", "3/3")
    assert (nothing["trials"], nothing["records"]) == ({}, [])
    subprocess.run(["cp", "-Rn", second / "records", second / "artifacts", first], check=True)
    assert results(first) == results(one)
    again = kdbench("run", *ASKED, "--store", first)
    assert (again["trials"], again["records"]) == ({"ok": 4}, [])
    names = [[row["name"] for row in table["rows"]] for table in again["board"]["tables"]]
    assert names == [[row["name"] for row in table["rows"]] for table in whole["board"]["tables"]]


def test_a_plan_of_a_shard_has_its_cohorts_alone(
    tmp_path: Path, kdbench: Callable[..., Any]
) -> None:
    def cohorts(*more: str) -> list[str]:
        made = kdbench("plan", *ASKED, "--store", tmp_path, *more)
        return [cohort["name"] for cohort in made["cohorts"]]

    assert cohorts("--shard", "1/2") + cohorts("--shard", "2/2") == cohorts()
    assert cohorts("--shard", "3/3") == []


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", "1 / 2"])
def test_a_shard_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"--shard={text}"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 3
    assert "write --shard 1/4 to --shard 4/4" in error[2]
