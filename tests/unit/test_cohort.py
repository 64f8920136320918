"""From a cohort to its records: what they hold, which split was read, and what a step cost."""

import hashlib
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

from kdbench.cohort import cost
from kdbench.cohort.outcome import blame, status_of, strip_paths
from kdbench.cohort.workbench import Recent
from kdbench.data import split as splits
from kdbench.errors import ContractError, StoreError, Unsupported
from kdbench.record import Store
from kdbench.registry import Source
from kdbench.teacher import open_teacher
from kdbench.train import PHASES, Diverged, LoadMeter

Planned = Callable[..., Any]
ALL = ["scratch", "kd", "fitnet", "at", "rco", "metadistil"]
VALIDATING = {
    "teacher": {"rows": 600},
    "evaluation": {"validation_rows": 300, "split": "validation"},
}


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells of other processes: what is measured does not depend on this machine's."""
    monkeypatch.setattr(LoadMeter, "foreign", lambda self: None)
    monkeypatch.setattr(LoadMeter, "tells", False)


# Records ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _records() -> dict[str, Any]:
    return {}


@pytest.fixture
def records(_records: dict[str, Any], kdbench_plan: Planned, kdbench_answer: Any) -> dict[str, Any]:
    """Records of every method, made once for this module."""
    if not _records:
        _records.update(kdbench_answer(*kdbench_plan(methods=ALL).cohorts))
    return _records


def test_a_record_holds_all_that_the_boards_need(records: dict[str, Any]) -> None:
    for record in records.values():
        assert (record.status, record.failure) == ("ok", None)
        assert 0 <= record.quality["accuracy"] <= 1
        assert record.fidelity.keys() == {"test", "transfer"}
        assert len(record.per_class) == 10
        assert record.losses
        assert record.teacher
        assert record.deployed.parameters < record.teacher.parameters
        assert record.cost.valid
        cost = record.cost  # of one round, so that its median is the round's
        assert sum(cost.parts_ms.values()) == pytest.approx(cost.step_ms * (1 - cost.unaccounted))
        assert record.cost.cpu_ms > 0
        assert record.cost.amortised_ms > 0
        assert "/" not in record.model_dump_json(exclude={"created", "environment", "settings"})
    # whoever else is at work may stop one of them between two phases
    assert median(record.cost.unaccounted for record in records.values()) < 0.1
    assert {
        name: record.rows for name, record in records.items() if "quiz" in name
    } == dict.fromkeys(["scratch quiz 0.1", "kd quiz 0.1", "metadistil quiz 0.1"], 86)
    assert records["kd"].rows == 96
    assert records["scratch"].cost.teacher_passes == 0
    assert records["fitnet"].cost.training_parameters > 0 == records["kd"].cost.training_parameters


def test_the_phases_of_a_cohort_sum_to_its_wall_time(records: dict[str, Any]) -> None:
    for record in records.values():
        seconds = dict(record.seconds)
        wall, trial = seconds.pop("wall"), seconds.pop("trial")
        unaccounted = seconds.pop("unaccounted")
        stages = {"setup", "loop", "device", "measure", "cost"}
        assert seconds.keys() >= {*PHASES, *stages}
        assert math.fsum(seconds.values()) + unaccounted == pytest.approx(wall, abs=0.002)
        assert 0 <= unaccounted <= 0.02 * wall
        assert trial <= wall
        assert all(seconds[name] > 0 for name in ("student", "backward", "update", "loss", "data"))
    alike = {record.seconds["wall"] for name, record in records.items() if "quiz" not in name}
    assert len(alike) == 1


def test_the_deployed_weights_and_logits_are_kept_by_content_and_say_what_the_record_says(
    records: dict[str, Any], kdbench_bench: Any, kdbench_plan: Planned
) -> None:
    (cohort,) = kdbench_plan(methods=["fitnet"]).cohorts
    test = kdbench_bench.data(cohort, "").test
    record = records["fitnet"]
    path = kdbench_bench.store.artifact(record.deployed.weights)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record.deployed.weights
    network = timm.create_model(record.deployed.network, **record.deployed.options)
    network.load_state_dict(load_file(path), strict=True)
    facts = cohort.dataset
    pixels = (test.images.float() / 255 - facts.mean[0]) / facts.std[0]
    with torch.no_grad():
        logits = network.eval()(pixels)
    kept = load_file(kdbench_bench.store.artifact(record.logits))["logits"]
    torch.testing.assert_close(logits, kept, rtol=1e-4, atol=1e-5)
    accuracy = float((kept.argmax(1) == test.labels).double().mean())
    assert record.quality["accuracy"] == pytest.approx(accuracy)


def test_the_teacher_is_the_same_to_the_bit_after_a_cohort_with_every_method(
    records: dict[str, Any], kdbench_bench: Any, kdbench_plan: Planned
) -> None:
    (cohort,) = kdbench_plan(methods=["kd"]).cohorts
    teacher = open_teacher(cohort.teachers, set(), kdbench_bench.cache, torch.device("cpu"))
    assert {record.teacher.weights for record in records.values()} == {teacher.weights}


def test_a_worker_keeps_what_was_asked_for_last_and_no_more() -> None:
    kept, made = Recent[int, int](2), list[int]()

    def ask(key: int) -> int:
        return kept.get(key, lambda: made.append(key) or 10 * key)  # type: ignore[func-returns-value]  # a list's append

    assert [ask(key) for key in (1, 2, 1, 3, 1, 2)] == [10, 20, 10, 30, 10, 20]
    assert made == [1, 2, 3, 2]


# Splits -----------------------------------------------------------------------------------------


def test_while_a_protocol_is_chosen_the_test_split_is_never_opened(
    tmp_path: Path, kdbench_plan: Planned, kdbench_answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = set(), splits.open_split

    def guarded(
        dataset: Any, name: str, root: str, cache: Path, split: Any, rows: Any = None
    ) -> Any:
        assert split != "test", "the test split was opened"
        opened.add(split)
        return real(dataset, name, root, cache, split, rows)

    monkeypatch.setattr(splits, "open_split", guarded)
    from kdbench.cohort import Workbench

    bench = Workbench(tmp_path, Store(tmp_path / "store"), torch.device("cpu"))
    (cohort,) = kdbench_plan(methods=["kd"], **VALIDATING).cohorts
    record = kdbench_answer(cohort, bench=bench)["kd"]
    assert opened == {"train"}
    assert record.fidelity.keys() == {"validation", "transfer"}
    assert 0 < record.quality["accuracy"] <= 1
    (asked,) = kdbench_plan(methods=["kd"]).cohorts
    with pytest.raises(AssertionError, match="the test split was opened"):
        kdbench_answer(asked, bench=bench)


def test_a_learning_curve_has_its_points_at_equal_shares_and_changes_no_bits(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    def answer(curve: int) -> Any:
        asked = {"validation_rows": 100, "curve": curve}
        made = kdbench_plan(methods=["scratch", "kd"], teacher={"rows": 600}, evaluation=asked)
        return kdbench_answer(*made.cohorts)

    plain, drawn = answer(0), answer(4)
    for name, record in drawn.items():
        assert [share for share, _ in record.curve] == [0.25, 0.5, 0.75, 1.0]
        assert all(
            point.keys() == {"accuracy", "nll", "agreement", "kl"} for _, point in record.curve
        )
        assert plain[name].curve == ()
        assert record.deployed.weights == plain[name].deployed.weights
        assert record.question.fingerprint != plain[name].question.fingerprint


def test_the_last_point_of_the_curve_is_the_deployed_student(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    asked = {**VALIDATING, "evaluation": {**VALIDATING["evaluation"], "curve": 1}}
    record = kdbench_answer(*kdbench_plan(methods=["kd"], **asked).cohorts)["kd"]
    (point,) = record.curve
    assert point[1]["accuracy"] == record.quality["accuracy"]
    assert point[1]["kl"] == record.fidelity["validation"]["kl"]


# Cost -------------------------------------------------------------------------------------------


def test_overheads_are_against_the_baseline_of_the_own_cohort(records: dict[str, Any]) -> None:
    assert records["scratch"].cost.overhead == records["scratch quiz 0.1"].cost.overhead == 1
    for record in records.values():
        assert record.cost.overhead > 0
        assert record.cost.step_ms > 0
        assert record.cost.parts_ms.keys() == {
            "data",
            "teacher",
            "student",
            "loss",
            "backward",
            "update",
        }
    assert records["metadistil quiz 0.1"].cost.overhead > 1


def test_when_the_baseline_is_answered_a_later_cohort_is_timed_against_a_fresh_one(
    records: dict[str, Any],
    kdbench_plan: Planned,
    kdbench_answer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = [records["scratch"]]
    (work,) = kdbench_plan(methods=["scratch", "kd"], records=known).work()
    assert [trial.spec.name for trial in work.trials] == ["kd"]
    timed: list[list[str]] = []
    real = cost.interleave

    def spying(runners: Any, *arguments: Any, **options: Any) -> Any:
        timed.append([*runners])
        return real(runners, *arguments, **options)

    monkeypatch.setattr(cost, "interleave", spying)
    found = kdbench_answer(work)
    assert [*found] == ["kd"]
    assert timed == [["scratch", "kd"]]
    assert found["kd"].cost.overhead > 0
    assert found["kd"].deployed.weights == records["kd"].deployed.weights


def test_without_a_baseline_there_is_a_cost_and_no_overhead(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    made = kdbench_plan(methods=["kd"], scoring={"baselines": ()})
    cost = kdbench_answer(*made.cohorts)["kd"].cost
    assert cost.step_ms > 0
    assert cost.overhead is None


def test_a_baseline_that_cannot_be_had_costs_the_others_only_their_overhead(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    pair = "2*resnet8[width=0.25]:resnet8[width=0.25]"  # an ensemble has no hints
    made = kdbench_plan(methods=["kd"], pairs=[pair], scoring={"baselines": ("fitnet",)})
    record = kdbench_answer(*made.cohorts)["kd"]
    assert (record.status, record.cost.overhead) == ("ok", None)
    assert record.cost.step_ms > 0


# What a method cannot have ----------------------------------------------------------------------


def test_a_pair_that_a_method_cannot_do_is_unsupported_and_the_others_run(
    kdbench_plan: Planned, kdbench_answer: Any
) -> None:
    pair = "2*resnet8[width=0.25]:resnet8[width=0.25]"
    methods = ["kd", "fitnet", "at", "metadistil", "rco", "rco[anchors=3]"]
    found = kdbench_answer(*kdbench_plan(methods=methods, pairs=[pair]).cohorts)
    assert {name: record.status for name, record in found.items()} == {
        "kd": "ok", "fitnet": "unsupported", "at": "unsupported", "rco": "ok",
        "rco[anchors=3]": "unsupported", "scratch quiz 0.1": "ok", "kd quiz 0.1": "ok",
        "metadistil quiz 0.1": "unsupported",
    }  # fmt: skip
    assert "this pair has no hints" in found["at"].failure.message
    assert "no anchor at 0.333333" in found["rco[anchors=3]"].failure.message
    assert "ensemble" in found["metadistil quiz 0.1"].failure.message


# Failures ---------------------------------------------------------------------------------------


def test_each_kind_of_exception_has_its_status() -> None:
    assert status_of(Unsupported("x")) == "unsupported"
    assert status_of(Diverged("x")) == "diverged"
    assert status_of(MemoryError()) == status_of(torch.OutOfMemoryError()) == "oom"
    with pytest.raises(RuntimeError) as full:
        torch.empty(10**15)
    assert status_of(full.value) == "oom"
    assert status_of(ContractError("x")) == status_of(ZeroDivisionError()) == "failed"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: torch.set_default_dtype(torch.float64), "import changed global state"),
    ],
)
def test_a_plugin_that_goes_wrong_when_a_worker_imports_it_costs_only_its_own_trial(
    wrong: Callable[[], Any],
    said: str,
    records: dict[str, Any],
    kdbench_plan: Planned,
    kdbench_answer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = importlib.import_module("kdbench.cohort.beginning")
    real = module.method

    def imported(trial: Any) -> Any:
        if trial.spec.name == "at":
            wrong()
        return real(trial)

    monkeypatch.setattr(module, "method", imported)
    found = kdbench_answer(*kdbench_plan(methods=["at", "kd"]).cohorts)
    assert (found["at"].status, found["at"].failure.where) == ("failed", "import")
    assert said in found["at"].failure.message
    assert found["kd"].deployed.weights == records["kd"].deployed.weights


def test_a_store_that_cannot_be_written_is_no_method_s_fault(
    kdbench_plan: Planned, kdbench_answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("cannot write", "no space left on device")

    monkeypatch.setattr(Store, "put", full)
    with pytest.raises(StoreError, match="no space left"):
        kdbench_answer(*kdbench_plan(methods=["kd"]).cohorts)


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("no file /home/me/data/x.bin here", "no file x.bin here"),
        ("PosixPath('/home/me/x')", "PosixPath('x')"),
        ("open(/a/b/c.txt): a/b stays, 1/2 too", "open(c.txt): a/b stays, 1/2 too"),
        ("file:///home/me/x.py", "file://x.py"),
        ('"/home/me/a/b.py", line 3', '"b.py", line 3'),
    ],
)
def test_paths_of_this_machine_are_cut_to_their_last_part(text: str, stripped: str) -> None:
    assert strip_paths(text) == stripped


def test_blame_names_the_plugin_s_own_last_line_and_not_a_file_of_the_same_name(
    tmp_path: Path,
) -> None:
    def source(folder: str) -> Source:
        file = tmp_path / folder / "method.py"
        return Source("mine", "file", "m", str(file), "method.py", "1", "0" * 64)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Path(source("a").path).write_text(
        "\n\ndef deep():\n    raise KeyError('k')\n\ndef go():\n    deep()\n"
    )
    Path(source("b").path).write_text("def call(go):\n    go()\n")
    spaces: list[dict[str, Any]] = [{}, {}]
    for folder, space in zip("ab", spaces, strict=True):
        path = source(folder).path
        exec(compile(Path(path).read_text(), path, "exec"), space)
    with pytest.raises(KeyError) as caught:
        spaces[1]["call"](spaces[0]["go"])
    assert blame(caught.value, [source("a")]) == "mine (method.py, line 4): KeyError: 'k'"
    assert blame(caught.value, [source("b")]) == "mine (method.py, line 2): KeyError: 'k'"
