"""`metrics backfill`, as users run it: on a store that was trained before the metric was there."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.cli import main
from kdbench.leaderboard import read_metrics, record_id
from kdbench.leaderboard.parquet import write_parquet
from kdbench.record import Record, Store
from kdbench_datasets.digits import Digits

MARGIN = '''
"""Metrics of a test."""
import torch
from kdbench.api import Unsupported, hookimpl

def margin(logits, teacher, labels):
    """Mean of the right class's logit over the best of the others."""
    rows = torch.arange(len(labels))
    rest = logits.clone()
    rest[rows, labels] = -torch.inf
    return (logits[rows, labels] - rest.amax(1)).mean()

def apart(logits, teacher, labels):
    if teacher is None:
        raise Unsupported("the teacher's logits are not kept")
    logits += 1  # a copy of its own: nobody else sees it
    return (logits - 1 - teacher).abs().mean()

@hookimpl
def kdbench_metrics():
    yield "margin", margin
    yield "apart", apart
'''
BAD = """
import os
from kdbench.api import hookimpl

def raises(logits, teacher, labels):
    return 1 / 0

def nothing(logits, teacher, labels):
    return float("nan")

def dies(logits, teacher, labels):
    os._exit(7)

def fine(logits, teacher, labels):
    return len(labels)

@hookimpl
def kdbench_metrics():
    yield "dies", dies
    yield "raises", raises
    yield "nothing", nothing
    yield "fine", fine
"""


@pytest.fixture(autouse=True)
def no_store_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDBENCH_STORE", raising=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trials of two methods."""
    folder = tmp_path_factory.mktemp("trained") / "digits"
    kdbench.run(
        "digits", methods=["scratch", "kd"], pairs=["resnet8:resnet8[width=0.25]"], seeds=[0, 1],
        steps=4, store=folder, workers=1, progress=False,
    )  # fmt: skip
    return folder


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Store:
    shutil.copytree(trained, tmp_path / "digits")
    return Store(tmp_path / "digits")


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    def made(text: str, name: str = "later") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    return made


def logits(store: Store, digest: str) -> torch.Tensor:
    return load_file(store.artifact(digest))["logits"]


def by_hand(store: Store, record: Record) -> tuple[float, float]:
    """Margin and distance from the teacher, in plain Python."""
    labels = Digits().load("", "test").labels.tolist()
    ours, margins = logits(store, record.logits), []
    for row, label in zip(ours.tolist(), labels, strict=True):
        margins.append(row[label] - max(v for i, v in enumerate(row) if i != label))
    assert record.teacher
    gap = (ours - logits(store, record.teacher.logits)).abs()
    return sum(margins) / len(margins), gap.mean().item()


def test_a_later_metric_is_computed_for_old_records_and_shown_on_the_board(
    store: Store, plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in store.root.glob("records/*/*/*.json")}
    assert main(["metrics", "backfill", str(store.root), "-m", str(plugin(MARGIN))]) == 0
    out = capsys.readouterr().out
    assert "margin: 4 values computed" in out
    found = read_metrics(store.root)
    for record in store.records():
        margin, gap = by_hand(store, record)
        assert found["margin"].shown[record_id(record)] == pytest.approx(margin, rel=1e-5)
        assert found["apart"].shown[record_id(record)] == pytest.approx(gap, rel=1e-4)
    (table,) = kdbench.leaderboard(store.root).partial
    for row in table.rows:
        values = [by_hand(store, r)[0] for r in store.records() if r.question.method == row.name]
        assert row.metrics["margin"].mean == pytest.approx(sum(values) / 2, rel=1e-5)
    assert {path: path.read_bytes() for path in before} == before
    write_parquet(store.root, store.root.parent / "board.parquet")
    import pandas

    assert "later.margin" in pandas.read_parquet(store.root.parent / "board.parquet")


def test_the_same_records_give_the_same_bytes_and_nothing_is_computed_twice(
    store: Store, plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["metrics", "backfill", str(store.root), "-m", str(plugin(MARGIN))]
    assert main(ask) == 0
    first = (store.root / "metrics/margin.json").read_bytes()
    capsys.readouterr()
    assert main(ask) == 0
    assert "margin: 0 values computed, 4 were there" in capsys.readouterr().out
    assert (store.root / "metrics/margin.json").read_bytes() == first
    shutil.rmtree(store.root / "metrics")
    assert main(ask) == 0
    assert (store.root / "metrics/margin.json").read_bytes() == first


def test_other_code_adds_its_values_and_loses_none(store: Store, plugin: Any) -> None:
    assert main(["metrics", "backfill", str(store.root), "-m", str(plugin(MARGIN))]) == 0
    old = read_metrics(store.root)["margin"]
    text = MARGIN.replace("rest.amax(1)).mean()", "rest.amax(1)).mean() + 1")
    assert main(["metrics", "backfill", str(store.root), "-m", str(plugin(text))]) == 0
    new = read_metrics(store.root)["margin"]
    assert new.code != old.code
    assert new.values[old.code] == old.shown
    assert all(math.isclose(new.shown[key], old.shown[key] + 1, rel_tol=1e-5) for key in old.shown)


def test_a_metric_that_fails_is_named_with_file_and_line_and_harms_only_itself(
    store: Store, plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(BAD)
    assert main(["metrics", "backfill", str(store.root), "-m", str(path), "--json"]) == 4
    said = capsys.readouterr()
    found = {one["metric"]: one for one in json.loads(said.out)["data"]["metrics"]}
    assert [len(found[name]["failed"]) for name in ("dies", "raises", "nothing", "fine")] == [
        1, 4, 4, 0,
    ]  # fmt: skip
    assert found["fine"]["new"] == 4
    assert f"{path}:6: ZeroDivisionError" in found["raises"]["failed"][0]["why"]
    assert f"{path}:8: nothing gave nan" in found["nothing"]["failed"][0]["why"]
    assert "ended the process with exit code 7" in found["dies"]["failed"][0]["why"]
    assert set(read_metrics(store.root)) == {"fine"}
    assert said.err.startswith("error: 9 values could not be computed\n")


def test_what_is_missing_is_named_and_the_rest_is_computed(
    store: Store, plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = store.records()
    store.artifact(first.logits).unlink()
    store.artifact(second.logits).write_bytes(b"damaged")
    ask = ["metrics", "backfill", str(store.root), "-m", str(plugin(MARGIN)), "--json"]
    assert main(ask) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert [one["new"] for one in data["metrics"]] == [2, 2]
    why = {one["record"]: one["why"] for one in data["missing"]}
    assert why[store.path(first).relative_to(store.root).as_posix()].endswith("is not there")
    assert "is damaged" in why[store.path(second).relative_to(store.root).as_posix()]
    shutil.rmtree(store.root / "artifacts")
    shutil.rmtree(store.root / "metrics")
    assert main(ask) == 5
    assert not (store.root / "metrics").exists()


def test_without_a_teacher_s_logits_a_metric_may_decline(
    store: Store, plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (record, *others) = store.records()
    for one in (record, *others):
        store.path(one).unlink()
    assert record.teacher
    older = record.teacher.model_copy(update={"logits": ""})
    store.add(record.model_copy(update={"teacher": older}))
    assert main(["metrics", "backfill", str(store.root), "-m", str(plugin(MARGIN)), "--json"]) == 0
    by_name = {o["metric"]: o for o in json.loads(capsys.readouterr().out)["data"]["metrics"]}
    assert by_name["margin"]["new"] == 1
    assert by_name["apart"]["declined"][0]["why"] == "the teacher's logits are not kept"


def test_a_metric_with_a_name_of_the_host_s_is_refused(store: Store, plugin: Any) -> None:
    text = MARGIN.replace('yield "margin"', 'yield "kl"')
    assert main(["metrics", "backfill", str(store.root), "-m", str(plugin(text))]) == 4
    assert not (store.root / "metrics").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def margin(logits, teacher, labels)", "def margin(logits, labels)"),
        ('"margin", margin', '"margin", 3'),
        ("def kdbench_metrics", "def kdbench_metric"),
    ],
)
def test_a_hook_that_yields_no_metric_is_reported(
    text: str, what: str, store: Store, plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(MARGIN.replace(text, what))
    assert main(["metrics", "backfill", str(store.root), "-m", str(path)]) == 4
    err = capsys.readouterr().err
    assert f"plugin {path} cannot be used" in err
    assert f"{path}:" in err


def test_metrics_are_listed_and_shown_like_everything_that_plugins_yield(
    plugin: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = plugin(MARGIN).parent
    assert main(["list", "metrics", "--plugins-dir", str(folder), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["data"]
    assert [one["name"] for one in listed] == ["margin", "apart"]
    assert listed[0]["summary"].startswith("Mean of the right class's logit")
    assert main(["show", "margin", "--plugins-dir", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("metric margin")


def test_without_a_metric_or_logits_nothing_is_selected(kdbench_root: Path, plugin: Any) -> None:
    board = str(kdbench_root / "leaderboards" / "digits")
    assert main(["metrics", "backfill", board]) == 5
    assert main(["metrics", "backfill", board, "-m", str(plugin(MARGIN))]) == 5
    assert main(["metrics", "backfill", board, "-m", "no_such"]) == 2
