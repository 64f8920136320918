"""What the command line computes by itself: seeds, progress, and what a reproduction is worth."""

import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdbench.cli.amounts import seeds
from kdbench.cli.likeness import Likeness, judged
from kdbench.cli.progress import Lines, Screen, duration, record_line
from kdbench.cli.selection import store_folder
from kdbench.engine import Doing
from kdbench.errors import CheckFailed, UsageError
from kdbench.plan import dataset_spec
from kdbench.record import (
    Environment,
    Evaluation,
    Failure,
    Fingerprints,
    Origin,
    Question,
    Record,
    Spec,
    TeacherProtocol,
    TrainingProtocol,
)

PROTOCOL = {"epochs": 60, "batch_size": 32, "learning_rate": 0.05}
HERE = {
    "python": "3.12", "torch": "2.11.0", "timm": "1.0.20", "kdbench": "0.1", "device": "cpu",
    "device_name": "a CPU", "capability": "AVX2", "threads": 1, "platform": "Linux x86_64",
}  # fmt: skip


def record(seed: int = 0, **changes: Any) -> Record:
    question = Question(
        dataset="digits", teacher="big", student="small", method="kd", hyperparameters={},
        teacher_protocol=TeacherProtocol(**PROTOCOL), protocol=TrainingProtocol(**PROTOCOL),
        evaluation=Evaluation(), seed=seed, quiz=changes.pop("quiz", 0.0),
    )  # fmt: skip
    filled = {
        "status": "ok", "question": question, "suite": "toy", "settings": "paper", "created": "",
        "fingerprints": Fingerprints(question=question.fingerprint, code="c", environment="e"),
        "origin": Origin(distribution="kdbench", version="0.1"), "environment": Environment(**HERE),
        "quality": {"accuracy": 0.9412}, "fidelity": {"test": {"agreement": 0.95}}, "rows": 180,
    }  # fmt: skip
    return Record(**filled | changes)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def started(kind: type[Lines], clock: Clock, minutes: float | None) -> tuple[Lines, io.StringIO]:
    """A run of one cohort with four trials."""

    class Trial:
        class spec:
            name = "kd"

        class method:
            spec = "kd"

        question = record().question

    class Cohort:
        name = "digits big:small seed 0"
        trials = (Trial,) * 4

    class Plan:
        trials = Cohort.trials

    stream = io.StringIO()
    lines = kind(stream, clock)
    lines.start(Plan, (Cohort,), minutes)  # type: ignore[arg-type]  # as much of them as is read
    return lines, stream


@pytest.mark.parametrize("text", ["", "0", "-1", "a", "1,", "1-", "3-1", "1,,2", "1e3", "0-99999"])
def test_what_is_no_seeds_is_refused_or_read_as_one(text: str) -> None:
    if text == "1,":
        assert seeds(text) == (1,)
        return
    with pytest.raises(UsageError, match="does not say which seeds"):
        seeds(text)


def test_seeds_are_a_count_a_list_or_a_range_each_once() -> None:
    assert seeds("3") == (0, 1, 2)
    assert seeds("0,1,5,1") == (0, 1, 5)
    assert seeds("100-104") == (100, 101, 102, 103, 104)
    assert seeds("7, 1-2") == (7, 1, 2)


def test_a_data_set_s_short_form_is_for_those_with_a_path_and_makes_it_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        SimpleNamespace(kind="dataset", name="folder", fields={"path": None, "flips": None}),
        SimpleNamespace(kind="dataset", name="plain", fields={}),
    ]
    registry: Any = SimpleNamespace(entries=entries)
    monkeypatch.chdir(tmp_path)
    asked = dataset_spec("folder:./mine[flips=true]", registry)
    assert asked == Spec("folder", (("flips", True), ("path", str(tmp_path / "mine"))))
    for text in ("plain", "plain:x", "folder[path=mine]", "unknown:x"):
        assert dataset_spec(text, registry) == Spec.parse(text)


def test_a_store_is_the_suite_s_unless_one_is_named() -> None:
    assert store_folder("digits", None) == Path("kdbench-runs/digits")
    assert store_folder("digits", Path("x")) == Path("x")


def test_a_record_s_line_says_rows_where_a_quiz_split_was_left_out_and_why_it_failed() -> None:
    assert record_line(record(2), "kd", 37, 120) == (
        "[ 37/120] ok  digits big:small kd s2  accuracy 94.1  agreement 95.0"
    )
    assert "kd (180 rows) s0" in record_line(record(quiz=0.1), "kd", 1, 9)
    lines, stream = started(Lines, Clock(), None)
    failure = Failure(kind="RuntimeError", message="kd (kd.py, line 3): no\x1b[2J", where="step 7")
    lines.record(record(status="failed", quality={}, fidelity={}, failure=failure))
    assert stream.getvalue().splitlines() == [
        "[1/4] failed digits big:small kd s0",
        "    step 7: kd (kd.py, line 3): no[2J",
    ]


def test_a_sign_of_life_comes_after_a_silent_minute_alone() -> None:
    clock = Clock()
    lines, stream = started(Lines, clock, 10.0)
    work = [Doing("digits big:small seed 0", "kd", 0.25, 4)]
    for clock.now in (0, 30, 59):
        lines.tick(work)
    assert stream.getvalue() == ""
    clock.now = 60
    lines.tick(work)
    lines.tick(work)
    # a quarter of four trials in a minute: three minutes are left, whatever the plan had thought
    assert stream.getvalue() == "[0/4] digits big:small seed 0 25%, about 3 min left\n"


def test_the_estimate_is_the_plan_s_until_there_is_a_pace() -> None:
    clock = Clock()
    lines, _ = started(Lines, clock, 10.0)
    assert lines.seconds_left([Doing("teacher big", "", 0.5, 0)]) == 600
    work = [Doing("digits big:small seed 0", "kd", 0.0, 4)]
    lines.tick(work)
    clock.now = 30
    assert lines.seconds_left(work) == 570
    for _ in range(2):
        lines.record(record())
    assert lines.seconds_left([]) == 30
    assert started(Lines, clock, None)[0].seconds_left([]) is None
    assert [duration(seconds) for seconds in (8.4, 180, 9000)] == ["8 s", "3 min", "2.5 h"]


def test_a_terminal_shows_workers_and_counts_under_the_lines() -> None:
    from rich.console import Console

    lines, stream = started(Screen, Clock(), 1.0)
    assert isinstance(lines, Screen)
    lines.tick([Doing("digits big:small seed 0", "kd", 0.5, 4)])
    lines.record(record(status="failed"))
    drawn = Console(file=io.StringIO(), width=100)
    drawn.print(lines.block())
    lines.stop()
    told = drawn.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "digits big:small seed 0" in told
    assert "50%" in told
    assert "[1/4] trials, 1 not ok" in told
    assert "failed digits big:small kd s0" in stream.getvalue()


@pytest.mark.parametrize(
    ("same", "environment", "points", "verdict"),
    [
        (True, True, 0.0, "identical to the bit"),
        (True, False, 0.0, "identical to the bit"),
        (False, False, 2.9, "within tolerance: accuracies are 2.90 points apart"),
        (False, False, 3.1, None),
        (False, True, 0.1, None),
    ],
)
def test_bits_must_agree_in_one_environment_and_accuracies_across_two(
    same: bool, environment: bool, points: float, verdict: str | None
) -> None:
    rows = (("status", "ok", "ok", True), ("accuracy", "0.9", "0.91", same))
    found = Likeness(rows, same_code=True, same_environment=environment, points=points)
    new = record(environment=Environment(**HERE | {"torch": "2.12.0"}))
    said = judged(found, record(), new, 3.0)
    if verdict is None:
        assert isinstance(said, CheckFailed)
    else:
        assert isinstance(said, str)
        assert verdict in said
        assert same or "torch 2.11.0 -> 2.12.0" in said


def test_where_a_gpu_varies_accuracies_must_agree_though_the_environment_is_the_same() -> None:
    rows = (("status", "ok", "ok", True), ("accuracy", "0.9", "0.91", False))
    new = record(environment=Environment(**HERE | {"varies": "sums in any order"}))
    for points, verdict in (
        (2.9, "where a GPU varies from run to run (sums in any order)"),
        (3.1, ""),
    ):
        found = Likeness(rows, same_code=True, same_environment=True, points=points)
        said = judged(found, record(), new, 3.0)
        assert isinstance(said, str) == bool(verdict)
        assert verdict in str(said)


def test_another_status_is_never_a_reproduction() -> None:
    rows = (("status", "ok", "failed", False),)
    found = Likeness(rows, same_code=False, same_environment=False, points=0.0)
    said = judged(found, record(), record(status="failed"), 3.0)
    assert isinstance(said, CheckFailed)
    assert (said.why, said.next) == (
        "recorded ok, now failed",
        "its code has changed since: check out what the record names",
    )
