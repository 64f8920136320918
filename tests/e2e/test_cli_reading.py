"""`--help`, `list`, `show`, `plugins` and `new`, as a user runs them: in a process, piped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.cli import main

METHOD = '''
"""A first-party method of a test."""
from dataclasses import dataclass
from kdbench.api import Method, Needs, Paper, hookimpl

@dataclass(frozen=True)
class Plain(Method):
    """Nothing \x1b[31mred\x1b[0m.

    Attributes:
        weight: Of nothing.
    """
    weight: float = 1.0
    word: str = "a"
    family = "logits"
    extra = "a net of nothing"
    paper = Paper(authors="Ada Lovelace", title="Bits & Notes", year=1843, venue="SM", doi="10.1/2")

    def needs(self):
        return Needs(second=self.word == "b")

    def loss(self, student, teacher, batch, state):
        return {}

@dataclass(frozen=True)
class Again(Plain):
    """Nothing again."""

@dataclass(frozen=True)
class Bare(Method):
    """Nothing at all."""

    def needs(self):
        return Needs(teacher="none")

    def loss(self, student, teacher, batch, state):
        return {}

@hookimpl
def kdbench_methods():
    yield "plain", Plain()
    yield "again", Again()
    yield "bare", Bare()
'''

BIBTEX = r"""@inproceedings{lovelace1843bits,
  author = {Ada Lovelace},
  title = {{Bits \& Notes}},
  year = {1843},
  booktitle = {SM},
  doi = {10.1/2},
}
"""

ALONE = """
import sys
from kdbench.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "timm", "pandas", "scipy", "sklearn", "datasets", "numpy"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A stand-in for the first-party distribution, and a cache that the module's tests share."""
    folder = tmp_path_factory.mktemp("cli")
    meta = folder / "site" / "kdbench-0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: kdbench\nVersion: 0\n")
    (meta / "entry_points.txt").write_text("[kdbench]\nplain = plain_of_a_test\n")
    (folder / "site" / "plain_of_a_test.py").write_text(METHOD)
    (folder / "bad").mkdir()
    (folder / "bad" / "broken.py").write_text("x = 1\nraise RuntimeError('over\\nthere')\n")
    (folder / "work").mkdir()
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("KDBENCH", "FORCE_COLOR", "PY_COLORS"))
    }
    path = os.pathsep.join([str(folder / "site"), *filter(None, sys.path)])
    return kept | {
        "KDBENCH_CACHE": str(folder / "cache"),
        "PYTHONPATH": path,
        "FOLDER": str(folder),
        "OMP_NUM_THREADS": "1",
        "GITHUB_ACTIONS": "true",
        "COLUMNS": "100",
    }


class Ran:
    """What a command line gave."""

    def __init__(
        self,
        environment: dict[str, str],
        *arguments: str,
        program: tuple[str, ...] = ("-m", "kdbench"),
    ) -> None:
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            env=environment,
            cwd=Path(environment["FOLDER"]) / "work",
            capture_output=True,
            timeout=120,
            check=False,
        )
        self.code, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("list",),
        ("list", "models"),
        ("plugins",),
        ("show", "plain"),
        ("show", "digits"),
        ("cite", "plain"),
    ],
)
def test_looking_imports_nothing_heavy_and_writes_plain_text(
    environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    ran = Ran(environment, *arguments, program=("-c", ALONE))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out
    assert "\x1b" not in ran.out
    assert "\r" not in ran.out


def test_list_names_every_kind(environment: dict[str, str]) -> None:
    ran = Ran(environment, "list")
    assert [
        line
        for line in ran.out.splitlines()
        if line in {"Methods", "Data sets", "Networks", "Suites"}
    ] == [
        "Methods",
        "Data sets",
        "Networks",
        "Suites",
    ]
    assert "plain  logits  1843  Nothing [31mred[0m.  kdbench 0" in ran.out
    assert "bare   -       -     Nothing at all.      kdbench 0" in ran.out
    assert "networks of timm" in ran.out


def test_json_is_versioned_and_whole(environment: dict[str, str]) -> None:
    listed = json.loads(Ran(environment, "list", "methods", "--json").out)
    assert listed["schema"] == 1
    methods = [tuple(item[key] for key in ("kind", "name", "origin")) for item in listed["data"]]
    assert methods == [("method", name, "kdbench 0") for name in ("plain", "again", "bare")]
    assert [(item["family"], item["year"]) for item in listed["data"]] == [
        ("logits", 1843),
        ("logits", 1843),
        ("", None),
    ]
    assert "resnet18" in {
        item["name"]
        for item in json.loads(Ran(environment, "list", "models", "--json").out)["data"]
    }
    (shown,) = json.loads(Ran(environment, "show", "plain[weight=2]", "--json").out)["data"]
    assert shown["hyperparameters"] == {"weight": 2.0, "word": "a"}
    assert (shown["family"], shown["extra"]) == ("logits", "a net of nothing")
    assert shown["paper"] == {
        "authors": "Ada Lovelace", "title": "Bits & Notes", "year": 1843, "venue": "SM",
        "arxiv": "", "doi": "10.1/2", "key": "lovelace1843bits", "reference": "10.1/2",
    }  # fmt: skip
    assert shown["options"]["weight"] == {"default": 1.0, "type": "float", "doc": "Of nothing."}
    (plugin,) = json.loads(Ran(environment, "plugins", "--json").out)["data"]
    assert (plugin["name"], plugin["state"], plugin["yields"], plugin["first_party"]) == (
        "plain",
        "ok",
        ["method plain", "method again", "method bare"],
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("lst",),
            2,
            "error: no such command 'lst'\n  did you mean 'list'?\n  see kdbench --help\n",
        ),
        (
            ("list", "--jsn"),
            2,
            "error: no such option: --jsn\n  did you mean '--json'?\n  see kdbench list --help\n",
        ),
        (("show",), 2, "error: missing argument 'name'\n  see kdbench show --help\n"),
        (
            ("show", "plan"),
            2,
            "error: unknown name 'plan'\n  did you mean 'plain'?\n  see kdbench list\n",
        ),
        (
            ("show", "plain[wieght=2]"),
            2,
            "error: plain has no option 'wieght'\n  did you mean 'weight'? its options are ",
        ),
        (
            ("show", "plain[weight=x]"),
            2,
            "error: plain[weight=x] is not possible\n  weight must be a valid number\n",
        ),
        (
            ("cite", "plain", "bare"),
            2,
            "error: method 'bare' names no paper\n  there is nothing to cite\n  see kdbench show ",
        ),
        (("cite", "plian"), 2, "error: unknown method 'plian'\n  did you mean 'plain'? "),
        (("cite",), 2, "error: missing argument 'NAME'\n  see kdbench cite --help\n"),
        (("show", "./gone.py"), 2, "error: there is no plugin file gone.py\n"),
        (
            ("list", "--no-plugin", "plian"),
            2,
            "error: there is no plugin 'plian' to leave out\n  did you mean 'plain'? ",
        ),
        (
            ("show", "plain", "--no-plugin", "plain"),
            4,
            "error: method 'plain' cannot be used\n  left out by --no-plugin\n",
        ),
    ],
)
def test_errors_are_three_short_lines(
    environment: dict[str, str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    ran = Ran(environment, *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(message)
    assert len(ran.err.splitlines()) <= 3


def test_a_method_is_shown_with_paper_extra_weights_and_passes(environment: dict[str, str]) -> None:
    lines = Ran(environment, "show", "plain[word=b]").out.splitlines()
    assert lines[lines.index("Family: logits") :][:4] == [
        "Family: logits",
        "Paper: Ada Lovelace. Bits & Notes. SM. 1843, doi:10.1/2",
        "Extra weights: a net of nothing",
        "Forward passes a step: student 2, teacher 2",
    ]
    assert any(line.split()[:3] == ["needs", "second", "True"] for line in lines)
    assert any(line.startswith("stage 0") for line in lines)
    bare = Ran(environment, "show", "bare").out
    assert "Family: none named\nPaper: none named\nExtra weights: none\n" in bare
    assert "Forward passes a step: student 1, teacher 0" in bare


def test_cite_prints_each_paper_once(environment: dict[str, str]) -> None:
    ran = Ran(environment, "cite", "plain", "again", "plain[weight=2]")
    assert (ran.code, ran.out) == (0, BIBTEX)
    (cited,) = json.loads(Ran(environment, "cite", "plain", "again", "--json").out)["data"]
    assert cited["methods"] == ["plain", "again"]
    assert (cited["key"], cited["bibtex"]) == ("lovelace1843bits", BIBTEX.rstrip())


def test_a_wrong_kind_comes_with_a_suggestion(environment: dict[str, str]) -> None:
    ran = Ran(environment, "list", "metods")
    assert ran.code == 2
    assert "did you mean 'methods'?" in ran.err


def test_a_broken_plugin_fails_only_those_who_ask_for_it(environment: dict[str, str]) -> None:
    folder = str(Path(environment["FOLDER"]) / "bad")
    listed = Ran(environment, "list", "methods", "--plugins-dir", folder)
    assert (listed.code, listed.err) == (
        0,
        "warning: 1 plugin has errors: see kdbench plugins --errors\n",
    )
    assert "plain" in listed.out
    told = Ran(environment, "plugins", "--errors", "--plugins-dir", folder)
    assert told.code == 0
    assert "broken.py:2: RuntimeError: over" in told.out
    assert "plain" not in told.out
    asked = Ran(environment, "show", "broken", "--plugins-dir", folder)
    assert asked.code == 4
    assert "broken.py:2: RuntimeError: over there" in asked.err
    assert Ran(environment, "plugins", "--errors").out == "1 plugins, none with errors\n"


def test_a_new_method_is_written_once_and_works_as_it_is(environment: dict[str, str]) -> None:
    made = Ran(environment, "new", "method", "my_kd")
    assert made.code == 0
    assert "kdbench run digits -m ./my_kd.py -m kd" in made.out
    shown = Ran(environment, "show", "./my_kd.py")
    assert (shown.code, shown.err) == (0, "")
    assert "method my_kd" in shown.out
    assert (
        "temperature  4.0    4.0      float  What both networks' logits are divided by, above 0."
        in shown.out
    )
    again = Ran(environment, "new", "method", "my_kd")
    assert (again.code, "already there" in again.err) == (2, True)
    for name, why in {"plain": "already a method", "My-KD": "no name for a method"}.items():
        refused = Ran(environment, "new", "method", name)
        assert (refused.code, why in refused.err) == (2, True)


def test_an_error_of_our_own_is_called_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def boom() -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("kdbench.suite.names", boom)
    assert main(["list", "suites"]) == 3
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "RuntimeError in kdbench\n  this is a bug" in said


def test_an_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kdbench.suite.names", interrupted)
    assert main(["list", "suites"]) == 130
