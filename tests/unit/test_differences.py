"""Two sides, paired by everything but what differs: each difference against one made by hand."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kdbench.errors import NothingSelected, UsageError
from kdbench.leaderboard import Comparison, compare, of_method, select
from kdbench.leaderboard.differences import limit
from kdbench.record import Record

Made = Callable[..., Record]
COST = {
    "step_ms": 2.0, "parts_ms": {}, "images_per_second": 1.0, "overhead": None,
    "overhead_interval": None, "rounds": 3, "teacher_passes": 1.0, "training_parameters": 0,
    "peak_memory_mb": 1.0, "cpu_ms": 4.0,
}  # fmt: skip


@pytest.fixture
def trial(kdbench_record: Made) -> Callable[..., Record]:
    """`trial(accuracy, seed=0, method="kd", ask={}, **changes)`: a record."""
    base = kdbench_record()

    def made(accuracy: float, seed: int = 0, method: str = "kd", **changes: Any) -> Record:
        ask = {"seed": seed, "method": method, **changes.pop("ask", {})}
        question = base.question.model_validate(base.question.model_dump() | ask)
        close = {"agreement": accuracy, "kl": 1 - accuracy}
        whole = {
            "question": question, "quality": {"accuracy": accuracy}, "fidelity": {"test": close},
            "cost": COST,
        }  # fmt: skip
        return kdbench_record(**whole | changes)

    return made


def found(first: Sequence[Record], second: Sequence[Record]) -> Comparison:
    return compare(select(first), select(second), ("A", "B"))


def test_differences_are_the_second_s_less_the_first_s_paired_by_seed(trial: Made) -> None:
    first = [trial(0.80, 0), trial(0.90, 1), trial(0.70, 2)]
    second = [trial(0.71, 2, "dkd"), trial(0.82, 0, "dkd"), trial(0.93, 1, "dkd")]
    got = found(first, second)
    accuracy = got.overall.differences["accuracy"]
    assert accuracy.mean == pytest.approx(2.0)
    assert accuracy.half == pytest.approx(4.302652729749464 / math.sqrt(3))  # t of 2 degrees
    assert accuracy.n == 3
    assert got.overall.differences["kl"].mean == pytest.approx(-0.02)
    assert got.differing == ("method", "hyperparameters")
    assert [line.name for line in got.lines] == [""]


def test_what_is_the_same_is_identical_and_one_pair_has_no_interval(trial: Made) -> None:
    same = [trial(0.8, 0, logits="a"), trial(0.9, 1, logits="b")]
    got = found(same, same)
    assert got.overall.differences["accuracy"].identical
    assert got.overall.differences["time"].identical
    assert got.same == 2
    alone = found([trial(0.8)], [trial(0.9, method="at")])
    assert alone.overall.differences["accuracy"].low is None
    assert alone.overall.differences["accuracy"].n == 1
    assert alone.same == 0


def test_a_place_and_seed_counts_once_however_many_methods_are_compared_there(trial: Made) -> None:
    methods = ("kd", "at", "dkd")
    first = [trial(0.8, seed, name) for seed in (0, 1) for name in methods]
    second = [trial(0.8 + 0.01 * (seed + 1), seed, name) for seed in (0, 1) for name in methods]
    got = found(first, second)
    assert (got.overall.trials, got.overall.differences["accuracy"].n) == (6, 2)
    assert got.overall.differences["accuracy"].mean == pytest.approx(1.5)
    assert [line.name for line in got.lines] == ["", "at", "dkd", "kd"]
    assert got.differing == ()


def test_places_weigh_the_same_whatever_their_number_of_seeds(trial: Made) -> None:
    other = {"student": "resnet8"}
    first = [trial(0.5, 0), trial(0.5, 1), trial(0.5, 2), trial(0.5, 0, ask=other)]
    second = [trial(0.51, 0), trial(0.52, 1), trial(0.53, 2), trial(0.56, 0, ask=other)]
    got = found(first, second)
    assert got.overall.differences["accuracy"].mean == pytest.approx((2 + 6) / 2)
    assert got.overall.differences["accuracy"].n == 4


def test_times_are_ratios_of_equal_hardware_and_valid_times_alone(
    trial: Made, kdbench_record: Made
) -> None:
    slow = COST | {"step_ms": 6.0, "cpu_ms": 4.0}
    got = found([trial(0.8, 0), trial(0.8, 1)], [trial(0.8, 0, cost=slow), trial(0.8, 1)])
    assert got.overall.differences["time"].mean == pytest.approx(math.sqrt(3))
    busy = slow | {"valid": False, "why_not": "others"}
    got = found([trial(0.8, 0), trial(0.8, 1)], [trial(0.8, 0, cost=busy), trial(0.8, 1)])
    assert got.overall.differences["time"].mean == 1
    assert got.overall.differences["time"].n == 1
    assert got.overall.differences["cpu"].n == 2
    assert got.remarks == ("step times of 1 of 2 pairs of trials are not compared: others",)
    elsewhere = kdbench_record().environment.model_dump() | {"device_name": "another"}
    got = found([trial(0.8)], [trial(0.9, environment=elsewhere)])
    assert set(got.overall.differences) == {"accuracy", "agreement", "kl"}
    assert any("the hardware differs" in line for line in got.remarks)
    assert any("device_name x -> another" in line for line in got.remarks)


def test_what_has_no_partner_is_said_with_the_reason(trial: Made) -> None:
    why = {"kind": "ValueError", "message": "bad", "where": "step 3"}
    first = [trial(0.8, 0), trial(0.8, 1), trial(0.8, 2), trial(0.8, 0, "at")]
    second = [trial(0.8, 0), trial(0.8, 1, status="failed", failure=why)]
    got = found(first, second)
    place = "digits: resnet8 teaches resnet8[width=0.5]"
    assert got.unpaired == (
        f"{place}: at: no such trials in B",
        f"{place}: kd seed 1: B: failed in step 3: bad",
        f"{place}: kd seed 2: B: no record",
    )
    assert got.overall.trials == 1


def test_a_quiz_split_another_seed_and_other_data_pair_with_nothing(trial: Made) -> None:
    for other in ({"quiz": 0.1}, {"seed": 5}, {"dataset": "mnist"}, {"teacher": "resnet20"}):
        with pytest.raises(NothingSelected):
            found([trial(0.8)], [trial(0.9, method="at", ask=other)])


def test_part_of_a_budget_is_never_compared_with_the_whole(trial: Made) -> None:
    part = {"protocol": {"epochs": 60, "batch_size": 32, "learning_rate": 0.05, "steps": 4}}
    with pytest.raises(NothingSelected):
        found([trial(0.8)], [trial(0.9, ask=part)])
    both = [trial(0.8), trial(0.8, ask=part)]
    got = found(both, [trial(0.9), trial(0.1, ask=part)])
    assert got.overall.differences["accuracy"].mean == pytest.approx(10)
    assert got.unpaired == ("1 pair of trials with part of their budget: left out",)


def test_another_protocol_on_each_side_is_what_differs(trial: Made) -> None:
    faster = {"protocol": {"epochs": 60, "batch_size": 32, "learning_rate": 0.1}}
    got = found([trial(0.8, 0), trial(0.8, 1)], [trial(0.9, s, ask=faster) for s in (0, 1)])
    assert got.differing == ("protocol",)
    two = [trial(0.8), trial(0.8, ask={"protocol": faster["protocol"] | {"batch_size": 8}})]
    with pytest.raises(UsageError, match="fit one of the other side"):
        found(two, [trial(0.9, ask=faster)])


def test_settings_and_protocols_of_one_method_are_told_apart(trial: Made) -> None:
    faster = {"protocol": {"epochs": 60, "batch_size": 32, "learning_rate": 0.1}}
    warm = {"hyperparameters": {"alpha": 0.5}}
    side = [trial(0.8), trial(0.7, ask=warm), trial(0.6, ask=faster)]
    got = found(side, side)
    names = [line.name for line in got.lines]
    assert names == ["", "kd[alpha=0.5]", "kd[alpha=0.9]", ""] or names == [
        "", "", "kd[alpha=0.5]", "kd[alpha=0.9]",
    ]  # fmt: skip
    assert len({line.place for line in got.lines}) == 2
    assert all(", protocol " in line.place for line in got.lines)


def test_a_method_with_several_settings_needs_the_options_that_tell_them_apart(
    trial: Made,
) -> None:
    cells = select([trial(0.8), trial(0.9, ask={"hyperparameters": {"alpha": 0.5}})])
    with pytest.raises(UsageError) as caught:
        of_method(cells, "kd")
    assert "kd[alpha=0.5]; kd[alpha=0.9]" in caught.value.why
    (one,) = of_method(cells, "kd[alpha=0.5]")
    assert one.answers[0].quality["accuracy"] == 0.9
    by_hand = trial(0.7, settings="set by hand", ask={"hyperparameters": {"alpha": 0.1}})
    (one,) = of_method(select([trial(0.8), by_hand]), "kd")
    assert one.answers[0].quality["accuracy"] == 0.8


def test_limits_are_on_the_mean_and_what_was_not_measured_keeps_none(trial: Made) -> None:
    got = found([trial(0.80, 0), trial(0.80, 1)], [trial(0.70, 0), trial(0.88, 1)])
    assert got.broken([limit("accuracy < -0.9"), limit("time > 1.1")]) == [
        "accuracy -1 < -0.9, the mean of all pairs"
    ]
    assert got.broken([limit("accuracy < -1.1"), limit("kl > 0.5")]) == []
    bare = found([trial(0.8, cost=None)], [trial(0.9, cost=None)])
    assert bare.broken([limit("time > 9")]) == ["time > 9: not measured on both sides"]
    for text in ("kd: accuracy < 1", "speed > 1", "accuracy < nan"):
        with pytest.raises(UsageError):
            limit(text)


def test_other_code_and_other_teachers_are_remarked(trial: Made) -> None:
    card = {"weights": "w", "parameters": 1, "multiply_adds": 1, "quality": {}}
    first, second = trial(0.8, teacher=card), trial(0.8, teacher=card | {"weights": "v"})
    prints = second.fingerprints.model_copy(update={"code": "d" * 64})
    got = found([first], [second.model_copy(update={"fingerprints": prints})])
    assert got.remarks == (
        "1 of 1 pairs had teachers of other weights", "1 of 1 pairs were made by other code",
    )  # fmt: skip


def test_names_of_a_stranger_s_records_lose_their_control_characters(trial: Made) -> None:
    evil = {"dataset": "x\x1b[31m\u202ey"}
    got = found([trial(0.8, ask=evil)], [trial(0.9, ask=evil)])
    assert got.overall.trials == 1
    assert got.lines[0].place.isprintable()
