"""Plans: every question once, each kind of stream a cohort, a teacher for all that share it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import UsageError
from kdbench.plan import Plan, shared
from kdbench.record import Environment, Record

Planned = Callable[..., Plan]
HERE = Environment(
    python="3", torch="2", timm="1", kdbench="0", device="cpu", device_name="x", capability="y",
    threads=1, platform="z"
)  # fmt: skip


def answered(trial: Any, status: str = "ok", **fields: Any) -> Record:
    found: Record = trial.record("digits", status, HERE, **fields)
    return found


# Cohorts ----------------------------------------------------------------------------------------


def test_methods_that_share_a_stream_are_one_cohort_a_pair_and_seed(kdbench_plan: Planned) -> None:
    pairs = ["resnet8:resnet8[width=0.5]", "resnet8:resnet8[width=0.25]"]
    made = kdbench_plan(methods=["scratch", "kd", "rco"], pairs=pairs, seeds=[0, 1])
    assert [(str(c.pair), c.seed) for c in made.cohorts] == [(p, s) for p in pairs for s in (0, 1)]
    assert {c.quiz for c in made.cohorts} == {0.0}
    assert [t.spec.name for t in made.cohorts[0].trials] == ["scratch", "kd", "rco"]
    assert len({t.question.fingerprint for t in made.trials}) == len(made.trials) == 12


def test_a_method_that_holds_out_a_quiz_has_a_cohort_with_the_baselines_as_twins(
    kdbench_plan: Planned,
) -> None:
    whole, quiz = kdbench_plan(methods=["scratch", "metadistil", "at", "kd"]).cohorts
    assert [t.spec.name for t in whole.trials] == ["scratch", "at", "kd"]
    assert [t.spec.name for t in quiz.trials] == ["scratch", "kd", "metadistil"]
    assert (whole.quiz, quiz.quiz) == (0.0, 0.1)
    assert whole.stream_rows - quiz.stream_rows == round(0.1 * whole.stream_rows)
    twin, original = quiz.trials[0].question, whole.trials[0].question
    assert twin.quiz == 0.1
    assert twin.fingerprint != original.fingerprint
    assert quiz.yardstick
    assert quiz.yardstick.question == twin


def test_a_quiz_method_chosen_alone_brings_its_baselines_and_no_other_cohort(
    kdbench_plan: Planned,
) -> None:
    (alone,) = kdbench_plan(methods=["metadistil"]).cohorts
    assert [t.spec.name for t in alone.trials] == ["scratch", "kd", "metadistil"]
    shares = kdbench_plan(methods=["metadistil[quiz=0.2]", "metadistil"]).cohorts
    assert [c.quiz for c in shares] == [0.2, 0.1]


def test_what_is_asked_twice_is_asked_once(kdbench_plan: Planned) -> None:
    made = kdbench_plan(
        methods=["kd", "kd[temperature=4.0]", "kd", "kd[alpha=0.5]"],
        pairs=["resnet8:resnet8[width=0.5]", " resnet8:resnet8[ width=.5 ] "],
        seeds=[0, 0],
        datasets=["digits", "digits[]"],
    )
    (cohort,) = made.cohorts
    assert [(str(t.spec), t.settings) for t in cohort.trials] == [
        ("kd", "paper"), ("kd[alpha=0.5]", "set by hand"),
    ]  # fmt: skip


def test_the_yardstick_is_the_first_baseline_also_where_it_is_not_asked_for(
    kdbench_plan: Planned,
) -> None:
    (cohort,) = kdbench_plan(methods=["at"]).cohorts
    assert cohort.yardstick
    assert cohort.yardstick.spec.name == "scratch"
    (bare,) = kdbench_plan(methods=["at"], scoring={"baselines": ()}).cohorts
    assert bare.yardstick is None


# Settings of a pair -----------------------------------------------------------------------------

TUNED = "resnet8:resnet8[width=0.25]"


def asked(made: Plan) -> list[tuple[str, str]]:
    return [(str(trial.spec), trial.settings) for trial in made.trials]


def test_what_is_tuned_for_a_pair_is_asked_beside_the_default_and_for_no_other_pair(
    kdbench_plan: Planned,
) -> None:
    pairs = [TUNED, "resnet8:resnet8[width=0.5]"]
    by_pair = {TUNED: {"dkd": {"beta": 2.0}, "kd+at": {"at.weight": 10.0}}}
    made = kdbench_plan(methods=["kd", "dkd", "kd+at"], pairs=pairs, by_pair=by_pair)
    plain = [("kd", "paper"), ("dkd", "paper"), ("kd+at", "paper")]
    tuned = [("dkd[beta=2.0]", "tuned per pair"), ("kd+at[weight=10.0]", "tuned per pair")]
    assert asked(made) == [*plain[:2], tuned[0], plain[2], tuned[1], *plain]
    assert made.trials[2].question.hyperparameters["beta"] == 2.0


@pytest.mark.parametrize(
    ("methods", "beta", "said"),
    [
        (["dkd"], 8.0, [("dkd", "paper")]),
        (["dkd[beta=3]"], 2.0, [("dkd[beta=3]", "set by hand")]),
        (["dkd", "dkd[beta=2]"], 2.0, [("dkd", "paper"), ("dkd[beta=2.0]", "tuned per pair")]),
    ],
)  # fmt: skip
def test_equal_questions_stay_one_and_what_is_set_by_hand_stays_as_it_is(
    methods: list[str], beta: float, said: list[tuple[str, str]], kdbench_plan: Planned
) -> None:
    by_pair = {TUNED: {"dkd": {"beta": beta}}}
    assert asked(kdbench_plan(methods=methods, by_pair=by_pair)) == said


def test_a_quiz_split_tuned_for_a_pair_is_a_cohort_of_its_own_with_the_baselines(
    kdbench_plan: Planned,
) -> None:
    by_pair = {TUNED: {"metadistil": {"quiz": 0.25}, "kd": {"alpha": 0.5}}}
    plain, tuned = kdbench_plan(methods=["metadistil"], by_pair=by_pair).cohorts
    assert (plain.quiz, tuned.quiz) == (0.1, 0.25)
    assert [str(t.spec) for t in tuned.trials] == ["scratch", "kd", "metadistil[quiz=0.25]"]


def test_an_unknown_option_of_a_pair_is_told(kdbench_plan: Planned) -> None:
    with pytest.raises(UsageError, match="did you mean 'temperature'"):
        kdbench_plan(methods=["kd"], by_pair={TUNED: {"kd": {"temprature": 2}}})


# States -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ok", "answered"), ("diverged", "failed"), ("failed", "failed"), ("oom", "failed"),
        ("unsupported", "failed"),
        ("timeout", "open"), ("crashed", "open"), ("interrupted", "open"),
    ],
)  # fmt: skip
def test_a_trial_s_state_is_what_its_records_say(
    status: str, state: str, kdbench_plan: Planned
) -> None:
    (trial,) = kdbench_plan(methods=["kd"]).trials
    assert (trial.state, trial.attempts) == ("open", 0)
    made = kdbench_plan(methods=["kd"], records=[answered(trial, status)])
    assert (made.trials[0].state, made.trials[0].attempts) == (state, 1)
    assert answered(made.trials[0]).attempt == 2
    assert len(made.work()) == (state == "open")
    assert len(made.work(retry=True)) == (state != "answered")


def test_an_answer_outweighs_failures_and_other_code_makes_it_stale(kdbench_plan: Planned) -> None:
    (trial,) = kdbench_plan(methods=["kd"]).trials
    good, bad = answered(trial), answered(trial, "failed")
    assert kdbench_plan(methods=["kd"], records=[bad, good, bad]).trials[0].state == "answered"
    prints = good.fingerprints.model_copy(update={"code": "0" * 64})
    old = good.model_copy(update={"fingerprints": prints})
    stale = kdbench_plan(methods=["kd"], records=[old])
    assert stale.trials[0].state == "stale"
    assert len(stale.work()) == 1
    assert kdbench_plan(methods=["kd"], records=[old, bad]).trials[0].state == "failed"


def test_the_work_is_cohorts_with_open_trials_and_only_those(kdbench_plan: Planned) -> None:
    first = kdbench_plan(methods=["scratch", "kd"], seeds=[0, 1])
    records = [answered(t) for t in first.trials if (t.spec.name, t.question.seed) != ("kd", 1)]
    (left,) = kdbench_plan(methods=["scratch", "kd"], seeds=[0, 1], records=records).work()
    assert [(t.spec.name, t.question.seed) for t in left.trials] == [("kd", 1)]


# Teachers ---------------------------------------------------------------------------------------


def test_one_teacher_serves_all_cohorts_unless_each_seed_has_its_own(kdbench_plan: Planned) -> None:
    axes = {"methods": ["kd", "metadistil"], "seeds": [0, 1, 2]}
    shared = kdbench_plan(**axes)
    assert len(shared.cohorts) == 6
    assert len(shared.teachers(shared.cohorts)) == 1
    own = kdbench_plan(**axes, teacher={"seed": "trial"})
    jobs = own.teachers(own.cohorts)
    assert [job.protocol.seed for job in jobs if job.protocol] == [0, 1, 2]
    assert shared.trials[0].question.fingerprint != own.trials[0].question.fingerprint


def test_the_members_of_an_ensemble_are_distinct_and_shared_where_they_are_the_same(
    kdbench_plan: Planned,
) -> None:
    made = kdbench_plan(
        methods=["kd"], pairs=["3*resnet8:resnet8[width=0.25]", "resnet8:resnet8[width=0.25]"]
    )
    members, single = made.cohorts[0].teachers, made.cohorts[1].teachers
    assert len({job.key for job in members}) == 3
    assert single[0].key == members[0].key
    assert len(made.teachers(made.cohorts)) == 3
    assert made.trials[0].question.teacher == "3*resnet8"
    later = kdbench_plan(methods=["kd"], pairs=["3*resnet8:resnet8"], teacher={"seed": 1})
    assert not {job.key for job in members} & {job.key for job in later.cohorts[0].teachers}


@pytest.mark.parametrize(
    "change",
    [
        {"pairs": ["resnet8[width=2]:resnet8"]}, {"steps": 9}, {"teacher": {"rows": 500}},
        {"teacher": {"seed": 1}},
        {"evaluation": {"validation_rows": 10}, "teacher": {"rows": 800}},
    ],
)  # fmt: skip
def test_whatever_decides_a_teacher_s_weights_is_in_its_key(
    change: dict[str, Any], kdbench_plan: Planned
) -> None:
    def key(**changes: Any) -> str:
        made = kdbench_plan(methods=["kd"], **changes)
        return made.cohorts[0].teachers[0].key

    assert key() == key()
    assert key(**change) != key()
    (job,) = kdbench_plan(methods=["kd"]).cohorts[0].teachers
    for other in (replace(job, code="x"), replace(job, dataset=replace(job.dataset, code="x"))):
        assert other.key != job.key


def test_a_checkpoint_stands_in_a_question_by_name_and_content_and_never_by_path(
    tmp_path: Path, kdbench_plan: Planned
) -> None:
    def plan_with(content: bytes, folder: str) -> Plan:
        file = tmp_path / folder / "mine.safetensors"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        pair = f"resnet8[checkpoint={file}]:resnet8[checkpoint={file},width=0.25]"
        return kdbench_plan(methods=["kd"], pairs=[pair])

    first, moved, other = plan_with(b"1", "a"), plan_with(b"1", "b"), plan_with(b"2", "a")
    question = first.trials[0].question
    assert question.teacher.startswith("resnet8[checkpoint=mine.safetensors@")
    assert question.student.startswith("resnet8[checkpoint=mine.safetensors@")
    assert question.teacher_protocol is None
    assert str(tmp_path) not in answered(first.trials[0]).model_dump_json()
    assert moved.trials[0].question == question
    assert other.trials[0].question.fingerprint != question.fingerprint
    (job,) = first.cohorts[0].teachers
    assert job.protocol is None
    assert str(tmp_path) in str(job.given)


def test_given_weights_must_be_there_and_cannot_be_repeated(
    tmp_path: Path, kdbench_plan: Planned
) -> None:
    with pytest.raises(UsageError, match="cannot read checkpoint"):
        kdbench_plan(methods=["kd"], pairs=[f"resnet8[checkpoint={tmp_path}/none.pt]:resnet8"])
    with pytest.raises(UsageError, match="repeats given weights"):
        kdbench_plan(methods=["kd"], pairs=["2*resnet18[pretrained=true]:resnet8"])


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"train": {"rows": 901}}, UsageError, r"\[train\] rows = 901 is too many"),
        ({"teacher": {"rows": 901}}, UsageError, r"\[teacher\] rows = 901 is too many"),
        ({"train": {"rows": 1}}, UsageError, "give no batch"),
        ({"train": {"flip": True}}, UsageError, r"\[train\] flip = true is not allowed"),
        ({"teacher": {"flip": True}}, UsageError, r"\[teacher\] flip = true is not allowed"),
        ({"train": {"shift": 8}}, UsageError, r"\[train\] shift = 8 is too large"),
        ({"evaluation": {"validation_rows": 1}}, UsageError, "digits has 899 training rows here"),
        ({"methods": ["kdd"]}, UsageError, "did you mean 'kd'?"),
        ({"methods": ["kd[temprature=2]"]}, UsageError, "did you mean 'temperature'?"),
        ({"methods": ["kd[temperature=-1]"]}, UsageError, "temperature"),
        ({"methods": ["kd[temperature=hot]"]}, UsageError, "not possible"),
        ({"datasets": ["digit"]}, UsageError, "did you mean 'digits'?"),
        ({"pairs": ["resnet8:resnet9000"]}, UsageError, "unknown network 'resnet9000'"),
        ({"pairs": ["resnet8888:resnet8"]}, UsageError, "unknown network 'resnet8888'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    changes: dict[str, Any], error: type[Exception], said: str, kdbench_plan: Planned
) -> None:
    with pytest.raises(error, match=said):
        kdbench_plan(**{"methods": ["kd"], **changes})


@pytest.mark.parametrize("pair", ["local-dir:/secret:resnet8", "resnet8:local-dir:/secret"])
def test_a_network_that_is_a_path_is_refused_because_records_hold_none(
    pair: str, kdbench_plan: Planned
) -> None:
    with pytest.raises(UsageError, match=r"local-dir:/secret is a path"):
        kdbench_plan(methods=["kd"], pairs=[pair])


def test_all_rows_are_the_transfer_set_where_none_are_named(kdbench_plan: Planned) -> None:
    made = kdbench_plan(
        methods=["metadistil"],
        train={"rows": None},
        teacher={"rows": 800},
        evaluation={"validation_rows": 100},
    )
    assert made.cohorts[0].stream_rows == 720


# Estimates --------------------------------------------------------------------------------------


def test_minutes_come_from_records_of_the_same_pair_and_method_else_from_the_suite(
    kdbench_plan: Planned,
) -> None:
    axes = {"methods": ["kd"], "steps": 30}
    first = kdbench_plan(**axes, seeds=[0])
    assert first.minutes((), 1) is None
    records = [answered(first.trials[0], rows=96, seconds={"trial": 60.0})]
    later = kdbench_plan(**axes, seeds=[0, 1, 2], records=records)
    assert later.minutes(records, 1) == pytest.approx(2)
    assert later.minutes(records, 2) == pytest.approx(1)
    guessed = kdbench_plan(methods=["kd"], steps=None, budget=0.5, trial_seconds=60.0)
    assert guessed.minutes((), 1) == pytest.approx(0.5, rel=0.02)


ALONE = """
import sys
from kdbench import plan
from kdbench.registry import scan
from kdbench.suite import load
made = plan.make(load("digits"), scan(), [], "")
made.minutes([], 1), made.work(), made.teachers(made.cohorts)
assert made.trials
heavy = {"torch", "timm", "numpy", "pandas", "scipy", "datasets", "kdbench.api"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_planning_never_imports_torch(kdbench_registry: Any) -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# Chains of teachers -----------------------------------------------------------------------------


CHAIN = "2*resnet14>resnet8[width=0.5]:resnet8[width=0.25]"


def test_a_teacher_that_was_taught_stands_on_its_own_teachers(kdbench_plan: Planned) -> None:
    made = kdbench_plan(methods=["kd"], pairs=[CHAIN], teacher={"method": "kd"})
    (assistant,) = made.cohorts[0].teachers
    assert [str(job.network) for job in assistant.lineage] == [
        "resnet14", "resnet14", "resnet8[width=0.5]",
    ]  # fmt: skip
    assert made.teachers(made.cohorts) == assistant.lineage
    assert assistant.method is not None
    question = made.trials[0].question
    assert question.teacher == "2*resnet14>resnet8[width=0.5]"
    assert question.teacher_protocol is not None
    assert question.teacher_protocol.method == "kd[alpha=0.9,temperature=4.0]"
    plain = kdbench_plan(methods=["kd"], teacher={"method": "kd"}).trials[0].question
    assert plain.teacher_protocol is not None
    assert plain.teacher_protocol.method == ""  # nobody learns by it


def test_whatever_decides_a_taught_teacher_s_weights_is_in_its_key(kdbench_plan: Planned) -> None:
    def key(pair: str = CHAIN, method: str = "kd") -> str:
        made = kdbench_plan(methods=["kd"], pairs=[pair], teacher={"method": method})
        return made.cohorts[0].teachers[0].key

    keys = {
        key(),
        key(method="kd[alpha=0.5]"),
        key(method="at"),
        key(pair="resnet14>resnet8[width=0.5]:resnet8"),
        key(pair="resnet8[width=0.5]:resnet8"),
    }
    assert len(keys) == 5
    assert key() == key(method="kd[temperature=4]")


@pytest.mark.parametrize(
    ("pair", "method", "said"),
    [
        ("resnet8>resnet8:resnet8", "", "teacher with a teacher of its own"),
        ("resnet8>resnet8:resnet8", "kdd", "did you mean 'kd'?"),
        ("resnet8>resnet8:resnet8", "metadistil", "cannot make a teacher"),
        ("resnet8>resnet8[pretrained=true]:resnet8", "kd", "teaches given weights"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(
    pair: str, method: str, said: str, kdbench_plan: Planned
) -> None:
    with pytest.raises(UsageError, match=said):
        kdbench_plan(methods=["kd"], pairs=[pair], teacher={"method": method})


# How teachers learn, and where students start ---------------------------------------------------

SELF = "resnet8[width=0.5]:resnet8[width=0.5]"


def test_a_teacher_by_cross_entropy_has_the_key_that_it_always_had(kdbench_plan: Planned) -> None:
    (job,) = kdbench_plan(methods=["kd"]).cohorts[0].teachers
    same = replace(job, code="c", dataset=replace(job.dataset, code="d"))
    assert same.key == "072980c95de8491305368bacfc00cb4cd77364e22c40ea919e1717c6265f72ac"
    pair = "resnet14>resnet8[width=0.5]:resnet8"
    made = kdbench_plan(methods=["kd"], pairs=[pair], teacher={"method": "kd"})
    (taught,) = made.cohorts[0].teachers
    assert taught.method is not None
    above = replace(taught.teachers[0], code="c", dataset=replace(job.dataset, code="d"))
    by = replace(taught.method, code="m")
    same = replace(taught, code="c", dataset=above.dataset, method=by, teachers=(above,))
    assert same.key == "b872b89243f96decafed46901cba1beddc8f8292d150221fbe7c2992453a483b"


def test_by_what_a_teacher_learns_alone_is_whole_in_question_key_and_code(
    kdbench_plan: Planned,
) -> None:
    alone = {"alone": "label_smoothing[epsilon=0.3]"}
    whole = "label_smoothing[epsilon=0.3,spread=all]"
    plain, made = (kdbench_plan(methods=["kd"], teacher=teacher) for teacher in ({}, alone))
    (job,) = made.cohorts[0].teachers
    question = made.trials[0].question
    assert question.teacher_protocol is not None
    assert (question.teacher_protocol.alone, question.teacher_protocol.method) == (whole, "")
    assert question.fingerprint != plain.trials[0].question.fingerprint
    assert made.trials[0].code != plain.trials[0].code
    assert job.method is not None
    assert replace(job, method=replace(job.method, code="x")).key != job.key
    assert job.key != plain.cohorts[0].teachers[0].key
    again = kdbench_plan(methods=["kd"], teacher={"alone": whole})
    assert again.trials[0].question == question
    assert again.cohorts[0].teachers[0].key == job.key


def test_of_a_chain_only_the_first_link_learns_alone(kdbench_plan: Planned) -> None:
    both = {"method": "kd", "alone": "label_smoothing"}
    made = kdbench_plan(methods=["kd"], pairs=[CHAIN], teacher=both)
    (assistant,) = made.cohorts[0].teachers
    by = [job.method.spec.name for job in assistant.lineage if job.method]
    assert by == ["label_smoothing", "label_smoothing", "kd"]
    question = made.trials[0].question
    assert question.teacher_protocol is not None
    assert question.teacher_protocol.method == "kd[alpha=0.9,temperature=4.0]"
    assert question.teacher_protocol.alone == "label_smoothing[epsilon=0.1,spread=all]"
    pair = "resnet18[pretrained=true]>resnet8[width=0.5]:resnet8"
    given = kdbench_plan(methods=["kd"], pairs=[pair], teacher=both).trials[0].question
    assert given.teacher_protocol is not None
    assert given.teacher_protocol.alone == ""  # nobody learns by it


def test_one_training_serves_all_anchors_and_who_teaches_a_teacher_is_converged(
    kdbench_plan: Planned,
) -> None:
    plain, early = (
        kdbench_plan(methods=["kd"], pairs=[CHAIN], teacher={"method": "kd", "anchor": anchor})
        for anchor in (1.0, 0.375)
    )
    jobs = [made.cohorts[0].teachers[0] for made in (plain, early)]
    assert jobs[0].key == jobs[1].key
    assert [job.protocol.anchor for job in jobs[1].lineage if job.protocol] == [1.0, 1.0, 0.375]
    assert plain.trials[0].question.fingerprint != early.trials[0].question.fingerprint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": {"alone": "kd"}}, "alone = 'kd' needs a teacher"),
        ({"teacher": {"alone": "metadistil"}}, "alone = 'metadistil' cannot make a teacher"),
        ({"teacher": {"alone": "simkd"}}, "alone = 'simkd' cannot make a teacher"),
        ({"teacher": {"alone": "label_smooth"}}, "did you mean 'label_smoothing'?"),
        ({"teacher": {"anchor": 0.3}}, "anchor = 0.3 is not kept"),
        ({"teacher": {"anchor": 0.05}}, "anchor = 0.05 is not kept"),
        (
            {"teacher": {"anchor": 0.5}, "pairs": ["resnet18[pretrained=true]:resnet8"]},
            "cannot be stopped early",
        ),
        ({"teacher": {"start": {"share": 0.5}}}, r"\[teacher\] start is not possible"),
        ({"train": {"start": {}}, "pairs": ["resnet8:resnet14"]}, "different networks"),
        ({"train": {"start": {}}, "pairs": ["resnet8:resnet8[width=0.5]"]}, "different networks"),
        ({"train": {"start": {}}, "pairs": ["2*resnet8:resnet8"]}, "an ensemble"),
        (
            {"train": {"start": {"of": "initial"}}, "pairs": ["a.pt"]},
            "weights that are given have no initial ones",
        ),
    ],
)
def test_a_teacher_or_a_start_that_cannot_be_is_refused_before_anything_is_trained(
    changes: dict[str, Any], said: str, kdbench_plan: Planned, tmp_path: Path
) -> None:
    if changes.get("pairs") == ["a.pt"]:
        (file := tmp_path / "a.pt").write_bytes(b"1")
        changes = {**changes, "pairs": [f"resnet8[checkpoint={file}]:resnet8"]}
    with pytest.raises(UsageError, match=said) as caught:
        kdbench_plan(methods=["kd"], **changes)
    assert all((caught.value.what, caught.value.why, caught.value.next))


def test_a_student_starts_from_the_last_link_of_a_chain_and_from_given_weights(
    kdbench_plan: Planned, tmp_path: Path
) -> None:
    (file := tmp_path / "a.pt").write_bytes(b"1")
    given = f"resnet8[checkpoint={file},width=0.5]:resnet8[width=0.5]"
    pairs = [SELF, f"resnet14>{SELF}", given]
    teacher, start = {"method": "kd"}, {"share": 0.5}
    made = kdbench_plan(methods=["kd"], pairs=pairs, teacher=teacher, train={"start": start})
    assert [cohort.protocol.start.share for cohort in made.cohorts if cohort.protocol.start] == [
        0.5, 0.5, 0.5,
    ]  # fmt: skip


# Sharing ----------------------------------------------------------------------------------------


def sizes(cohorts: Any) -> list[int]:
    return [len(cohort.trials) for cohort in cohorts]


EIGHT = [f"kd[temperature={1 + number}]" for number in range(8)]


@pytest.mark.parametrize(
    ("seeds", "workers", "expected"),
    [
        (3, 2, [8, 8, 4, 4]),
        (2, 2, [8, 8]),
        (1, 2, [4, 4]),
        (1, 3, [3, 3, 2]),
        (1, 16, [1] * 8),
        (4, 3, [8, 8, 8, 3, 3, 2]),
        (3, 4, [8, 8, 8]),  # a fourth part would end no sooner than two whole cohorts
        (2, 5, [4, 4, 4, 4]),
        (3, 1, [8, 8, 8]),
    ],
)
def test_the_last_cohorts_come_in_parts_where_workers_would_be_idle(
    seeds: int, workers: int, expected: list[int], kdbench_plan: Any
) -> None:
    made = kdbench_plan(methods=EIGHT, seeds=list(range(seeds)))
    found = shared(made.work(), workers)
    assert sizes(found) == expected
    asked = [trial.question.fingerprint for cohort in found for trial in cohort.trials]
    assert sorted(asked) == sorted(trial.question.fingerprint for trial in made.trials)


def test_parts_are_of_like_cost_by_what_records_say(kdbench_plan: Any, kdbench_record: Any) -> None:
    made = kdbench_plan(methods=["kd", "scratch", "crd", "at", "fitnet"])
    (cohort,) = made.work()
    spent = {"kd": 10.0, "scratch": 10.0, "crd": 100.0, "at": 50.0}  # and nobody knows of fitnet
    records = [
        kdbench_record(
            question=trial.question,
            cost={
                "step_ms": spent[trial.spec.name], "parts_ms": {}, "images_per_second": 1.0,
                "overhead": None, "overhead_interval": None, "rounds": 5, "teacher_passes": 1,
                "training_parameters": 0, "peak_memory_mb": 1.0,
            },
        )
        for trial in cohort.trials
        if trial.spec.name in spent
    ]  # fmt: skip
    cost = made.cost(records)
    assert [cost(trial) for trial in cohort.trials] == [10, 10, 100, 50, 30]
    parts = shared([cohort], 2, cost)
    assert [[trial.spec.name for trial in part.trials] for part in parts] == [
        ["crd"], ["kd", "scratch", "at", "fitnet"],
    ]  # fmt: skip
    assert [cost(trial) for trial in made.trials] != [made.cost([])(trial) for trial in made.trials]


def test_cohorts_of_one_teacher_follow_each_other(kdbench_plan: Any) -> None:
    pairs = ["resnet8:resnet8[width=0.25]", "resnet14:resnet8[width=0.25]",
             "resnet8:resnet8[width=0.5]"]  # fmt: skip
    made = kdbench_plan(methods=["kd"], pairs=pairs, seeds=[0, 1])
    assert [str(cohort.pair.student) for cohort in made.work()] == 2 * [
        "resnet8[width=0.25]"
    ] + 2 * ["resnet8[width=0.5]"] + 2 * ["resnet8[width=0.25]"]
    made = kdbench_plan(methods=["kd"], pairs=pairs, seeds=[0, 1], teacher={"seed": "trial"})
    assert [(str(c.pair), c.seed) for c in made.work()] == [
        (pairs[0], 0), (pairs[2], 0), (pairs[0], 1), (pairs[2], 1), (pairs[1], 0), (pairs[1], 1),
    ]  # fmt: skip


def test_shards_are_whole_cohorts_each_in_one_of_few_teachers_whatever_is_known(
    kdbench_plan: Any,
) -> None:
    pairs = ["resnet8:resnet8[width=0.25]", "resnet14:resnet8[width=0.25]",
             "resnet8:resnet8[width=0.5]"]  # fmt: skip
    asked = {"methods": ["kd", "metadistil"], "pairs": pairs, "seeds": [0, 1]}
    made = kdbench_plan(**asked)
    for count in (1, 2, 3, 5, 12, 15):
        parts = [made.shard(number, count) for number in range(1, count + 1)]
        sizes = [len(part.cohorts) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert sorted(c.name for part in parts for c in part.cohorts) == sorted(
            c.name for c in made.cohorts
        )
    thirds = [made.shard(number, 3) for number in (1, 2, 3)]
    assert [len(part.teachers(part.cohorts)) for part in thirds] == [1, 1, 1]
    known = [answered(trial) for trial in thirds[0].trials]
    assert not kdbench_plan(known, **asked).shard(1, 3).work()
    assert kdbench_plan(known, **asked).shard(2, 3).work() == thirds[1].cohorts
