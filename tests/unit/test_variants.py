"""Variants of a suite: each is a suite of its own, what two ask is asked once, boards name them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kdbench import plan
from kdbench.cli import main
from kdbench.errors import UsageError
from kdbench.leaderboard import BoardSpec, Variation, build, read_spec, write_spec
from kdbench.page import render
from kdbench.page.plots import coverage, plots, students
from kdbench.record import Environment
from kdbench.registry import scan
from kdbench.suite import Suite, load

SUITE = """
name = "mine"

[axes]
datasets = ["digits"]
pairs = ["resnet8[width=0.5]:resnet8[width=0.25]"]
methods = ["scratch", "kd"]
seeds = 2

[train]
epochs = 4
batch_size = 32
learning_rate = 0.05
first = 100
rows = 64

[teacher]
rows = 64

[scoring]
baselines = ["scratch"]

[variants.plain]
about = "nothing else"

[variants.long]
train = {epochs = 8}
methods = ["kd"]

[variants.again]
teacher = {}

[variants.wide]
teacher = {epochs = 2}
pairs = ["resnet8:resnet8[width=0.25]"]
evaluation = {probes = ["seen"]}

[report]
question = "Does it?"

[[claims]]
key = "longer"
says = "Longer is better."
source = "a paper"
direction = "greater"
effect = 0.01
terms = [
  {measure = "accuracy", variant = "long", method = "kd"},
  {measure = "accuracy", variant = "plain", method = "kd", weight = -1.0},
]
"""
HERE = Environment(
    python="3", torch="2", timm="1", kdbench="0", device="cpu", device_name="x", capability="y",
    threads=1, platform="z"
)  # fmt: skip


def loaded(tmp_path: Path, text: str = SUITE) -> Suite:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load(str(path))


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return loaded(tmp_path)


def test_a_variant_is_the_suite_with_its_changes(suite: Suite) -> None:
    found = dict(suite.varied())
    assert list(found) == ["plain", "long", "again", "wide"]
    assert (found["plain"].train.epochs, found["long"].train.epochs) == (4, 8)
    assert found["long"].axes.methods == ("kd",)
    assert found["long"].teacher == found["plain"].teacher
    assert found["wide"].teacher.epochs == 2
    assert found["wide"].evaluation.probes == ("seen",)


def test_a_teacher_has_the_first_rows_unless_its_table_says_otherwise(suite: Suite) -> None:
    assert (suite.train.first, suite.teacher.first) == (100, 0)


def test_a_suite_without_variants_is_its_own(tmp_path: Path) -> None:
    plain = loaded(tmp_path, SUITE.partition("[variants.plain]")[0])
    assert [*plain.varied()] == [("", plain)]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("train = {epochs = 8}", "train = {epoch = 8}"), "unknown key 'train.epoch'"),
        (("evaluation = {probes", "evaluation = {probe"), "unknown key 'evaluation.probe'"),
        (('variant = "plain", method', 'variant = "plan", method'), "did you mean 'plain'?"),
        (('variant = "long", method = "kd"', 'variant = "long", method = "scratch"'), "not ask"),
        (
            ('variant = "plain", method', 'variant = "plain", pair = "resnet8:resnet8", method'),
            "it does not ask pair resnet8:resnet8",
        ),
        (
            ('variant = "plain", method', 'variant = "plain", dataset = "digit", method'),
            "did you mean 'digits'?",
        ),
        (('probes = ["seen"]', 'probes = ["all"]'), "evaluation.probes.0"),
        (("terms = [", 'x = "accuracy"\nalong = [{method = "kd"}]\nterms = ['), "either terms, or"),
    ],
)
def test_a_mistake_in_a_variant_or_a_claim_is_told(
    wrong: tuple[str, str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        loaded(tmp_path, SUITE.replace(*wrong))
    assert told in str(error.value)


def test_a_mistake_names_its_variant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="variant 'long'"):
        loaded(tmp_path, SUITE.replace("train = {epochs = 8}", "train = {epoch = 8}"))


def test_two_claims_of_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two claims 'longer'"):
        loaded(tmp_path, SUITE + SUITE[SUITE.index("[[claims]]") :])


def test_a_selection_keeps_the_variants_that_have_what_is_chosen(suite: Suite) -> None:
    some = suite.select(methods=["dkd"], pairs=["resnet8:resnet8[width=0.25]"])
    assert {name: one.axes.methods for name, one in some.varied()} == dict.fromkeys(
        suite.variants, ("dkd",)
    )
    other = suite.select(pairs=["resnet8[width=0.5]:resnet8[width=0.25]"])
    assert list(other.variants) == ["plain", "long", "again"]
    assert list(suite.select(variants=["wide"]).variants) == ["wide"]
    with pytest.raises(UsageError, match="did you mean 'wide'"):
        suite.select(variants=["wid"])
    with pytest.raises(UsageError, match="no variant is left"):
        suite.select(variants=["wide"], pairs=["resnet8:resnet8"])


def test_a_selection_changes_no_protocol(tmp_path: Path) -> None:
    told = 'compile = "on"\ntransfer = "noise"\nfirst = 100'
    apart = SUITE.replace("first = 100", told).replace("[teacher]", '[teacher]\ncompile = "off"')
    suite = loaded(tmp_path, apart)
    assert (suite.train.compile, suite.teacher.compile) == ("on", "off")
    some = suite.select()
    assert (some.train, some.teacher) == (suite.train, suite.teacher)
    assert dict(some.varied()) == dict(suite.varied())


def test_variants_that_the_axes_leave_out_are_not_asked_nor_claimed_about(tmp_path: Path) -> None:
    some = loaded(tmp_path, SUITE.replace("seeds = 2", 'seeds = 2\nvariants = ["wide", "plain"]'))
    assert list(some.variants) == ["wide", "plain"]
    assert some.claims == ()
    assert list(some.select(seeds=[7]).variants) == ["wide", "plain"]
    assert some.select().axes == some.axes
    assert list(some.select(variants=["plain"]).variants) == ["plain"]
    own = some.select(pairs=["resnet8[width=0.5]:resnet8[width=0.25]"])
    assert list(own.variants) == ["plain"]
    assert set(plan.tables(some, scan(), "")) == {"wide", "plain"}
    with pytest.raises(UsageError, match="did you mean 'plain'"):
        loaded(tmp_path, SUITE.replace("seeds = 2", 'seeds = 2\nvariants = ["plan"]'))


def test_baselines_stand_beside_a_variant_s_own_methods(suite: Suite) -> None:
    assert dict(suite.beside().varied())["long"].axes.methods == ("kd", "scratch")


def test_what_two_variants_ask_is_asked_once_and_both_have_the_table(suite: Suite) -> None:
    made, keys = plan.make(suite, scan(), [], ""), plan.tables(suite, scan(), "")
    assert [(c.variant, c.seed, len(c.trials)) for c in made.cohorts] == [
        ("plain", 0, 2), ("plain", 1, 2), ("long", 0, 1), ("long", 1, 1), ("wide", 0, 2),
        ("wide", 1, 2),
    ]  # fmt: skip
    assert keys["plain"] == keys["again"]
    assert len({key for one in keys.values() for key in one.values()}) == 3
    assert {trial.question.table for trial in made.trials} == {
        key for one in keys.values() for key in one.values()
    }


def board(suite: Suite, *, without: str = "") -> Any:
    made, keys = plan.make(suite, scan(), [], ""), plan.tables(suite, scan(), "")
    records = [
        trial.record("mine", "ok", HERE, quality={"accuracy": 0.5 + 0.1 * trial.question.seed})
        for cohort in made.cohorts
        for trial in cohort.trials
        if cohort.variant != without
    ]
    variants = {
        name: Variation(
            about=suite.variants[name].about, methods=one.axes.methods, tables=keys[name]
        )
        for name, one in suite.varied()
    }
    spec = BoardSpec(
        suite="mine", baselines=("scratch",), datasets=("digits",), pairs=suite.asked("pairs"),
        methods=("scratch", "kd"), seeds=(0, 1), variants=variants, claims=suite.claims,
    )  # fmt: skip
    return build(records, spec)


def test_a_board_has_a_table_a_variant_in_the_suite_s_order_and_misses_no_other_method(
    suite: Suite,
) -> None:
    made = board(suite)
    assert [table.variant for table in made.tables] == ["plain, again", "long", "wide"]
    assert made.tables[1].heading.startswith("long: digits: resnet8[width=0.5] teaches")
    assert [len(table.gaps) for table in made.tables] == [0, 0, 0]
    assert made.absent == made.across == ()
    assert made.csv().splitlines()[1].startswith('"plain, again",digits')
    assert "gains-1" not in made.markdown()


def test_a_board_says_what_its_variants_change_and_why_it_has_no_ranks(suite: Suite) -> None:
    made = board(suite)
    for text in (made.markdown(), render(made)):
        assert text.count("nothing else.") == 1
    assert "Variant: nothing else." in made.markdown()
    assert "variants ask different things" in made.markdown()
    assert "critical-difference" not in made.markdown()


def test_a_variant_that_was_not_run_is_named(suite: Suite) -> None:
    pair = "resnet8[width=0.5]:resnet8[width=0.25]"
    made = board(suite, without="long")
    assert made.absent == (("long: digits", pair),)
    assert "- long: digits: resnet8" in made.markdown()


def test_the_map_of_what_was_tried_tells_variants_apart_those_not_run_too(suite: Suite) -> None:
    plot = coverage.plot(board(suite, without="long"), "coverage")
    assert plot is not None
    heads = [place for place in ("plain, again: digits", "wide: digits", "long: digits")
             if f">{place}<" in plot.svg]  # fmt: skip
    assert len(heads) == 3
    assert "not tried" in plot.svg


def test_students_of_different_variants_are_not_drawn_as_one(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        students, "plot", lambda tables, spec, key: asked.append([t.variant for t in tables])
    )
    plots(board(suite))
    assert sorted(asked) == [["long"], ["plain, again"], ["wide"]]


def test_show_and_plan_tell_variants_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE)
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"variant long +train epochs 8, methods kd\n", shown)
    assert re.search(r"claim longer +Longer is better\.\n", shown)
    assert main(["plan", str(path), "--json", "--store", str(tmp_path / "store")]) == 0
    cohorts = json.loads(capsys.readouterr().out)["data"]["cohorts"]
    assert [one["variant"] for one in cohorts] == ["plain", "plain", "long", "long", "wide", "wide"]


def test_variants_keep_their_order_through_a_file(suite: Suite, tmp_path: Path) -> None:
    variants = {
        name: Variation(place=place) for place, name in enumerate(["wide", "plain", "again"])
    }
    spec = BoardSpec(suite="mine", variants=variants)
    write_spec(spec, tmp_path)
    assert list((read_spec(tmp_path) or BoardSpec()).variants) == ["wide", "plain", "again"]
