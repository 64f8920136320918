"""Plugins that are broken in one way each: the host lives, the others work, the blame is right.

What a registry says of each kind of mistake is in tests/unit/test_registry.py; here is what a user
sees of it: of what is there, of what is asked for, and of plugins that are strange and yet right.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import kdbench.engine
import kdbench.registry
from kdbench.cli import main
from kdbench.registry import Registry, Source, entry
from kdbench.registry.process import Child, Died

METHOD = '''
"""A method of a zoo."""
from dataclasses import dataclass
from kdbench.api import Method, hookimpl

@dataclass(frozen=True)
class Plain(Method):
    """Nothing."""

    def loss(self, student, teacher, batch, state):
        return {"soft": student.logits.sum()}

@hookimpl
def kdbench_methods():
    yield "NAME", Plain()
'''
HOOK = "from kdbench.api import hookimpl\n\n@hookimpl\ndef kdbench_methods():\n"
DATASETS = "from kdbench.api import hookimpl\n\n@hookimpl\ndef kdbench_datasets():\n"
HOOKED = METHOD[: METHOD.index("@hookimpl")].count("\n") + 1


def named(name: str) -> str:
    """A method of this name, whatever it is."""
    return METHOD.replace('"NAME"', repr(name))


BROKEN = {
    # those that end the process come first: before torch is imported, a child starts quickly
    "a_exits_well": ("import sys\nsys.exit(0)\n", 2, "SystemExit, so it wants to end the host"),
    "a_leaves": ("import os\nos._exit(0)\n", 0, "ended the process with exit code 0"),
    "a_killed": ("import os\nos.kill(os.getpid(), 9)\n", 0, "killed by SIGKILL"),
    "a_syntax": ("x = 1\ndef f(:\n", 2, "SyntaxError"),
    "b_import": ("import no_such_module\n", 1, "No module named 'no_such_module'"),
    "b_recursion": ("def f():\n    f()\n\nf()\n", 2, "RecursionError"),
    "b_memory": ("raise MemoryError('all of it')\n", 1, "MemoryError: all of it"),
    "b_error": ("raise RuntimeError('two\\nlines\\x1b[2J')\n", 1, "RuntimeError: two lines[2J"),
    "c_argument": (HOOK.replace("()", "(more)") + "    yield 'x', 1\n", 3, "takes more"),
    "c_hook": (HOOK.replace("methods", "methodz") + "    yield 'x', 1\n", 3, "is not a hook"),
    "c_version": ("KDBENCH_API = 2\n" + named("c_version"), 1, "KDBENCH_API = 2; this kdbench has"),
    "d_many": (
        HOOK + "    yield from ((f'm{i}', 1) for i in range(10**6))\n", 3, "expected a Method",
    ),
    "d_endless": (
        "import itertools\n" + named("d_endless").replace(
            'yield', 'yield from ((f"m{i}", Plain()) for i in itertools.count()) #'
        ), HOOKED + 1, "yields more than 10000 names",
    ),
    "e_unicode": (named("müller"), HOOKED, "yields the name 'müller'"),
    "e_html": (named("<script>alert(1)</script>"), HOOKED, "the name '<script>alert(1)</script>'"),
    "e_path": (named("../../etc/passwd"), HOOKED, "yields the name '../../etc/passwd'"),
    "e_control": (named("a\x1b[31m\nb\0"), HOOKED, r"yields the name 'a\x1b[31m\nb\x00'"),
    "e_long": (named("x" * 10_000), HOOKED, f"yields the name '{'x' * 100}'..."),
    "e_empty": (named(""), HOOKED, "yields the name ''"),
    "e_data": (DATASETS + "    yield '../x', 1\n", 3, "yields the name '../x'"),
    "f_kd": (named("kd"), 0, "method 'kd' is kdbench 0"),
    "f_twice": (named("f_clash"), 0, "f_clash' is yielded by"),
    "g<b>'é\n%s": ("raise ValueError\n", 1, "ValueError"),
}  # fmt: skip
"""Stem of the file -> its text, the line that is blamed (0 for none) and what is said."""

FINE = {
    "f_other": named("f_clash"),
    "h_prints": "print('hello' * 1000)\n" + named("h_prints"),
    "h_slow": "import time\ntime.sleep(0.6)\n" + named("h_slow"),
    "h_thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,)).start()\n" + named("h_thread"),
    "h_version": "KDBENCH_API = 1\n" + named("h_version"),
    "i ü'<i>": named("odd_file"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo of plugins")
    for name, text in {**{n: found[0] for n, found in BROKEN.items()}, **FINE}.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def zoo(place: Path, kdbench_registry: Registry) -> Registry:
    """A real scan, once."""
    return kdbench.registry.scan(folders=[place])


@pytest.fixture
def command(
    zoo: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """A command line by that scan: its exit code, output and errors."""
    monkeypatch.setattr(kdbench.registry, "scan", lambda **_: zoo)
    monkeypatch.setattr(kdbench.engine, "warm_up", lambda: None)

    def ran(*arguments: str) -> tuple[int, str, str]:
        return (main(arguments), *capsys.readouterr())

    return ran


def test_a_list_has_all_that_is_right_and_one_line_about_what_is_not(place: Path) -> None:
    command = [sys.executable, "-m", "kdbench", "list", "methods", "--plugins-dir", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    have = {line.split()[0] for line in done.stdout.splitlines()}
    assert done.returncode == 0
    assert have > {"kd", "scratch", "h_prints", "h_slow", "h_thread", "h_version", "odd_file"}
    assert not have & {*BROKEN, "f_clash", "hello", "x"}
    count = len(BROKEN) + 1  # both that clash
    assert done.stderr == f"warning: {count} plugins have errors: see kdbench plugins --errors\n"


def test_each_mistake_is_told_on_one_line_with_file_and_line(
    place: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = command("plugins", "--errors")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    told = out.splitlines()
    for name, (_, line, reason) in BROKEN.items():
        shown = " ".join(name.split())
        (one,) = (text for text in told if text.startswith(f"{shown}: "))
        file = " ".join(f"{place / name}.py".split())
        assert f"{file}:{line}" in one if line else file in one, name
        assert reason in one, name
    assert len(told) == 1 + 2 * (len(BROKEN) + 1)  # a head, and two lines for each


def test_what_is_strange_and_right_works_and_a_slow_import_is_named(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "SLOW", 0.5)
    rows = {row["name"]: row for row in json.loads(command("plugins", "--json")[1])["data"]}
    for name in FINE.keys() - {"f_other"}:
        assert (rows[name]["state"], rows[name]["error"]) == ("ok", ""), name
    assert rows["h_slow"]["import_seconds"] >= 0.6
    code, out, _ = command("plugins")
    assert code == 0
    assert re.search(r"^h_slow: slow, its import takes \d+(\.\d)? s$", out, re.MULTILINE)


@pytest.mark.parametrize("name", BROKEN)
def test_asked_for_by_name_or_file_it_ends_the_run_with_4_in_three_lines(
    name: str, place: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    _, line, reason = BROKEN[name]
    asked = [str(place / f"{name}.py")]
    if re.fullmatch("[a-z_]+", name) and name not in ("f_kd", "f_twice"):
        asked.append(name)
    for method in asked:
        code, out, err = command("run", "-m", method, "--plugins-dir", str(place))
        assert (code, out) == (4, "")
        what, why, then = err.split("\n  ")
        assert what.splitlines()[-1].startswith("error: ")
        assert reason in why
        assert f".py:{line}" in why if line else ".py" in why
        assert then.strip() == "mend the plugin, or select without it; see kdbench plugins"


def test_a_name_of_two_plugins_ends_the_run_and_a_first_party_name_is_the_first_party_s(
    zoo: Registry, command: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = command("run", "-m", "f_clash")
    assert code == 4
    assert "f_twice.py" in err
    assert "f_other.py" in err
    assert zoo.entry("method", "kd").source.first_party


def test_a_hook_without_end_is_stopped_and_the_next_plugin_is_read(place: Path) -> None:
    (place / "_silent.py").write_text(HOOK + "    while True:\n        pass\n    yield\n")

    def question(name: str) -> dict[str, object]:
        path = place / f"{name}.py"
        source = Source(name, "file", f"zoo_{len(name)}", str(path), path.name, "", "")
        return {"do": "load", "source": vars(source)}

    with Child() as child:
        assert child.ask(question("h_version"), 120.0)["found"]
        with pytest.raises(Died, match=r"_silent\.py:[56]: no answer for 1 s"):
            child.ask(question("_silent"), 1.0)
        assert child.ask(question("h_prints"), 120.0)["found"]
