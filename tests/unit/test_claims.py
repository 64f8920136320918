import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as some

from kdbench.errors import NothingSelected, UsageError
from kdbench.leaderboard import Board, BoardSpec, build
from kdbench.leaderboard.claims import CONTRASTS, answered, finding, judged, shown, words
from kdbench.leaderboard.claims.teachers import TeacherCheck, checks, told
from kdbench.leaderboard.claims.verdicts import more, sentence, settled
from kdbench.leaderboard.spec import Variation
from kdbench.record import Card, Failure, Record, TeacherProtocol
from kdbench.statistics import Estimate, mean, rank_correlation, seeds_to_settle
from kdbench.suite import Claim, Direction, Point, Series, Term, Where

YES, NO, OPEN = "reproduced", "not reproduced", "not testable"
DIRECTIONS: tuple[Direction, ...] = ("greater", "less", "equal", "not less", "not greater")
ENDS = some.floats(-1, 1, allow_nan=False)
ACCURACY = {"scratch": (0.80, 0.82, 0.81), "kd": (0.84, 0.85, 0.86), "dkd": (0.83, 0.87, 0.85)}

Made = Callable[..., Record]


@pytest.fixture
def kdbench_trial(kdbench_record: Made) -> Made:
    """`kdbench_trial(method, seed, accuracy, **changes)`: a record; changes reach the question."""
    first = kdbench_record().question

    def made(
        method: str,
        seed: int,
        accuracy: float,
        *,
        teacher: float = 0.9,
        rows: int | None = None,
        more: Mapping[str, float] | None = None,
        settings: str = "paper",
        status: str = "ok",
        **changes: Any,
    ) -> Record:
        recipe = TeacherProtocol.model_validate(first.protocol.model_dump() | {"rows": rows})
        asked = {"method": method, "seed": seed, "teacher_protocol": recipe} | changes
        question = first.model_copy(update=asked)
        if status != "ok":
            why = Failure(kind="OutOfMemory", message="out of memory", where="training")
            return kdbench_record(question=question, status=status, failure=why)
        card = Card(weights="ab", parameters=9, multiply_adds=9, quality={"accuracy": teacher})
        return kdbench_record(
            question=question, rows=200, quality={"accuracy": accuracy} | dict(more or {}),
            teacher=card, settings=settings,
        )  # fmt: skip

    return made


@pytest.fixture
def kdbench_trials(kdbench_trial: Made) -> Callable[..., list[Record]]:
    """`kdbench_trials(accuracy, **changes)`: of every method its accuracies, seed by seed."""

    def made(accuracy: Mapping[str, Sequence[float]] = ACCURACY, **changes: Any) -> list[Record]:
        return [
            kdbench_trial(method, seed, value, **changes)
            for method, values in accuracy.items()
            for seed, value in enumerate(values)
        ]

    return made


def term(method: str, weight: float = 1.0, **changes: Any) -> Term:
    return Term(**{"method": method, "weight": weight, "measure": "accuracy"} | changes)


def claim(*terms: Term, direction: Direction = "greater", **changes: Any) -> Claim:
    said = {"key": "it", "says": "It is so.", "source": "Table 1", "effect": 0.001}
    return Claim(**said | {"direction": direction, "terms": terms} | changes)


GAIN = claim(term("kd"), term("scratch", -1))


def board(records: Sequence[Record], **spec: Any) -> Board:
    return build(records, BoardSpec(suite="toy", **{"baselines": ("scratch",)} | spec))


def varied(records: Sequence[Record], rows: Mapping[int | None, str], **spec: Any) -> Board:
    """A board whose variants are told apart by how many rows taught the teacher."""
    found: dict[str, dict[str, str]] = {name: {} for name in rows.values()}
    for table in build(records).tables:
        recipe = table.question.teacher_protocol
        assert recipe is not None
        found[rows[recipe.rows]][f"{table.question.dataset} {table.pair}"] = table.key
    return board(records, variants={n: Variation(tables=t) for n, t in found.items()}, **spec)


@pytest.mark.parametrize(
    ("direction", "low", "high", "verdict"),
    [
        ("greater", 0.001, 0.02, YES), ("greater", 0.02, 0.03, YES),
        ("greater", 0.0, 0.02, OPEN), ("greater", -0.001, 0.02, OPEN),
        ("greater", -0.02, -0.001, NO), ("greater", -0.02, 0.0, OPEN),
        ("greater", 0.001, 0.01, NO), ("greater", -0.01, 0.01, NO), ("greater", -0.01, -0.005, NO),
        ("less", -0.02, -0.001, YES), ("less", 0.001, 0.02, NO), ("less", -0.02, 0.0, OPEN),
        ("less", -0.01, -0.001, NO),
        ("equal", -0.01, 0.01, YES), ("equal", 0.001, 0.009, YES), ("equal", -0.011, 0.01, OPEN),
        ("equal", 0.011, 0.02, NO), ("equal", 0.01, 0.02, OPEN), ("equal", -0.02, -0.011, NO),
        ("equal", -0.02, -0.01, OPEN), ("equal", -0.5, 0.5, OPEN),
        ("not less", -0.009, 0.5, YES), ("not less", -0.01, 0.5, OPEN),
        ("not less", -0.5, -0.011, NO), ("not less", -0.5, -0.01, OPEN),
        ("not less", 0.1, 0.2, YES),
        ("not greater", -0.5, 0.009, YES), ("not greater", -0.5, 0.01, OPEN),
        ("not greater", 0.011, 0.5, NO), ("not greater", 0.01, 0.5, OPEN),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_where_the_interval_lies(
    direction: Direction, low: float, high: float, verdict: str
) -> None:
    assert judged(direction, 0.01, low, high) == verdict


@given(some.sampled_from(DIRECTIONS), some.floats(0, 0.5), ENDS, ENDS)
def test_the_sides_of_0_are_treated_alike_and_sentences_fit_verdicts(
    direction: Direction, effect: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    mirrored: dict[Direction, Direction] = {
        "greater": "less", "less": "greater", "not less": "not greater",
        "not greater": "not less", "equal": "equal",
    }  # fmt: skip
    verdict = judged(direction, effect, low, high)
    assert judged(mirrored[direction], effect, -high, -low) == verdict
    text = sentence(direction, effect, low, high, CONTRASTS["points"])
    assert CONTRASTS["points"].ends(low, high) in text
    assert text.startswith("The whole interval") == (verdict != OPEN)


@given(some.sampled_from(DIRECTIONS), some.floats(0, 0.5), ENDS, ENDS)
def test_a_narrower_interval_never_takes_a_verdict_back_but_for_what_is_too_small(
    direction: Direction, effect: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    inner = low + (high - low) / 3, high - (high - low) / 3
    before, after = judged(direction, effect, low, high), judged(direction, effect, *inner)
    small = -effect <= inner[0] and inner[1] <= effect
    assert before in (OPEN, after) or (direction in ("greater", "less") and small)


def test_what_does_not_differ_is_seldom_said_to() -> None:
    draw, count = random.Random(0), 2000
    found = [mean([draw.gauss(0, 1) for _ in range(5)]) for _ in range(count)]
    verdicts = [judged("greater", 0.01, one.low, one.high) for one in found]  # type: ignore[arg-type]
    assert 0.015 < verdicts.count("reproduced") / count < 0.035
    assert 0.015 < verdicts.count("not reproduced") / count < 0.035


def test_a_contrast_is_paired_by_seed_with_its_t_interval(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    one = finding(board(kdbench_trials()), GAIN)
    assert one.values == pytest.approx({0: 0.04, 1: 0.03, 2: 0.05})
    assert one.estimate and one.estimate.low is not None
    half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem([0.04, 0.03, 0.05])
    assert (one.estimate.mean, one.estimate.low) == pytest.approx((0.04, 0.04 - half))
    assert (one.verdict, one.tables, one.notes) == ("reproduced", 1, ())
    assert one.why == "The whole interval [+1.52, +6.48] lies above 0."


def test_weights_and_the_constant_count(kdbench_trials: Callable[..., list[Record]]) -> None:
    asked = claim(term("kd", 2), term("scratch", -0.5), constant=-1.0)
    one = finding(board(kdbench_trials()), asked)
    assert one.values[1] == pytest.approx(2 * 0.85 - 0.5 * 0.82 - 1)


def test_several_tables_count_by_their_mean_unless_one_is_asked_for(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    more = {"scratch": (0.5, 0.5, 0.5), "kd": (0.6, 0.7, 0.8)}
    both = board([*kdbench_trials(), *kdbench_trials(more, dataset="mnist")])
    one = finding(both, GAIN)
    assert one.tables == 2
    assert one.values == pytest.approx({0: 0.07, 1: 0.115, 2: 0.175})
    there = {"dataset": "mnist", "pair": "resnet8:resnet8[width=0.5]"}
    alone = finding(both, claim(term("kd", **there), term("scratch", -1, **there)))
    assert alone.tables == 1
    assert alone.values == pytest.approx({0: 0.1, 1: 0.2, 2: 0.3})


def test_variants_are_told_apart(kdbench_trials: Callable[..., list[Record]]) -> None:
    other = kdbench_trials({"kd": (0.7, 0.72, 0.71)}, rows=50)
    both = varied([*kdbench_trials(), *other], {None: "plain", 50: "small"})
    one = finding(both, claim(term("kd", variant="plain"), term("kd", -1, variant="small")))
    assert one.values == pytest.approx({0: 0.14, 1: 0.13, 2: 0.15})
    unknown = finding(both, claim(term("kd", variant="plane")))
    assert unknown.verdict == "not answered"
    assert "'plane'" in unknown.why and "did you mean 'plain'?" in unknown.why


def test_a_quality_of_the_teacher_is_that_of_the_row_s_trials(kdbench_trial: Made) -> None:
    trials = [kdbench_trial("kd", s, 0.8, teacher=0.9 + s / 100) for s in range(3)]
    one = finding(board(trials), claim(term("kd", measure="teacher_accuracy"), term("kd", -1)))
    assert one.values == pytest.approx({0: 0.10, 1: 0.11, 2: 0.12})


def test_what_no_seed_varies_has_no_interval_and_no_verdict(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    asked = claim(term("kd", measure="teacher_accuracy"), constant=-0.5)
    one = finding(board(kdbench_trials()), asked)
    assert one.verdict == OPEN and "the same in all 3 seeds" in one.why
    assert one.estimate and (one.estimate.n, one.estimate.low) == (3, None)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_rows_that_never_differ_have_no_verdict(
    kdbench_trials: Callable[..., list[Record]], direction: Direction
) -> None:
    values = (0.8, 0.85, 0.83)
    same = board(kdbench_trials({"scratch": values, "kd": values}))
    one = finding(same, claim(term("kd"), term("scratch", -1), direction=direction))
    assert (one.verdict, set(one.values.values())) == (OPEN, {0.0})
    assert "may be one and the same thing" in one.why


def test_one_seed_has_no_verdict(kdbench_trials: Callable[..., list[Record]]) -> None:
    one = finding(board(kdbench_trials({"scratch": (0.5,), "kd": (0.9,)})), GAIN)
    assert (one.verdict, one.why) == (OPEN, "One seed has no interval.")


def test_a_row_that_is_missing_is_named(kdbench_trials: Callable[..., list[Record]]) -> None:
    one = finding(board(kdbench_trials()), claim(term("at"), term("scratch", -1)))
    assert one.verdict == "not answered" and one.estimate is None
    assert one.why == "There is no row of 'at' in digits resnet8:resnet8[width=0.5]."


def test_seeds_that_are_missing_are_named_with_the_reason(
    kdbench_trials: Callable[..., list[Record]], kdbench_trial: Made
) -> None:
    records = [
        one for one in kdbench_trials() if (one.question.method, one.question.seed) != ("kd", 1)
    ]
    one = finding(board([*records, kdbench_trial("kd", 1, 0, status="oom")], seeds=(0, 1, 2)), GAIN)
    assert one.verdict == "not answered"
    assert "'kd' in digits resnet8:resnet8[width=0.5] is not complete: seed 1: oom" in one.why


def test_a_method_that_was_never_tried_is_not_answered_by_another_setting_of_it(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    hot = {"hyperparameters": {"alpha": 0.5}, "settings": "set by hand"}
    records = [one for one in kdbench_trials() if one.question.method != "kd"]
    records += kdbench_trials({"kd": ACCURACY["kd"]}, **hot)
    one = finding(board(records, methods=("scratch", "kd", "kd[alpha=0.5]")), GAIN)
    assert one.verdict == "not answered" and "no row of 'kd'" in one.why
    hand = finding(board(records, methods=("kd",)), claim(term("kd[alpha=0.5]")))
    assert hand.values == dict(enumerate(ACCURACY["kd"]))


def test_a_table_that_is_missing_is_named(kdbench_trials: Callable[..., list[Record]]) -> None:
    wanted = {"datasets": ("digits", "mnist"), "pairs": ("resnet8:resnet8[width=0.5]",)}
    one = finding(board(kdbench_trials(), **wanted), GAIN)
    assert one.verdict == "not answered"
    assert "of mnist resnet8:resnet8[width=0.5]" in one.why
    there = finding(board(kdbench_trials(), **wanted), claim(term("kd", dataset="digits")))
    assert there.values == dict(enumerate(ACCURACY["kd"]))


def test_two_protocols_without_variants_are_never_averaged(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    one = finding(board([*kdbench_trials(), *kdbench_trials(rows=50)]), GAIN)
    assert one.verdict == "not answered" and "2 protocols" in one.why


def test_fewer_common_seeds_are_told(kdbench_trials: Callable[..., list[Record]]) -> None:
    other = kdbench_trials({"kd": (0.7, 0.72)}, rows=50)
    both = varied([*kdbench_trials(), *other], {None: "plain", 50: "small"})
    one = finding(both, claim(term("kd", variant="plain"), term("kd", -1, variant="small")))
    assert set(one.values) == {0, 1}
    assert one.notes == ("Left out, as not every row has them: seed 2.",)


def test_a_measure_that_is_not_there_is_named_with_what_was_meant(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    one = finding(board(kdbench_trials()), claim(term("kd", measure="acuracy")))
    assert one.verdict == "not answered"
    assert "acuracy" in one.why and "did you mean 'accuracy'?" in one.why
    teacher = finding(board(kdbench_trials()), claim(term("kd", measure="teacher_ece")))
    assert teacher.verdict == "not answered" and "teacher_ece" in teacher.why


def test_several_rows_that_may_be_meant_are_an_error_that_names_them(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    records = kdbench_trials() + kdbench_trials(
        {"kd": ACCURACY["kd"]}, hyperparameters={"alpha": 0.5}
    )
    with pytest.raises(UsageError, match="means 2 rows") as caught:
        finding(board(records), GAIN)
    assert "kd[alpha=0.5]" in caught.value.why and "kd[alpha=0.9]" in caught.value.why
    told_apart = claim(term("kd[alpha=0.5]"), term("scratch", -1))
    assert finding(board(records), told_apart).verdict == "reproduced"


def test_rows_of_the_whole_transfer_set_and_the_suite_s_own_settings_go_first(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    less = kdbench_trials({"scratch": (0.1, 0.2, 0.3)}, quiz=0.1)
    hand = kdbench_trials(
        {"kd": (0.1, 0.2, 0.3)}, hyperparameters={"alpha": 0.5}, settings="set by hand"
    )
    assert finding(board([*kdbench_trials(), *less, *hand]), GAIN).values == pytest.approx(
        {0: 0.04, 1: 0.03, 2: 0.05}
    )


ALONG = Claim(
    key="order", says="They go together.", source="Figure 1", direction="greater", effect=0.1,
    unit="correlation", x="ece", y="accuracy",
    along=tuple(Where(method=method) for method in ("scratch", "kd", "dkd")),
)  # fmt: skip


def test_a_correlation_is_never_printed_in_points() -> None:
    with pytest.raises(ValueError, match="has unit = 'correlation'"):
        Claim.model_validate(ALONG.model_dump() | {"unit": "points"})


def test_a_correlation_is_one_of_ranks_over_the_rows_of_each_seed(kdbench_trial: Made) -> None:
    draw, trials, values = random.Random(1), list[Record](), dict[int, list[tuple[float, float]]]()
    for seed in range(4):
        for method in ("scratch", "kd", "dkd"):
            ece, accuracy = draw.random(), draw.random()
            trials.append(kdbench_trial(method, seed, accuracy, more={"ece": ece}))
            values.setdefault(seed, []).append((ece, accuracy))
    one = finding(board(trials), ALONG)
    expected = {s: scipy.stats.spearmanr(*zip(*v, strict=True))[0] for s, v in values.items()}
    assert one.values == pytest.approx(expected)
    assert one.estimate and one.estimate.low is not None and one.estimate.low >= -1


def test_a_seed_in_which_all_rows_are_alike_has_no_correlation_and_is_told(
    kdbench_trial: Made,
) -> None:
    trials = [
        kdbench_trial(method, seed, 0.7 + place / 10, more={"ece": 0.1 + seed * place / 10})
        for seed in range(3)
        for place, method in enumerate(("scratch", "kd", "dkd"))
    ]
    one = finding(board(trials), ALONG)
    assert one.values == pytest.approx({1: 1.0, 2: 1.0})
    assert one.notes == ("No correlation in seed 0: all rows have the same value.",)
    assert (one.verdict, one.why) == (
        "reproduced",
        "The whole interval [+1.00, +1.00] lies above 0.",
    )
    flat = finding(board([t for t in trials if t.question.seed == 0]), ALONG)
    assert (flat.verdict, flat.why) == (OPEN, "There is no seed with a correlation.")


@given(some.lists(some.tuples(some.integers(0, 5), some.integers(0, 5)), min_size=2, max_size=8))
def test_rank_correlation_is_scipy_s(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    found = rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(x, y)[0])


def test_seeds_that_would_settle_are_those_of_the_nearest_way_out() -> None:
    one = mean([0.02, -0.01, 0.03, 0.00])
    assert one.mean == pytest.approx(0.01)
    needed = seeds_to_settle(one)
    assert needed is not None
    assert settled("greater", 0.0, one) == settled("less", 0.0, one) == needed - 4
    assert settled("equal", 0.02, one) == needed - 4  # as far from the bound as from 0
    assert settled("not less", 0.0, one) == needed - 4
    nearer, at_it = settled("not less", 0.01, one), settled("not greater", 0.01, one)
    assert nearer is not None and nearer < needed - 4
    assert at_it is None  # no number of seeds tells a contrast from where it lies
    assert f"About {needed - 4} more seeds ({needed} in all)" in more(needed - 4, one)


def test_series_have_means_with_intervals_or_say_why_not(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    points = (
        Point(label="first", method="kd", published=81.0), Point(label="second", method="at"),
    )  # fmt: skip
    series = Series(title="Accuracy", source="Table 1", measure="accuracy", points=points)
    first, second = shown(board(kdbench_trials()), series).figures
    assert first.ours == mean(ACCURACY["kd"]) and first.why == ""
    assert second.ours is None and second.why.startswith("There is no row of 'at'")


@pytest.mark.parametrize(
    ("teacher", "state"), [(0.95, "better"), (0.82, "not told"), (0.81, "not better")]
)
def test_teachers_are_compared_with_the_first_baseline_by_seed(
    kdbench_trials: Callable[..., list[Record]], teacher: float, state: str
) -> None:
    (one,) = checks(board(kdbench_trials(teacher=teacher)))
    assert one.state == state and one.lead
    assert one.lead.mean == pytest.approx(teacher - 0.81)


def test_a_table_without_the_baseline_takes_the_best_one_of_its_data_and_student(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    best = kdbench_trials({"scratch": (0.85, 0.86, 0.87)}, rows=50)
    without = kdbench_trials({"kd": (0.7, 0.72, 0.71)}, rows=70, teacher=0.80)
    rows = {None: "plain", 50: "fewer", 70: "fewest"}
    found = {one.place: one for one in checks(varied([*kdbench_trials(), *best, *without], rows))}
    (place,) = (place for place in found if place.startswith("fewest"))
    assert found[place].state == "not better"
    assert found[place].why.startswith("scratch of fewer: digits")
    assert told([*found.values()], "scratch") == (
        "The teacher is better than scratch in 2 of 3 tables; not better in 1."
    )
    elsewhere = kdbench_trials({"kd": (0.7, 0.72, 0.71)}, dataset="mnist")
    states = [one.state for one in checks(board([*kdbench_trials(), *elsewhere]))]
    assert states == ["better", "unknown"]


def test_a_suite_without_claims_has_no_report(kdbench_trials: Callable[..., list[Record]]) -> None:
    with pytest.raises(NothingSelected, match="toy has no report"):
        answered(board(kdbench_trials()))


def test_a_report_counts_verdicts_and_chance(kdbench_trials: Callable[..., list[Record]]) -> None:
    missing = claim(term("at"), key="other")
    report = answered(board(kdbench_trials(), claims=(GAIN, missing)))
    assert report.verdict == (
        "Of 2 claims: 1 reproduced, 0 not reproduced, 0 not testable at this size, 1 not answered."
    )
    assert "1 of 2 claims have one" in report.multiplicity and "0.05" in report.multiplicity


def test_a_report_says_whether_its_seeds_vary_the_teacher_too(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    shared = kdbench_trials()
    recipe = shared[0].question.teacher_protocol
    assert recipe is not None
    own = kdbench_trials(teacher_protocol=recipe.model_copy(update={"seed": "trial"}))
    told = {
        "Seeds vary the student, not the teacher": [shared, [*shared, *own]],
        "Seeds vary teacher and student": [own],
    }
    for text, boards in told.items():
        for records in boards:
            assert text in answered(board(records, claims=(GAIN,))).markdown()


def test_the_same_records_give_the_same_bytes_in_any_order(
    kdbench_trials: Callable[..., list[Record]],
) -> None:
    records = kdbench_trials()
    mixed = records * 2
    random.Random(0).shuffle(mixed)
    one, two = (answered(board(some, claims=(GAIN,))) for some in (records, mixed))
    assert (one.markdown(), one.json()) == (two.markdown(), two.json())


def test_points_have_two_decimals_and_nats_four() -> None:
    one = mean([0.012, 0.014])
    assert CONTRASTS["points"].span(one) == "+1.30 [+0.03, +2.57] points"
    assert CONTRASTS["nats"].of(-0.00014) == "−0.0001 nats"
    assert CONTRASTS["nats"].of(-0.00004) == "+0.0000 nats"


def test_variants_whose_teachers_fare_alike_are_one_line() -> None:
    lead = Estimate(mean=-0.01, n=5, low=-0.02, high=-0.005)
    alike = [
        TeacherCheck(place=f"{name}: digits a:b", variant=name, state="not better", lead=lead)
        for name in ("one", "two")
    ]
    other = TeacherCheck(place="three: digits a:b", variant="three", state="unknown", why="no row")
    better = TeacherCheck(place="four: digits a:b", variant="four", state="better", lead=lead)
    report: Any = SimpleNamespace(teachers=(*alike, other, better))
    assert words.doubtful(report) == [
        "one, two: digits a:b: not better (−1.00 [−2.00, −0.50] points, n = 5)",
        "three: digits a:b: unknown; no row",
    ]
