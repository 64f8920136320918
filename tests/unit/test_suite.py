"""Suite files: all is checked to the last key, and an error names file, key and remedy."""

from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import UsageError
from kdbench.record import Pair, Spec
from kdbench.suite import Suite, load, names

WHOLE = """
name = "mine"

[axes]
datasets = ["digits"]
pairs = ["resnet8:resnet8[width=0.5]", "resnet8:mobilenetv2_050"]
methods = ["scratch", "kd"]
seeds = 2

[train]
epochs = 4
batch_size = 32
learning_rate = 0.05
momentum = 0.8

[train.by_student."mobile*"]
learning_rate = 0.01

[train.by_student."*_050"]
momentum = 0.7

[teacher]
epochs = 2

[methods.kd]
set = {temperature = 2.0}
tries = 5

[scoring]
baselines = ["scratch"]
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str, name: str = "mine.toml") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return written


def refused(path: str) -> str:
    with pytest.raises(UsageError) as error:
        load(path)
    return str(error.value)


@pytest.mark.parametrize("name", names())
def test_every_shipped_suite_loads_under_its_own_name_and_says_what_it_is(name: str) -> None:
    suite = load(name)
    assert suite.name == name
    assert suite.title
    assert suite.about
    assert suite.scoring.baselines


def test_a_suite_fills_in_what_it_leaves_out(write: Any) -> None:
    suite = load(write(WHOLE))
    assert suite.axes.seeds == (0, 1)
    assert suite.train.gamma == 0.1
    assert suite.evaluation.split == "test"
    assert suite.teacher.anchors == 8


def test_the_teacher_is_trained_as_the_students_are_where_its_table_says_nothing(
    write: Any,
) -> None:
    suite = load(write(WHOLE))
    assert (suite.teacher.momentum, suite.teacher.learning_rate, suite.teacher.epochs) == (
        0.8,
        0.05,
        2,
    )
    bare = load(write(WHOLE.replace("[teacher]\nepochs = 2", "")))
    assert bare.teacher.epochs == 4


def test_seeds_are_a_count_or_a_list(write: Any) -> None:
    assert load(write(WHOLE.replace("seeds = 2", "seeds = [7, 3]"))).axes.seeds == (7, 3)
    for wrong in ("0", "[]", "-1", "[-1]", '"two"', "1.5"):
        assert "seeds" in refused(write(WHOLE.replace("seeds = 2", f"seeds = {wrong}")))


def test_by_student_goes_by_the_student_s_name_and_later_patterns_win(write: Any) -> None:
    suite = load(write(WHOLE))
    mobile = suite.protocol(Spec.parse("mobilenetv2_050[width=1]"))
    assert (mobile.learning_rate, mobile.momentum) == (0.01, 0.7)
    assert suite.protocol(Spec.parse("mobilenetv2_100")).learning_rate == 0.01
    assert suite.protocol(Spec.parse("resnet8")) == suite.train


def test_a_method_s_settings_come_from_the_suite_and_the_caller_s_own_win(write: Any) -> None:
    suite = load(write(WHOLE))
    assert suite.method(Spec.parse("kd")) == (Spec.parse("kd[temperature=2.0]"), "tuned, 5 tries")
    by_hand = suite.method(Spec.parse("kd[alpha=0.5,temperature=3]"))
    assert by_hand == (Spec.parse("kd[alpha=0.5,temperature=3]"), "set by hand")
    assert suite.method(Spec.parse("scratch")) == (Spec("scratch"), "paper")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "mine"', 'nmae = "mine"', ("'nmae'", "line 2", "did you mean 'name'?")),
        ("[scoring]", "[scorring]", ("'scorring'", "line 29", "did you mean 'scoring'?")),
        ("momentum = 0.8", "momentun = 0.8", ("'train.momentun'", "line 14", "'momentum'?")),
        ("epochs = 2", "anchros = 2", ("'teacher.anchros'", "line 23", "did you mean 'anchors'?")),
        ("tries = 5", "trys = 5", ("'methods.kd.trys'", "line 27", "did you mean 'tries'?")),
        ("methods = [", "method = [", ("'axes.method'", "line 7", "did you mean 'methods'?")),
        ("momentum = 0.7", "momentun = 0.7", ("'momentun'", "line 20", "did you mean 'momentum'?")),
        ('student."*_050"]\nmomentum', 'student."x*"]\nmomentun', ("'momentun'",)),
        ("epochs = 4", 'epochs = "four"', ("'train.epochs'", "line 11", "got 'four'")),
        ("epochs = 2", "epochs = -2", ("'teacher.epochs'", "line 23", "greater than 0", "got -2")),
        ("datasets = [\"digits\"]", "datasets = \"digits\"", ("'axes.datasets'", "line 5")),
        ("[methods.kd]", "[methods.at]", ("sets 'at'", "axes.methods does not name it")),
        ("resnet8:mobilenetv2_050", "resnet8", ("'resnet8' is not a pair",)),
        ("momentum = 0.8", "momentum = 0.8\nnesterov = 3", ("'train.nesterov'",)) ,
        ("name = \"mine\"", "name = \"../mine\"", ("'name'", "pattern")),
        ("name = \"mine\"", "name = ", ("is not TOML", "line 2")),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_a_suggestion(
    old: str, new: str, said: tuple[str, ...], write: Any
) -> None:
    assert WHOLE.count(old) == 1
    path = write(WHOLE.replace(old, new))
    message = refused(path)
    assert len(message.splitlines()) <= 3
    for part in (path, *said) if "is not a pair" not in said[0] else said:
        assert part in message, message


def test_a_file_that_is_not_there_or_no_text_is_told_so(tmp_path: Path, write: Any) -> None:
    assert "did you mean 'digits'?" in refused("digts")
    assert "shipped suites: " in refused("zzz")
    assert "no suite" in refused(str(tmp_path / "none.toml"))
    Path(write("")).write_bytes(b'name = "\xff"')
    assert "mine.toml is not TOML" in refused(str(tmp_path / "mine.toml"))


# by pair ----------------------------------------------------------------------------------------

PAIR = "resnet8:resnet8[ width=.5 ]"
BY_PAIR = f"""
[methods.by_pair."{PAIR}"]
kd = {{ alpha = 0.5 }}
"kd+at" = {{ at.weight = 10.0, kd.alpha = 1.0 }}
"""
SUMS = WHOLE.replace('"kd"]', '"kd", "kd+at", "dkd[beta=2]"]')


def test_a_pair_s_settings_lie_on_top_of_the_suite_s_for_that_pair_alone(write: Any) -> None:
    suite = load(write(SUMS + BY_PAIR))
    pair, other = map(Pair.parse, suite.axes.pairs)
    kd, both = Spec.parse("kd"), Spec.parse("kd+at")
    assert suite.tuned(kd, pair) == Spec.parse("kd[alpha=0.5,temperature=2]")
    assert suite.tuned(both, pair) == Spec.parse("kd[alpha=1,temperature=2]+at[weight=10]")
    assert suite.tuned(kd, other) is None
    assert suite.tuned(Spec("scratch"), pair) is None
    assert suite.method(kd) == (Spec.parse("kd[temperature=2.0]"), "tuned, 5 tries")


def test_a_method_with_options_of_its_own_has_no_settings_of_a_pair(write: Any) -> None:
    suite = load(write(SUMS + BY_PAIR))
    assert suite.tuned(Spec.parse("kd[temperature=3]"), Pair.parse(PAIR)) is None


def test_a_pair_s_settings_outlive_a_selection_and_are_extended_pair_by_pair(write: Any) -> None:
    suite = load(write(SUMS + BY_PAIR))
    assert suite.select(methods=["kd"], pairs=["resnet8:resnet8"]).by_pair == suite.by_pair
    own = '[methods.by_pair."resnet8:resnet8[width=0.5]"]\nkd = { temperature = 3.0 }\n'
    child = load(write(f'extends = "mine.toml"\nname = "child"\n{own}', "child.toml"))
    tuned = child.tuned(Spec("kd"), Pair.parse(PAIR))
    assert tuned == Spec.parse("kd[alpha=0.5,temperature=3]")
    few = 'extends = "mine.toml"\nname = "few"\n[axes]\nmethods = ["scratch"]\n[methods]\n'
    assert load(write(few, "few.toml")).by_pair == suite.by_pair


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kd = {", "kdd = {", ("sets 'kdd'", "axes.methods does not name it", "mean 'kd'?")),
        ("kd = {", "dkd = {", ("sets 'dkd'", "does not name it without options")),
        ("kd = {", "'kd[temperature=2]' = {", ("a name was expected", "write kd = { ... }")),
        ("kd = {", "kd = 3 #", ("'methods.by_pair.resnet8:resnet8[ width=.5 ].kd'", "line 33")),
        ("alpha = 0.5", "alpha = {}", ("sets 'kd'", "{} is not an option value")),
        ("at.weight", "att.weight", ("option 'att.weight'", "did you mean 'at'?")),
        ("at.weight", "weight", ("option 'weight'", "MEMBER.OPTION", "known: kd, at")),
        ("width=.5", "width=.25", ("for 'resnet8:resnet8[ width=.25 ]'", "axes.pairs does not",
                                   "did you mean 'resnet8:resnet8[width=0.5]'?")),
        ("resnet8:", "resnet8-", ("is not a pair",)),
    ],
)  # fmt: skip
def test_a_mistake_in_a_pair_s_settings_is_told(
    old: str, new: str, said: tuple[str, ...], write: Any
) -> None:
    assert BY_PAIR.count(old) == 1
    message = refused(write(SUMS + BY_PAIR.replace(old, new)))
    assert len(message.splitlines()) <= 3
    for part in said:
        assert part in message, message


def test_every_setting_of_a_pair_in_a_shipped_suite_is_one_of_its_method(
    kdbench_registry: Any,
) -> None:
    tuned = [
        suite.tuned(Spec.parse(method), Pair.parse(pair))
        for suite in map(load, names())
        for pair, table in suite.by_pair.items()
        for method in table
    ]
    assert tuned
    assert len(kdbench_registry.methods(tuned)) == len(set(tuned))  # an unknown option raises


# extends ----------------------------------------------------------------------------------------


def test_extends_merges_tables_and_replaces_the_rest(write: Any) -> None:
    write(WHOLE, "base.toml")
    child = load(
        write('extends = "base.toml"\nname = "child"\n[axes]\nseeds = [5]\n[train]\nepochs = 9\n')
    )
    base = load(str(Path(write("", "x.toml")).with_name("base.toml")))
    assert child.axes == base.axes.model_copy(update={"seeds": (5,)})
    assert child.train == base.train.model_copy(update={"epochs": 9.0})
    assert child.by_student == base.by_student
    assert child.methods == base.methods


def test_what_a_parent_sets_for_a_method_that_the_child_does_not_run_is_no_mistake(
    write: Any,
) -> None:
    child = 'extends = "digits"\nname = "own"\n[axes]\nmethods = ["scratch", "kd"]\n'
    assert load(write(child)).axes.methods == ("scratch", "kd")
    assert "sets 'at'" in refused(write(child + "[methods.at]\ntries = 1\n"))


def test_what_a_parent_says_of_itself_is_not_said_of_the_child(write: Any) -> None:
    child = load(write('extends = "digits"\nname = "own"\n'))
    assert (child.title, child.about) == ("", "")
    message = refused(write('extends = "digits"\n'))
    assert "'name' is missing in" in message
    assert len(message.splitlines()) == 3


def test_extends_goes_by_the_folder_of_the_file_that_says_it(write: Any) -> None:
    write(WHOLE, "base.toml")
    write('extends = "../base.toml"\nname = "middle"\n', "sub/mine.toml")
    assert load(write('extends = "sub/mine.toml"\nname = "leaf"\n')).name == "leaf"
    assert load(write('extends = "digits"\nname = "own"\n')).axes == load("digits").axes


@pytest.mark.parametrize("links", [("mine",), ("b", "mine"), ("b", "c", "mine")])
def test_a_circle_of_extends_is_told(links: tuple[str, ...], write: Any) -> None:
    for place, parent in zip(("mine", *links), links, strict=False):
        write(f'extends = "{parent}.toml"\nname = "x"\n', f"{place}.toml")
    message = refused(write(f'extends = "{links[0]}.toml"\nname = "x"\n'))
    assert "extends itself" in message
    assert message.count("mine.toml") >= 2


def test_an_unknown_parent_is_told(write: Any) -> None:
    assert "no suite 'digitz'" in refused(write('extends = "digitz"\nname = "x"\n'))


# select -----------------------------------------------------------------------------------------


@pytest.fixture
def suite(write: Any) -> Suite:
    return load(write(WHOLE))


def test_select_replaces_axes_and_leaves_the_rest(suite: Suite) -> None:
    assert suite.select() == suite
    part = suite.select(
        methods=["at", "kd"], pairs=["resnet8:resnet8"], seeds=[4], datasets=["mnist"]
    )
    assert part.axes.model_dump() == {
        "datasets": ("mnist",), "pairs": ("resnet8:resnet8",), "methods": ("at", "kd"),
        "seeds": (4,), "variants": (),
    }  # fmt: skip
    assert part.model_copy(update={"axes": suite.axes}) == suite


def test_a_shorter_run_shortens_teacher_and_students_alike(suite: Suite) -> None:
    tenth, steps = suite.select(budget=0.1), suite.select(steps=7)
    assert tenth.train.budget == tenth.teacher.budget == 0.1
    assert steps.train.steps == steps.teacher.steps == 7
    assert steps.protocol(Spec("mobilenetv2_050")).learning_rate == 0.01
    assert not tenth.train.full
    assert not steps.teacher.full


@pytest.mark.parametrize(
    "wrong", [{"budget": 0.0}, {"budget": 2.0}, {"steps": 0}, {"seeds": [-1]}, {"pairs": ["x"]}]
)
def test_an_impossible_selection_is_refused(wrong: dict[str, Any], suite: Suite) -> None:
    with pytest.raises(UsageError):
        suite.select(**wrong)
