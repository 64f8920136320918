"""A study through the command line: a variant, the rest, the report, and what it is made from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.cli import main
from kdbench.record import Store

SUITE = """
name = "study"
title = "A small study"

[axes]
datasets = ["digits"]
pairs = ["resnet8[width=0.25]:resnet8[width=0.25]"]
methods = ["scratch", "kd[alpha=1.0,temperature=1.0]"]
seeds = 2

[train]
epochs = 2
batch_size = 32
learning_rate = 0.05
rows = 64

[teacher]
seed = "trial"

[evaluation]
probes = ["seen", "control"]

[scoring]
baselines = ["scratch"]

[variants.plain]

[variants.other-rows]
about = "images that the teacher has not seen, mixed"
methods = ["kd[alpha=1.0,temperature=1.0]"]
train = { first = 64, transfer = "mixup" }

[variants.near]
methods = ["kd[alpha=1.0,temperature=1.0]"]
train = { start = { share = 0.5 } }

[variants.stopped]
methods = ["kd[alpha=1.0,temperature=1.0]"]
teacher = { anchor = 0.5, alone = "label_smoothing" }

[report]
question = "Is the near start nearer?"

[[claims]]
key = "near"
says = "It is."
source = "nowhere"
direction = "greater"
effect = 0.0
terms = [
  { measure = "online_agreement", variant = "near", method = "kd" },
  { measure = "online_agreement", variant = "other-rows", method = "kd", weight = -1.0 },
]
"""

Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ran:
    """Exit code, output and errors of the command, with the study's file and store in place."""
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "study.toml").write_text(SUITE)

    def run(verb: str, *options: str, place: bool = True) -> tuple[int, str, str]:
        capsys.readouterr()
        asked = [str(tmp_path / "study.toml")] if place else []
        code = main([verb, *asked, "--store", str(tmp_path / "store"), *options])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def data(out: str) -> Any:
    return json.loads(out)["data"]


def test_a_study_is_run_in_parts_and_reported(ran: Ran, tmp_path: Path) -> None:
    store = tmp_path / "store"
    code, out, err = ran("run", "--variant", "near", "--workers", "2")
    assert code == 0, out + err
    assert "near: digits" in out
    code, out, _ = ran("report", "--json")
    assert code == 0
    assert [one["verdict"] for one in data(out)["claims"]] == ["not answered"]

    code, out, err = ran("run", "--workers", "2")
    assert code == 0, out + err
    assert "next: kdbench report" in out
    records = Store(store).records()
    assert len(records) == 2 * 5
    mixed = [r for r in records if r.question.protocol.transfer == "mixup"]
    assert len(mixed) == 2
    assert {r.question.protocol.first for r in mixed} == {64}
    for record in records:
        assert {"test", "transfer", "online", "seen", "control"} <= set(record.fidelity)
    stopped = {r.question.seed: r for r in records if r.question.teacher_protocol.anchor == 0.5}  # type: ignore[union-attr]  # trained here
    others = {r.question.seed: r for r in mixed}
    for seed, record in stopped.items():
        assert record.teacher
        assert record.teacher.weights != others[seed].teacher.weights  # type: ignore[union-attr]  # has one

    code, out, err = ran("report")
    assert code == 0, err
    assert ("reproduced" in out) or ("not testable" in out)
    for verb in ("report", "leaderboard"):
        code, out, err = ran(verb, "--check")
        assert code == 0, out + err
    (store / "REPORT.md").write_text("typed")
    assert ran("report", "--check")[0] == 6


@pytest.mark.parametrize(
    ("verb", "options", "told"),
    [
        ("run", ("--variant", "nearer"), "did you mean 'near'?"),
        ("plan", ("--variant", "near", "--pair", "resnet14:resnet8"), "different networks"),
        ("report", (), "no records in"),
    ],
)
def test_a_mistake_is_told_in_three_lines(
    ran: Ran, verb: str, options: tuple[str, ...], told: str
) -> None:
    code, _, err = ran(verb, *options)
    assert code in (2, 5)
    assert told in err
    assert len(err.strip().splitlines()) == 3


def test_an_unknown_policy_is_told_before_anything_is_trained(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(SUITE.replace('"mixup"', '"mixip"'))
    code, _, err = ran("plan")
    assert code == 2
    assert "did you mean 'mixup'?" in err
