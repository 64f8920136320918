"""What a speed run says: its limits, its figures, what changed, and the section of a board."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from kdbench.api import Batch, Losses, Method, Outputs
from kdbench.errors import StoreError, UsageError
from kdbench.functional import cross_entropy
from kdbench.leaderboard import (
    BoardSpec,
    Figure,
    build,
    check,
    name_of,
    read,
    read_speeds,
    steps,
    write,
    write_spec,
    write_speed,
)
from kdbench.record import Pair, SpeedRecord, StepSpeed, Store
from kdbench.registry import Registry, Source
from kdbench.statistics import medians_ratio
from kdbench.testing import Bench, Case
from kdbench.testing.speed import earlier
from kdbench.testing.speed.asked import Asked, Contender, ask
from kdbench.testing.speed.duel import Duel
from kdbench.testing.speed.lap import Block
from kdbench.testing.speed.limit import broken, parse

HERE = {
    "python": "3.12", "torch": "2.11.0", "timm": "1.0.20", "kdbench": "0.1", "device": "cpu",
    "device_name": "a CPU", "capability": "AVX2", "threads": 1, "platform": "Linux x86_64",
}  # fmt: skip


def step(method: str, times: tuple[float, ...], **changes: Any) -> StepSpeed:
    filled = {
        "method": method, "origin": {"distribution": "kdbench", "version": "0.1"},
        "step_ms": times, "reference_ms": (10.0,) * len(times), "cpu_ms": times,
        "reference_cpu_ms": (10.0,) * len(times), "discarded": 1, "quiet": True,
        "parts_ms": {"student": 4.0, "backward": 5.0}, "unaccounted": 0.01,
        "peak_memory_mb": 12.0, "teacher_passes": 1, "multiply_adds": 1000, "utilisation": 0.5,
        "warmup_seconds": 0.1,
    }  # fmt: skip
    return StepSpeed.model_validate(filled | changes)


def run(*methods: StepSpeed, **changes: Any) -> SpeedRecord:
    filled = {
        "pair": "resnet20:resnet8", "batch_size": 64, "image_shape": (3, 32, 32), "classes": 100,
        "rows": 2048, "reference": "plain", "environment": HERE, "methods": methods,
        "pair_ms": {"data": 1.0}, "peaks_gflops": {"convolution, 64 channels": 40.0},
    }  # fmt: skip
    return SpeedRecord.model_validate(filled | changes)


SLOW = step("slow", (20.0, 21.0, 19.0, 20.0, 20.0, 22.0))
PLAIN = step("plain", (10.0,) * 6)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ratio > 1.1", ("", "ratio", ">", 1.1)),
        ("kd:step_ms>=30", ("kd", "step_ms", ">=", 30.0)),
        ("kd[ temperature=2 ]: peak_mb < 1e3", ("kd[temperature=2]", "peak_mb", "<", 1000.0)),
    ],
)
def test_a_limit_is_read_as_it_is_written(text: str, parts: tuple[Any, ...]) -> None:
    limit = parse(text)
    assert (limit.method, limit.field, limit.sign, limit.value) == parts


@pytest.mark.parametrize(
    "text", ["", "ratio", "ratio = 1", "speed > 1", "ratio > much", "ratio > nan", "ratio > 1 2"]
)
def test_what_is_no_limit_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.why
    assert "ratio > 1.1" in caught.value.next


def test_only_what_is_beyond_a_limit_breaks_it() -> None:
    record = run(PLAIN, SLOW)
    assert broken([parse("ratio > 1.5")], record, {}) == ["slow: ratio 2 > 1.5"]
    assert broken([parse("plain: ratio > 1.5")], record, {}) == []
    assert broken([parse("step_ms < 10"), parse("peak_mb > 12")], record, {}) == []
    assert len(broken([parse("unaccounted >= 0.01")], record, {})) == 2


def test_a_method_that_is_named_and_was_not_measured_keeps_no_limit() -> None:
    (line,) = broken([parse("gone: ratio > 9")], run(PLAIN, failed={"gone": "why"}), {})
    assert line == "gone: not measured, why"


def test_figures_are_medians_of_rounds_and_ratios_are_paired_within_them() -> None:
    paired = step("b", (10.0, 20.0, 40.0), reference_ms=(10.0, 20.0, 40.0))
    first, second = steps(run(SLOW, paired))
    assert first.speed.method == "b"
    assert first.ratio == Figure(value=1.0, interval=None)
    assert first.step_ms.value == 20.0
    assert second.ratio.interval is not None
    assert second.shares["backward"] == 0.25
    assert second.images_per_second == 3200.0


def test_a_change_is_of_the_ratios_so_that_a_slower_machine_has_no_part_in_it() -> None:
    halved = step("slow", tuple(2 * t for t in SLOW.step_ms), reference_ms=(20.0,) * 6)
    change = earlier.changes(run(halved), run(SLOW, PLAIN))["slow"]
    assert change.ratio.value == 1.0
    assert change.wall.value == 2.0
    found = broken([parse("wall_change > 1.5")], run(halved), {"slow": change})
    assert found == ["slow: wall_change 2 > 1.5"]


def test_medians_of_few_values_have_a_ratio_and_no_interval() -> None:
    assert medians_ratio([2.0, 4.0, 3.0], [1.0]) == (3.0, None)
    with pytest.raises(ValueError, match="above 0"):
        medians_ratio([], [1.0])


@pytest.mark.parametrize(
    ("now", "word"),
    [
        ({"pair": "resnet8:resnet8"}, "pair"),
        ({"batch_size": 32}, "batch size"),
        ({"reference": "kd"}, "reference"),
        ({"hardware": "another"}, "hardware"),
    ],
)
def test_an_earlier_run_of_another_question_or_machine_is_refused(now: Any, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        earlier.check(now, run(PLAIN), "old.json")
    assert caught.value.what == f"old.json is of another {word}"
    earlier.check({"pair": "resnet20:resnet8", "hardware": run().hardware}, run(), "old.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kdbench": {"pair": 1}}'])
def test_a_file_that_holds_no_run_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(content, "utf-8")
    with pytest.raises(UsageError) as caught:
        earlier.read(path)
    assert "holds no run" in caught.value.what
    with pytest.raises(UsageError):
        earlier.read(tmp_path / "none.json")


def test_the_reference_is_the_first_that_needs_no_teacher_or_else_the_plainest_one(
    kdbench_registry: Registry,
) -> None:
    assert (
        ask(kdbench_registry, ["kd", "label_smoothing", "scratch"]).reference == "label_smoothing"
    )
    assert ask(kdbench_registry, ["kd"]).reference == "scratch"
    asked = ask(kdbench_registry, ["kd"], reference="at")
    assert [one.spec for one in asked.methods] == ["at", "kd"]
    assert Asked.read(asked.json()) == asked
    everyone = ask(kdbench_registry)
    assert {one.spec for one in everyone.methods} == {
        entry.name for entry in kdbench_registry.entries if entry.kind == "method"
    }


@pytest.mark.parametrize(
    "changes",
    [{"batch": 1}, {"batch": 0}, {"pair": "resnet8"}, {"pair": "nothing:resnet8"}, {"seconds": 0}],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    kdbench_registry: Registry, changes: Any
) -> None:
    with pytest.raises(UsageError) as caught:
        ask(kdbench_registry, ["kd"], **changes)
    assert caught.value.why
    assert caught.value.next


def test_a_board_shows_the_speed_files_beside_its_records_and_check_covers_them(
    tmp_path: Path, kdbench_record: Any
) -> None:
    Store(tmp_path).add(kdbench_record(quality={"accuracy": 0.9}))
    write_spec(BoardSpec(suite="toy"), tmp_path)
    bare = read(tmp_path)
    assert "speed" not in json.loads(bare.json())
    assert "measured alone" not in bare.markdown()
    path = write_speed(run(PLAIN, SLOW, unsupported={"odd": "it | is"}), tmp_path)
    assert path.name == name_of("resnet20:resnet8", 64) + ".json"
    board = read(tmp_path)
    text = board.markdown()
    assert "## Cost of a step, measured alone" in text
    assert "| slow" in text
    assert "2.000 [" in text
    assert "odd: unsupported, it \\| is." in text
    assert json.loads(board.json())["speed"][0]["figures"]["slow"]["ratio"]["median"] == 2.0
    write(board, tmp_path)
    assert check(read(tmp_path), tmp_path) == []
    again = write_speed(run(PLAIN), tmp_path)
    assert again == path
    assert [line.split()[0] for line in check(read(tmp_path), tmp_path)] == [
        "README.md", "leaderboard.json",
    ]  # fmt: skip
    assert build([], speeds=read_speeds(tmp_path)).speeds == read_speeds(tmp_path)
    path.write_text("{}", "utf-8")
    with pytest.raises(StoreError):
        read(tmp_path)


def test_the_same_run_gives_the_same_file_and_no_more_figures_than_a_clock_knows(
    tmp_path: Path,
) -> None:
    fine = step("fine", (10.123456789,) * 6)
    first = write_speed(run(fine), tmp_path / "a").read_bytes()
    assert write_speed(run(fine), tmp_path / "b").read_bytes() == first
    (kept,) = read_speeds(tmp_path / "a")
    assert kept.methods[0].step_ms[0] == 10.1235


@pytest.mark.parametrize("pair", ["resnet20:resnet8", "3*resnet8>resnet8:resnet8[width=0.5]"])
def test_a_pair_names_a_file_of_one_part(pair: str) -> None:
    name = name_of(str(Pair.parse(pair)), 64)
    assert "/" not in name
    assert ":" not in name
    assert name.endswith("-b64")


SOURCE = Source("late", "file", "late", "", "late.py", "1", "")
TINY = Case(rows=32, batch_size=8, steps=8)


@dataclass(frozen=True)
class Plain(Method):
    """Cross-entropy with the labels, after a teacher pass."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}


@dataclass(frozen=True)
class Late(Method):
    """A second pass over the logits from half of the budget on."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:
        hard = cross_entropy(student.logits, batch.target, batch.labelled)
        late = (student.logits @ student.logits.T).mean() if batch.progress >= 0.5 else 0 * hard
        return {"hard": hard, "late": late}


def test_a_method_whose_work_differs_over_the_budget_is_measured_over_all_of_it() -> None:
    plain = Bench(Plain(), TINY)
    assert Duel(Bench(Plain(), TINY), plain, 1e-3)._ours.points == 1
    assert Duel(Bench(Late(), TINY), plain, 1e-3)._ours.points == 8


def test_operations_of_a_step_are_those_that_torch_s_own_counter_finds() -> None:
    block = Block(Bench(Plain(), TINY), 1)
    block.lap()
    (ours,) = block.operations()
    with FlopCounterMode(display=False) as counter:
        block.lap()
    assert ours == counter.get_total_flops() > 0


def test_loud_rounds_are_left_out_and_counted_unless_too_few_are_quiet() -> None:
    contender = Contender(spec="late", sources=(SOURCE,), teacher_passes=1)
    for loud, kept, quiet in ((1, 6, True), (2, 7, False)):
        duel = Duel(Bench(Plain(), TINY), Bench(Plain(), TINY), 1e-3)
        lap = replace(duel._ours.lap(), foreign=0.0)
        busy = replace(lap, foreign=0.31)
        duel._laps = [(busy if i < loud else lap, 0.5, lap) for i in range(7)]
        timings = [1.0 + i for i in range(7)]
        found = duel.summary(timings, contender, 40.0)
        assert (len(timings), found.discarded, found.quiet) == (kept, loud, quiet)
        assert len(found.step_ms) == kept
        assert found.step_ms[0] == 1000.0 * (1 + loud * quiet)
