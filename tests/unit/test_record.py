"""Specs, pairs, protocols, questions and records: one way to write each, and one hash of it."""

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kdbench.errors import UsageError
from kdbench.record import (
    Cost,
    Environment,
    Evaluation,
    Pair,
    Question,
    Recipe,
    Record,
    Spec,
    TeacherProtocol,
    TrainingProtocol,
    canonical,
    fingerprint,
)

KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
METHOD = r"[a-z][a-z0-9_]{0,5}"


def specs(names: st.SearchStrategy[str]) -> st.SearchStrategy[Spec]:
    options = st.dictionaries(KEYS, VALUES, max_size=3)
    return st.builds(lambda name, o: Spec(name, tuple(sorted(o.items()))), names, options)


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+/@:-]{0,12}", fullmatch=True).filter(
    lambda name: (
        not all(re.fullmatch(r"[a-z][a-z0-9_]*", part) for part in name.split("+"))
        or "+" not in name
    )
)
SUMS = st.lists(
    specs(st.from_regex(METHOD, fullmatch=True)), min_size=2, max_size=3, unique_by=lambda s: s.name
).map(Spec.total)
SPECS = specs(NAMES) | SUMS


# Specs ------------------------------------------------------------------------------------------


@given(SPECS)
def test_a_spec_is_read_as_it_was_written(spec: Spec) -> None:
    again = Spec.parse(str(spec))
    assert again == spec
    assert repr(again) == repr(spec)  # 1, 1.0 and true are equal, and not the same


def test_a_sum_of_methods_is_one_spec_of_members_in_order() -> None:
    spec = Spec.parse(" kd[alpha=.5] + at[weight=10]+rkd")
    assert spec == Spec("kd+at+rkd", (("at.weight", 10), ("kd.alpha", 0.5)))
    assert str(spec) == "kd[alpha=0.5]+at[weight=10]+rkd"
    assert [str(member) for member in spec.members] == ["kd[alpha=0.5]", "at[weight=10]", "rkd"]
    assert Spec.parse("at+kd") != Spec.parse("kd+at")  # the first gives the term `hard`
    with pytest.raises(UsageError, match="kd is twice"):
        Spec.parse("kd+at+kd")


@pytest.mark.parametrize("text", ["hf-hub:a+b/c", "parquet:./a+b", "A+b"])
def test_a_plus_in_another_name_is_no_sum(text: str) -> None:
    assert Spec.parse(text) == Spec(text)
    assert Spec.parse(text).members == (Spec(text),)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (" kd ", "kd"),
        ("kd[]", "kd"),
        ("kd[temperature=2, alpha=.5]", "kd[alpha=0.5,temperature=2]"),
        ("net[a=(1, 2),b=[3],c='x,y',d=TRUE,e=none]", "net[a=(1,2),b=(3,),c='x,y',d=true,e=none]"),
        ("net[checkpoint=/a b/c.pt]", "net[checkpoint='/a b/c.pt']"),
        ("hf-hub:timm/resnet18.a1_in1k[x=1]", "hf-hub:timm/resnet18.a1_in1k[x=1]"),
    ],
)
def test_a_spec_has_one_way_to_be_written(text: str, written: str) -> None:
    assert str(Spec.parse(text)) == written == str(Spec.parse(written))


@pytest.mark.parametrize(
    "text",
    [
        "", "[a=1]", "kd[", "kd]", "kd[a]", "kd[a=1", "kd[=1]", "kd[a b=1]", "kd[a=1,a=2]", "k d",
        "kd[a=1]x", "kd[,]",
    ],
)  # fmt: skip
def test_a_malformed_spec_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(UsageError) as error:
        Spec.parse(text)
    assert repr(text) in str(error.value)


def test_a_spec_can_leave_options_out() -> None:
    spec = Spec.parse("net[a=1,b=2,c=3]")
    assert str(spec.without("a", "c", "z")) == "net[b=2]"


# Pairs and recipes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "resnet56:resnet20",
        "3*resnet8:resnet8[width=0.5]",
        "resnet8[depth=(1,2)]:resnet8[width=0.25]",
        "hf-hub:timm/a.b:resnet8",
        "hf-hub:timm/a:hf-hub:timm/b[x=1]",
    ],
)
def test_a_pair_is_read_as_it_was_written(text: str) -> None:
    pair = Pair.parse(text)
    assert str(pair) == text
    assert Pair.parse(str(pair)) == pair


def test_a_chain_is_read_from_the_first_teacher_on() -> None:
    text = "3*resnet110>2*resnet56[width=0.5]>resnet20:resnet8"
    pair = Pair.parse(text)
    assert str(pair) == text
    assert [(str(link.network), link.size) for link in pair.teacher.chain] == [
        ("resnet110", 3), ("resnet56[width=0.5]", 2), ("resnet20", 1),
    ]  # fmt: skip
    assert pair.teacher.teacher == Recipe.parse("3*resnet110>2*resnet56[width=0.5]")
    with pytest.raises(UsageError, match="not a pair"):
        Pair.parse("resnet110>:resnet8")
    with pytest.raises(UsageError, match="not a name"):
        Recipe.parse("resnet110>")


@given(SPECS, st.integers(1, 100))
def test_a_recipe_is_read_as_it_was_written(network: Spec, size: int) -> None:
    assert Recipe.parse(str(Recipe(network, size))) == Recipe(network, size)


@pytest.mark.parametrize("text", ["", "resnet8", "a:b:c", ":b", "a:", "a:b[", "0*a:b", "x*a:b"])
def test_a_malformed_pair_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(UsageError) as error:
        Pair.parse(text)
    assert text.partition(":")[0] in str(error.value)


@pytest.mark.parametrize("text", ["101*a", "0*a", "-1*a", "x*a", "*a", "2*", "2*3*a"])
def test_a_malformed_recipe_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Recipe.parse(text)


# Protocols --------------------------------------------------------------------------------------


def protocol(**changes: Any) -> TrainingProtocol:
    return TrainingProtocol(**{"epochs": 10, "batch_size": 32, "learning_rate": 0.1, **changes})


@pytest.mark.parametrize(
    ("rows", "last_batch", "steps"),
    [
        (64, "keep", 2),
        (65, "keep", 2),  # batch norm has no statistics of a single row
        (66, "keep", 3),
        (64, "drop", 2),
        (65, "drop", 2),
        (66, "drop", 2),
        (31, "drop", 1),  # what is smaller than a batch is a batch
        (2, "keep", 1),
        (1, "keep", 0),
    ],
)
def test_the_ragged_batch_is_a_step_unless_it_is_dropped_or_has_one_row(
    rows: int, last_batch: str, steps: int
) -> None:
    assert protocol(last_batch=last_batch).steps_per_epoch(rows) == steps


def test_the_budget_counts_in_steps() -> None:
    assert protocol().total_steps(66) == 30
    assert protocol(budget=0.1).total_steps(66) == 3
    assert protocol(budget=1e-3).total_steps(66) == 1
    assert protocol(epochs=0.5).total_steps(64) == 1
    assert protocol(steps=7, budget=0.5).total_steps(66) == 7


def test_only_the_whole_budget_is_full() -> None:
    assert protocol().full
    assert not protocol(budget=0.5).full
    assert not protocol(steps=300).full
    ask = question()
    assert ask.full
    assert not ask.model_copy(update={"protocol": protocol(steps=3)}).full
    short = TeacherProtocol(**protocol(budget=0.5).model_dump())
    assert not ask.model_copy(update={"teacher_protocol": short}).full
    assert ask.model_copy(update={"teacher_protocol": None}).full


@pytest.mark.parametrize(
    "change",
    [
        {"milestones": (0.5, 0.2)}, {"milestones": (0.5, 1.0)}, {"milestones": (0.0,)},
        {"nesterov": True, "momentum": 0},
        {"epochs": 0}, {"budget": 1.5}, {"steps": 0}, {"learning_rate": float("inf")},
        {"batch_size": 0}, {"lr": 0.1},
        {"warmup": 1.0}, {"precision": "float16"},
    ],
)  # fmt: skip
def test_an_impossible_protocol_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        protocol(**change)


def test_a_curve_or_the_validation_split_needs_rows() -> None:
    for wrong in ({"curve": 3}, {"split": "validation"}):
        with pytest.raises(ValidationError, match="validation_rows"):
            Evaluation(**wrong)
        Evaluation(**wrong, validation_rows=1)


# Questions and records --------------------------------------------------------------------------


def question(**changes: Any) -> Question:
    asked = {
        "dataset": "digits",
        "teacher": "resnet8",
        "student": "resnet8[width=0.5]",
        "teacher_protocol": {"epochs": 20, "batch_size": 32, "learning_rate": 0.05, "seed": 0},
        "method": "kd",
        "hyperparameters": {"temperature": 4.0, "alpha": 0.9},
        "protocol": {"epochs": 60, "batch_size": 32, "learning_rate": 0.05, "milestones": [0.5]},
        "evaluation": {},
        "seed": 3,
        "protocol_version": 1,
    }
    return Question.model_validate({**asked, **changes})


def test_canonical_json_has_sorted_keys_no_spaces_and_shortest_floats() -> None:
    assert (
        canonical({"b": [1, 1.0, 1e-7, None, True], "a": "é"})
        == '{"a":"é","b":[1,1.0,1e-07,null,true]}'
    )
    with pytest.raises(ValueError, match="JSON"):
        canonical(float("nan"))


def test_the_fingerprint_of_a_question_is_the_one_that_records_already_carry() -> None:
    """Pinned: whoever changes it makes all records that exist answer nothing."""
    pinned = "50257aceec235d22c558eecc4c3cb9a376fcb51e97798541bc43093230d2143a"
    assert question().fingerprint == pinned
    assert question().cell[:16] == "117b7632a3932d37"


def test_defaults_are_part_of_the_question_and_the_order_of_keys_is_not() -> None:
    asked = question().model_dump(mode="json")
    assert asked["protocol"]["momentum"] == 0.9
    assert asked["evaluation"] == {"split": "test", "validation_rows": 0, "curve": 0}
    backwards = json.loads(canonical(asked), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert [*backwards] == sorted(asked, reverse=True)
    assert Question.model_validate(backwards).fingerprint == question().fingerprint
    spelled = {**asked, "protocol": {**asked["protocol"], "momentum": 0.9, "gamma": 0.1}}
    assert Question.model_validate(spelled).fingerprint == question().fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "mnist"}, {"teacher": "resnet20"}, {"student": "resnet8"},
        {"teacher_protocol": None},
        {"method": "at"}, {"hyperparameters": {}}, {"quiz": 0.1}, {"seed": 4},
        {"protocol_version": 2},
        {"evaluation": {"validation_rows": 10}},
    ],
)  # fmt: skip
def test_whatever_is_asked_moves_the_fingerprint_and_the_seed_alone_leaves_the_cell(
    change: dict[str, Any],
) -> None:
    assert question(**change).fingerprint != question().fingerprint
    assert (question(**change).cell == question().cell) == (change.keys() == {"seed"})


def test_a_question_is_immutable_and_has_no_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        question().seed = 4
    with pytest.raises(ValidationError, match="Extra inputs"):
        question(colour="red")


def environment(**changes: str | int) -> Environment:
    facts = {
        "python": "3.11.1", "torch": "2.15", "timm": "1.0", "kdbench": "0.1", "device": "cpu",
        "device_name": "x",
        "capability": "AVX2", "threads": 1, "platform": "Linux x86_64",
    }  # fmt: skip
    return Environment(**{**facts, **changes})


def test_the_environment_class_is_what_decides_bits() -> None:
    group = environment().group
    for same in ({"python": "3.13"}, {"kdbench": "0.2"}):
        assert environment(**same).group == group
    for key in ("torch", "timm", "device", "device_name", "capability", "platform"):
        assert environment(**{key: "other"}).group != group
    assert environment(threads=2).group != group
    assert environment(tf32="convolutions").group != group
    assert environment(varies="sums in any order").group == group  # what it decides, nobody knows


def test_what_a_gpu_does_in_tf32_is_said_and_a_cpu_s_record_does_not_mention_it() -> None:
    gpu = environment(device="cuda", device_name="G", capability="9.0", tf32="convolutions")
    assert gpu.hardware.startswith("G (cuda, 9.0), convolutions in TF32, 1 thread")
    assert gpu.model_dump()["tf32"] == "convolutions"
    assert "tf32" not in environment().model_dump()
    assert "TF32" not in environment().hardware


def test_what_varies_on_a_gpu_is_said_and_a_cpu_s_record_does_not_mention_it() -> None:
    gpu = environment(device="cuda", varies="sums in any order")
    assert gpu.model_dump()["varies"] == "sums in any order"
    assert "varies" not in environment().model_dump()


def test_a_record_without_notes_does_not_mention_them(kdbench_record: Any) -> None:
    assert "notes" not in kdbench_record().model_dump_json()
    noted = kdbench_record(notes=("not compiled: x",))
    assert Record.model_validate_json(noted.model_dump_json()).notes == ("not compiled: x",)


def test_a_record_is_read_as_it_was_written_and_has_no_numbers_that_are_none(
    kdbench_record: Any,
) -> None:
    record = kdbench_record(quality={"accuracy": 1 / 3}, curve=((0.5, {"nll": 1e-9}),))
    assert Record.model_validate_json(record.model_dump_json()) == record
    for bad in ({"quality": {"accuracy": float("nan")}}, {"status": "fine"}, {"attempt": 0}):
        with pytest.raises(ValidationError):
            kdbench_record(**bad)


def test_a_label_tells_the_rows_where_a_quiz_split_was_left_out(kdbench_record: Any) -> None:
    assert kdbench_record().label == "kd"
    held_out = kdbench_record().question.model_copy(update={"quiz": 0.1})
    assert kdbench_record(question=held_out, rows=180).label == "kd (180 rows)"


def test_a_fingerprint_is_the_sha256_of_the_canonical_json() -> None:
    value = {"b": [1.5, "é"], "a": None}
    text = '{"a":null,"b":[1.5,"é"]}'
    assert fingerprint(value) == hashlib.sha256(text.encode()).hexdigest()


def test_a_cost_says_nothing_of_figures_that_it_does_not_have_and_keeps_its_bytes() -> None:
    old = {
        "step_ms": 1.0, "parts_ms": {"student": 1.0}, "images_per_second": 64.0, "overhead": None,
        "overhead_interval": None, "rounds": 6, "teacher_passes": 1.0, "training_parameters": 0,
        "peak_memory_mb": 10.0, "compile_seconds": 0.0, "valid": True, "why_not": "",
    }  # fmt: skip
    assert Cost.model_validate(old).model_dump() == old
    new = old | {"cpu_ms": 0.5, "discarded": 0, "foreign_load": None}
    assert Cost.model_validate(new).model_dump() == old | {"cpu_ms": 0.5, "discarded": 0}
