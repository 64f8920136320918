"""The registry: what is found, what is refused and why, what is remembered, what is code."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import kdbench
from kdbench.errors import DataError, PluginError, UsageError
from kdbench.record import Spec
from kdbench.registry import Registry, build, cache_dir, load, scan
from kdbench.registry.process import Child, Died
from kdbench.registry.syntax import reach

METHOD = '''
"""{name} of a test."""
from dataclasses import dataclass
from kdbench.api import Method, Needs, hookimpl
from kdbench.functional import softened_kl

@dataclass(frozen=True)
class Plain(Method):
    """Nothing, {name}.

    Attributes:
        weight: Of nothing.
    """

    weight: float = 1.0
    points: tuple[int, ...] = (1, 2)
    word: str = "a"

    def __post_init__(self):
        if self.weight < 0:
            raise ValueError("weight must not be below 0")

    def needs(self):
        return Needs(hints=self.word == "b")

    def loss(self, student, teacher, batch, state):
        return {{"soft": self.weight * softened_kl(student.logits, teacher.logits, 1.0)}}

@hookimpl
def kdbench_methods():
    yield "{name}", Plain()
'''

HOOK = "from kdbench.api import hookimpl\n\n@hookimpl\n"
ZOO = {
    # those that end the process come first: before torch is imported, a child starts quickly
    "a_dies": "import os\nos._exit(7)\n",
    "a_killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "a_segfaults": "import ctypes\n\nctypes.string_at(0)\n",
    "b_exits": "import sys\n\nsys.exit(3)\n",
    "b_imports": "x = 1\nimport no_such_module\n",
    "b_interrupts": "class Odd(BaseException): pass\nraise Odd('out')\n",
    "b_prints": "print('{\"ok\": []}', flush=True)\nimport os\nos.write(1, b'{}\\n')\ninput()\n",
    "b_syntax": "def f(:\n    pass\n",
    "c_argument": HOOK + "def kdbench_methods(register):\n    yield 'x', 1\n",
    "c_class": METHOD.format(name="c_class").replace("Plain()", "Plain"),
    "c_mutable": METHOD.format(name="c_mutable").replace("(frozen=True)", ""),
    "c_name": METHOD.format(name="C-Name"),
    "c_needs": METHOD.format(name="c_needs").replace(
        'return Needs(hints=self.word == "b")', "return None"
    ),
    "c_paper": METHOD.format(name="c_paper").replace(
        "    word: str", '    paper = "1503.02531"\n    word: str'
    ),
    "c_family": METHOD.format(name="c_family").replace(
        "    word: str", '    family = "magic"\n    word: str'
    ),
    "c_extra": METHOD.format(name="c_extra").replace(
        "    word: str", "    extra = 3\n    word: str"
    ),
    "c_uncited": METHOD.format(name="c_uncited")
    .replace("import Method,", "import Method, Paper,")
    .replace("    word: str", "    paper = Paper(authors='', title='', year=0)\n    word: str"),
    "c_pair": HOOK + "def kdbench_methods():\n    yield 'x'\n",
    "c_raises": HOOK + "def kdbench_methods():\n    yield 'c_raised', 1 / 0\n",
    "c_twice": METHOD.format(name="c_twice") + '    yield "c_twice", Plain()\n',
    "c_type": HOOK + "def kdbench_methods():\n    yield 'x', 1\n",
    "c_typo": HOOK + "def kdbench_method():\n    yield 'x', 1\n",
    "c_unknown": HOOK + "def kdbench_models():\n    yield 'no_such_net', dict\n",
    "c_unmarked": "def kdbench_methods():\n    yield 'unmarked', 1\n",
    "d_first": METHOD.format(name="clash"),
    "d_good": METHOD.format(name="good"),
    "d_second": METHOD.format(name="clash"),
    "d_shadow": METHOD.format(name="official"),
}
HOOKED = METHOD[: METHOD.index("@hookimpl")].count("\n") + 1  # the line of the hook
REASONS = {
    "a_dies": (0, "ended the process with exit code 7"),
    "a_killed": (0, "killed by SIGKILL"),
    "a_segfaults": (3, "killed by SIGSEGV"),
    "b_exits": (3, "SystemExit"),
    "b_imports": (2, "ModuleNotFoundError: No module named 'no_such_module'"),
    "b_interrupts": (2, "Odd: out"),
    "b_prints": (4, "EOFError"),
    "b_syntax": (1, "SyntaxError: invalid syntax"),
    "c_argument": (3, "takes register"),
    "c_class": (HOOKED, "yields the class Plain for 'c_class'"),
    "c_mutable": (HOOKED, "not a frozen dataclass"),
    "c_name": (HOOKED, "yields the name 'C-Name'"),
    "c_needs": (0, "has needs None"),
    "c_paper": (0, "method 'c_paper' has the paper '1503.02531'; `paper` is a kdbench.api.Paper"),
    "c_family": (0, "method 'c_family' has the family 'magic'; families are baseline, logits"),
    "c_extra": (0, "method 'c_extra' has the extra weights 3"),
    "c_uncited": (0, "method 'c_uncited' has the paper Paper(authors=''"),
    "c_pair": (3, "expected a (name, object) pair"),
    "c_raises": (5, "ZeroDivisionError: division by zero"),
    "c_twice": (HOOKED, "yields method 'c_twice' twice"),
    "c_type": (3, "expected a Method"),
    "c_typo": (3, "did you mean 'kdbench_methods'?"),
    "c_unknown": (3, "which timm does not know"),
    "c_unmarked": (1, "put @hookimpl above it"),
    "d_shadow": (0, "method 'official' is kdbench 0 (official)'s already"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad plugins, and a stand-in for the first-party distribution."""
    place = tmp_path_factory.mktemp("place")
    meta = place / "site" / "kdbench-0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: kdbench\nVersion: 0\n")
    (meta / "entry_points.txt").write_text(
        "[kdbench]\nofficial = official\ngone = not_there.at_all\n"
    )
    (place / "site" / "official.py").write_text(METHOD.format(name="official"))
    (place / "zoo").mkdir()
    for name, text in ZOO.items():
        (place / "zoo" / f"{name}.py").write_text(text)
    (place / "zoo" / "_ignored.py").write_text("raise SystemExit")
    return place


@pytest.fixture(autouse=True)
def surroundings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDBENCH_CACHE", str(place / "cache"))
    monkeypatch.delenv("KDBENCH_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(place / "site"))


@pytest.fixture(scope="module")
def zoo(place: Path) -> Registry:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(place / "cache"))
        patch.syspath_prepend(str(place / "site"))
        return scan(folders=[place / "zoo"])


def no_child(*_: object) -> None:
    raise AssertionError("a child was asked")


@pytest.mark.parametrize("name", REASONS)
def test_a_broken_plugin_is_blamed_by_file_line_and_reason(zoo: Registry, name: str) -> None:
    (plugin,) = (plugin for plugin in zoo.plugins if plugin.source.name == name)
    line, reason = REASONS[name]
    assert plugin.state == "broken"
    assert reason in plugin.error
    assert f"{name}.py:{line}:" in plugin.error if line else f"{name}.py:" in plugin.error


def test_the_good_plugins_work_beside_the_bad_ones(zoo: Registry) -> None:
    assert {entry.name for entry in zoo.entries} == {"official", "good"}
    assert [p.source.name for p in zoo.plugins if p.state == "ok"] == [
        "official",
        "d_first",
        "d_good",
        "d_second",
    ]
    good = zoo.entry("method", "good")
    assert good.summary == "Nothing, good."
    assert (good.family, good.paper, good.bibtex, good.extra) == ("", {}, "", "")


def test_a_module_that_is_not_there_is_a_broken_plugin(zoo: Registry) -> None:
    (gone,) = (plugin for plugin in zoo.plugins if plugin.source.name == "gone")
    assert (gone.state, "not_there.at_all" in gone.error) == ("broken", True)


def test_a_name_of_two_origins_is_unusable_and_both_are_named(zoo: Registry) -> None:
    with pytest.raises(PluginError, match=r"d_first\.py and .*d_second\.py both yield it"):
        zoo.entry("method", "clash")
    clashing = [plugin for plugin in zoo.plugins if plugin.source.name in {"d_first", "d_second"}]
    assert all("d_first.py and" in plugin.error for plugin in clashing)


def test_only_asking_for_a_broken_plugins_names_fails(zoo: Registry) -> None:
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        zoo.entry("method", "c_raised")  # read off the source, since the hook never came that far
    with pytest.raises(PluginError, match="no_such_module"):
        zoo.entry("method", "b_imports")  # a plugin that says nothing claims its own name
    assert zoo.methods([Spec("good")])[Spec("good")].hyperparameters["weight"] == 1.0


@pytest.mark.parametrize(
    ("needs", "passes"),
    [
        ({"teacher": "none", "second": False}, (1, 0)),
        ({"teacher": "none", "second": True}, (2, 0)),
        ({"teacher": "shared", "second": False}, (1, 1)),
        ({"teacher": "private", "second": False}, (1, 1)),
        ({"teacher": "shared", "second": True}, (2, 2)),
    ],
)  # fmt: skip
def test_forward_passes_a_step_follow_from_needs(
    zoo: Registry, needs: dict[str, object], passes: tuple[int, int]
) -> None:
    facts = replace(zoo.methods([Spec("good")])[Spec("good")], needs=needs)
    assert facts.passes == {"student": passes[0], "teacher": passes[1]}


def test_an_unknown_name_comes_with_a_suggestion_and_a_count(zoo: Registry) -> None:
    with pytest.raises(
        UsageError, match=r"unknown method 'goood'\n  did you mean 'good'\? 2 methods available"
    ):
        zoo.entry("method", "goood")


def test_methods_of_a_file_are_selected_by_its_path(zoo: Registry, place: Path) -> None:
    assert zoo.yielded(place / "zoo" / "d_good.py") == ("good",)
    with pytest.raises(PluginError, match="SyntaxError"):
        zoo.yielded(place / "zoo" / "b_syntax.py")


def test_a_second_scan_starts_no_child(
    zoo: Registry, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [place / "zoo" / "d_good.py"]
    first = scan(files=good)
    monkeypatch.setattr(Child, "ask", no_child)
    again = scan(files=good)
    assert (again.plugins, again.entries) == (first.plugins, first.entries)
    assert list(again.entry("method", "good").fields) == ["weight", "points", "word"]
    default = again.methods([Spec("good")])[Spec("good")]
    assert (default.spec, default.stages[0]["share"]) == (Spec("good"), 1.0)


def test_a_broken_plugin_is_tried_again(
    zoo: Registry, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Child, "ask", no_child)
    with pytest.raises(AssertionError, match="a child was asked"):
        scan(files=[place / "zoo" / "b_imports.py"])


def test_options_are_typed_and_canonical(zoo: Registry) -> None:
    texts = ["good[weight=1]", "good[weight=2,points=(3,4),word=b]"]
    specs = [Spec.parse(text) for text in texts]
    plain, changed = zoo.methods(specs).values()
    assert plain.spec == Spec("good")
    assert str(changed.spec) == "good[points=(3,4),weight=2.0,word=b]"
    assert changed.hyperparameters == {"weight": 2.0, "points": [3, 4], "word": "b"}
    assert (plain.needs["hints"], changed.needs["hints"]) == (False, True)
    assert plain.code == changed.code == zoo.entry("method", "good").code


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good[wieght=2]", r"no option 'wieght'\n  did you mean 'weight'\?"),
        ("good[weight=true]", "weight must be a valid number"),
        ("good[weight='2']", "weight must be a valid number"),
        ("good[weight=1e999]", "weight must be a finite number"),
        ("good[points=(1,0.5)]", "points must be a valid integer"),
        ("good[weight=-1]", "weight must not be below 0"),
    ],
)
def test_impossible_options_are_usage_errors(zoo: Registry, text: str, message: str) -> None:
    good = load(zoo.entry("method", "good").source)["method", "good"]
    with pytest.raises(UsageError, match=message):
        build(good, Spec.parse(text))


def test_a_usage_error_of_the_child_is_one_here(zoo: Registry) -> None:
    with pytest.raises(UsageError) as error:
        zoo.methods([Spec.parse("good[weight=1e999]")])
    assert error.value.why == "weight must be a finite number"


def test_a_plugin_that_hangs_is_stopped_and_its_line_named(tmp_path: Path) -> None:
    path = tmp_path / "hangs.py"
    path.write_text("import time\n\ntime.sleep(600)\n")
    source = {
        "name": "hangs",
        "kind": "file",
        "module": "hangs",
        "path": str(path),
        "distribution": "hangs.py",
        "version": "",
        "digest": "",
        "first_party": False,
    }
    with Child() as child:
        with pytest.raises(Died, match=r"hangs\.py:3: no answer for 2 s"):
            child.ask({"do": "load", "source": source}, 2.0)
        path.write_text("print('noise')\n")
        # another child is there for the rest
        assert child.ask({"do": "load", "source": source}, 60.0)["found"] == []


DATA = """
from dataclasses import dataclass
from pathlib import Path
from kdbench.api import DataSet, hookimpl
from kdbench.errors import DataError

@dataclass(frozen=True)
class Own(DataSet):
    path: str = ""
    flips: bool = False
    num_classes, image_shape, mean, std = 2, (1, 4, 4), (0.5,), (0.25,)
    class_names, class_tree, licence, source = ("a", "b"), (0, 0), "CC0", "here"
    sizes = {"train": 3, "test": 2}

    @property
    def identity(self):
        if not Path(self.path).is_file():
            raise DataError("own has no file", "path is wrong", "write own[path=FILE]")
        return "birds@" + Path(self.path).read_text() * 64

    def load(self, root, split): ...

@hookimpl
def kdbench_datasets():
    yield "own", Own()
"""


def test_a_users_own_data_are_named_by_content_and_never_by_path(tmp_path: Path) -> None:
    plugin, data = tmp_path / "own.py", tmp_path / "birds"
    plugin.write_text(DATA)
    data.write_text("7")
    registry = scan(files=[plugin], blocked=["official"])
    spec = Spec("own", (("flips", True), ("path", str(data))))
    facts = registry.dataset(spec, "")
    assert facts.name == "own[data=birds@7777777777777777,flips=true]"
    assert dict(facts.spec.options)["path"] == str(data)
    assert (facts.image_shape, facts.sizes, facts.has_tree, facts.origin) == (
        (1, 4, 4),
        {"train": 3, "test": 2},
        True,
        "here",
    )
    data.write_text("8")
    assert registry.dataset(spec, "") is facts  # one plan, one answer
    later = scan(files=[plugin], blocked=["official"])
    # but never from the index
    assert later.dataset(spec, "").name == "own[data=birds@8888888888888888,flips=true]"
    data.unlink()
    with pytest.raises(DataError) as error:
        scan(files=[plugin], blocked=["official"]).dataset(spec, "")
    assert (error.value.what, error.value.why, error.value.next) == (
        "own has no file",
        "path is wrong",
        "write own[path=FILE]",
    )


def test_folders_and_files_also_come_from_the_environment(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = place / "zoo" / "d_good.py"
    monkeypatch.setenv(
        "KDBENCH_PLUGINS", os.pathsep.join([str(good), str(tmp_path / "missing.py")])
    )
    registry = scan(files=[good])  # named twice, loaded once
    assert [p.state for p in registry.plugins if p.source.kind == "file"] == ["ok", "broken"]
    with pytest.raises(UsageError, match="no plugin file"):
        scan(files=[tmp_path / "missing.py"])


def test_the_python_function_gives_the_plugins_object(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_PLUGINS", str(place / "zoo" / "d_good.py"))
    method = kdbench.method("good[weight=3]")
    assert (type(method).__name__, method.weight) == ("Plain", 3.0)
    assert type(method).__module__ in sys.modules  # so that it can be pickled


def test_a_file_edited_after_the_plan_is_not_run_under_the_old_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    path.write_text(METHOD.format(name="edited"))
    source = scan(files=[path], blocked=["official"]).entry("method", "edited").source
    path.write_text(METHOD.format(name="edited") + "\n")
    with pytest.raises(PluginError, match=r"edited\.py has changed"):
        load(source)


def code(path: Path, text: str) -> str:
    path.write_text(text)
    return reach(path.stem, path, {}, file=True).code


def test_comments_docstrings_and_layout_keep_the_code(tmp_path: Path) -> None:
    text = METHOD.format(name="same")
    other = text.replace("of a test", "of another test").replace("weight: Of", "weight: All of")
    other = other.replace("        return {", "        # why\n\n        return  {").replace(
        "'", '"'
    )
    assert code(tmp_path / "same.py", text) == code(tmp_path / "same.py", other)


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.0)", "2.0)"), ("float = 1.0", "float = 2.0"), ('yield "same', 'yield "other')],
)
def test_what_is_computed_changes_the_code(tmp_path: Path, old: str, new: str) -> None:
    text = METHOD.format(name="same")
    assert old in text
    assert code(tmp_path / "same.py", text) != code(tmp_path / "same.py", text.replace(old, new))


def test_a_shared_function_belongs_to_the_code_of_those_that_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.registry.syntax._HOST", tmp_path)
    inner, outer = "def inner(x):\n    return x + 1\n", "def outer(x):\n    return inner(x)\n"
    shared = inner + outer + "def unused(x):\n    return x\n"
    texts = (
        "from kdbench.functional import outer\n",
        "from kdbench import functional\ny = functional.outer\n",
    )
    codes = {}
    for version, body in {
        "is": shared,
        "inner": shared.replace("+ 1", "+ 2"),
        "unused": shared.replace("return x\n", "return 2\n"),
    }.items():
        (tmp_path / "functional.py").write_text(body)
        codes[version] = [code(tmp_path / "user.py", text) for text in texts]
    for was, changed, unused in zip(*codes.values(), strict=True):
        assert was == unused != changed


def test_a_network_is_known_by_plugin_or_by_timm(zoo: Registry) -> None:
    assert zoo.network_code("resnet18") == "resnet18"
    assert zoo.network_code("hf-hub:timm/resnet18") == "hf-hub:timm/resnet18"
    assert len(zoo.timm_names()) > 500
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        zoo.network_code("resnet1888")


def test_the_cache_lies_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
