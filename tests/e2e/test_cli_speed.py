"""`kdbench speed`, as a user runs it: tiny networks, few methods, a child process for all."""

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdbench.cli import main
from kdbench.errors import ExitCode

PAIR = "resnet8[width=0.5]:resnet8[width=0.25]"
TINY = ["--pair", PAIR, "--batch", "8", "--seconds", "0.05"]
FILE = "speed-resnet8_width=0.5_resnet8_width=0.25_-b8.json"

PLUGIN = '''
"""Methods that raise, decline and die."""
import os
import signal
from dataclasses import dataclass

from kdbench.api import Method, Unsupported, hookimpl
from kdbench.functional import cross_entropy


@dataclass(frozen=True)
class Odd(Method):
    """Does as told."""

    how: str = "raise"

    def init(self, setup):
        if self.how == "decline":
            raise Unsupported("no pair fits", "it is choosy", "take another")

    def loss(self, student, teacher, batch, state):
        if self.how == "raise":
            raise ValueError("no such loss")
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}


@hookimpl
def kdbench_methods():
    yield "odd", Odd()
'''


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One run of a folder whose own pytest configuration would break it, and what it printed."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (folder / "conftest.py").write_text("raise RuntimeError('the project is not asked')\n")
    (folder / "odd.py").write_text(PLUGIN)
    options = ["-m", "scratch", "-m", "kd", "-m", "./odd.py", "-m", "odd[how=decline]"]
    options += ["-m", "odd[how=die]", "--json", *TINY]
    done = subprocess.run(
        [sys.executable, "-m", "kdbench", "speed", *options],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTEST_ADDOPTS": "--no-such-option"},
    )  # fmt: skip
    return folder, done


def test_methods_are_measured_and_one_that_raises_declines_or_dies_costs_only_itself(
    measured: Any,
) -> None:
    _, done = measured
    assert done.returncode == ExitCode.TRIALS_NOT_OK, done.stderr
    data = json.loads(done.stdout)["data"]
    record = data["record"]
    assert [one["method"] for one in record["methods"]] == ["scratch", "kd"]
    assert record["reference"] == "scratch"
    assert record["unsupported"] == {"odd[how=decline]": "no pair fits: it is choosy"}
    assert record["failed"]["odd"].startswith("odd (odd.py, line 23): ValueError: no such loss")
    assert "SIGKILL" in record["failed"]["odd[how=die]"]
    assert "measuring kd (2 of 5)" in done.stderr


def test_a_step_with_a_teacher_costs_more_and_its_phases_are_all_of_it(measured: Any) -> None:
    record = json.loads(measured[1].stdout)["data"]["record"]
    plain, taught = record["methods"]
    assert plain["teacher_passes"] == 0
    assert taught["teacher_passes"] == 1
    assert taught["multiply_adds"] > plain["multiply_adds"] > 0
    assert taught["peak_memory_mb"] > 0
    assert min(taught["parts_ms"].values()) > 0
    assert set(taught["parts_ms"]) == {"data", "teacher", "student", "loss", "backward", "update"}
    assert len(taught["step_ms"]) == len(taught["reference_ms"]) >= 6
    assert 0 <= taught["unaccounted"] < 0.2
    assert 0 < taught["utilisation"] < 1
    assert min(record["pair_ms"].values()) > 0
    assert {"teacher pass", "student forward", "data"} <= set(record["pair_ms"])


def test_the_file_names_neither_host_nor_path_and_pytest_benchmark_compares_it(
    measured: Any, tmp_path: Path
) -> None:
    folder, _ = measured
    text = (folder / FILE).read_text("utf-8")
    told = [str(folder), str(Path(__file__).parent), *filter(None, [platform.node()])]
    assert [word for word in told if word in text] == []
    data = json.loads(text)
    assert (data["machine_info"]["node"], data["commit_info"]) == ("", {})
    assert all(one["fullname"].startswith("kdbench.testing.speed::") for one in data["benchmarks"])
    step = next(one for one in data["benchmarks"] if one["name"] == "test_step[kd]")
    taken = [1e3 * seconds for seconds in step["stats"]["data"]]
    assert taken == pytest.approx(step["extra_info"]["step_ms"])
    code = "import sys; from pytest_benchmark.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", str(folder / FILE)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test_step[kd]" in done.stdout


def test_an_earlier_file_is_compared_with_a_limit_fails_and_a_board_is_fed(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    board = tmp_path / "board"
    (board / "records").mkdir(parents=True)
    earlier = str(measured[0] / FILE)
    asked = ["speed", "-m", "kd", *TINY, "--against", earlier, "--board", str(board)]
    limits = ["--fail-if", "kd: ratio > 0.01", "--fail-if", "wall_change > 1000"]
    assert main([*asked, *limits]) == ExitCode.CHECK_FAILED
    out, error = capsys.readouterr()
    (broken,) = (line for line in out.splitlines() if line.startswith("broken: "))
    assert broken.startswith("broken: kd: ratio ")
    assert error.splitlines()[-3].startswith("error: 1 limit is broken")
    header = next(line for line in out.splitlines() if line.startswith("Method"))
    assert header.split()[-3:] == ["Change", "Wall", "change"]
    assert f"wrote {FILE}" in out
    assert [path.name for path in (board / "speed").iterdir()] == [FILE.removeprefix("speed-")]


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["-m", "nosuch"], ExitCode.USAGE, "unknown method 'nosuch'"),
        (["--pair", "nosuch:resnet8"], ExitCode.USAGE, "nosuch"),
        (["--pair", "resnet8"], ExitCode.USAGE, "is not a pair"),
        (["--batch", "0"], ExitCode.USAGE, "a batch of 0"),
        (["--batch", "1"], ExitCode.USAGE, "a batch of 1"),
        (["--seconds", "0"], ExitCode.USAGE, "0 seconds"),
        (["--device", "abacus"], ExitCode.USAGE, "no device 'abacus'"),
        (["--fail-if", "cost > 1"], ExitCode.USAGE, "is no limit"),
        (["-m", "kd", "--fail-if", "at: ratio > 1"], ExitCode.USAGE, "not measured"),
        (["-m", "kd", "--fail-if", "change > 1"], ExitCode.USAGE, "needs an earlier run"),
        (["--against", "none.json"], ExitCode.USAGE, "cannot read none.json"),
        (["-m", "kd", "--out", "none/x.json"], ExitCode.ENVIRONMENT, "cannot write"),
        (["-m", "kd", "--board", "none"], ExitCode.USAGE, "no board"),
    ],
)
def test_wrong_input_is_told_in_three_lines_before_anything_is_measured(
    options: list[str], code: int, word: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["speed", *options]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert word in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_question_is_refused(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = str(measured[0] / FILE)
    assert main(["speed", "-m", "kd", "--batch", "16", "--pair", PAIR, "--against", earlier]) == 2
    assert "is of another batch size" in capsys.readouterr().err


def test_without_pytest_benchmark_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if "pytest" in name else real(name)
    )
    assert main(["speed", "-m", "kd", *TINY]) == ExitCode.ENVIRONMENT
    assert "pip install 'kdbench[bench]'" in capsys.readouterr().err


def test_a_reference_that_declines_the_pair_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.py").write_text(PLUGIN)
    options = ["-m", "./odd.py", "-m", "kd", "--against", "odd[how=decline]", *TINY]
    assert main(["speed", *options]) == ExitCode.USAGE
    assert "cannot be the reference" in capsys.readouterr().err


def test_interrupted_it_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "project", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "kdbench", "speed", "-m", "kd", *TINY, "--seconds", "60"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )  # fmt: skip
    assert process.stderr
    assert process.stderr.readline().startswith("measuring ")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == ExitCode.INTERRUPTED
    process.communicate()
    assert list(folder.iterdir()) == []
    assert list(temporary.glob("kdbench*")) == []


def test_the_parent_imports_neither_torch_nor_pytest() -> None:
    code = (
        "import sys; from kdbench.cli import main; from kdbench.testing.speed import launch; "
        "launch._HERE = launch._HERE / 'nowhere'; code = main(sys.argv[1:]); "
        "sys.exit(str({'torch', 'pytest'} & set(sys.modules)))"
    )
    ask = [sys.executable, "-c", code, "speed", "-m", "kd", *TINY]
    done = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.rstrip().endswith("set()"), done.stderr
