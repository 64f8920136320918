"""`kdbench check`, in the process and with the children that a user has."""

import json
from pathlib import Path

import pytest

from kdbench.cli import main
from kdbench.errors import ExitCode

FILE = '''
import os, signal
from dataclasses import dataclass

from kdbench.api import Method, Unsupported, hookimpl
from kdbench.functional import cross_entropy


@dataclass(frozen=True)
class Mine(Method):
    """Cross-entropy with the labels."""

    def init(self, setup):
        {init}

    def loss(self, student, teacher, batch, state):
        {loss}
        return {{"hard": cross_entropy(student.logits, batch.target, batch.labelled)}}


@hookimpl
def kdbench_methods():
    yield "mine", Mine()
'''


def plugin(folder: Path, init: str = "return None", loss: str = "pass") -> str:
    path = folder / "mine.py"
    path.write_text(FILE.format(init=init, loss=loss), "utf-8")
    return str(path)


def test_a_method_that_keeps_every_contract_is_told_so_and_what_was_not_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "kd[temperature=2]"]) == ExitCode.OK
    name, *lines = capsys.readouterr().out.splitlines()
    assert name == "kd[temperature=2]"
    contracts = lines[: lines.index("")]
    assert len(contracts) >= 19
    assert all(line.startswith("  ok ") for line in contracts)
    summary, head, *rest = lines[lines.index("") + 1 :]
    assert summary.startswith(f"checked: {len(contracts)} contracts")
    assert head == "not checked:"
    assert [
        word for line, word in zip(rest, ("learns", "paper", "GPU"), strict=True) if word in line
    ] == ["learns", "paper", "GPU"]


def test_the_file_that_kdbench_new_writes_keeps_every_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "method", "fresh"]) == ExitCode.OK
    assert main(["check", "./fresh.py"]) == ExitCode.OK


def test_a_sum_of_methods_is_checked_like_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "kd+fitnet[weight=10]", "--json"]) == ExitCode.OK
    methods = json.loads(capsys.readouterr().out)["data"]["methods"]
    assert {one["state"] for one in methods["kd+fitnet[weight=10]"]} == {"ok"}


def test_a_plugin_that_dies_fails_that_contract_alone_and_the_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    die = "len(batch.target) == 2 and os.kill(os.getpid(), signal.SIGKILL)"
    path = plugin(tmp_path, loss=die)
    assert main(["check", path, "--json"]) == ExitCode.CHECK_FAILED
    data = json.loads(capsys.readouterr().out)["data"]
    states = {finding["contract"]: finding for finding in data["methods"]["mine"]}
    failed = [name for name, finding in states.items() if finding["state"] != "ok"]
    assert failed == ["losses are finite scalars"]
    assert "SIGKILL" in states[failed[0]]["why"]
    assert path in states[failed[0]]["why"]
    assert data["not_checked"]


def test_a_method_that_raises_is_shown_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(tmp_path, loss='raise ZeroDivisionError("by nothing")')
    assert main(["check", path]) == ExitCode.CHECK_FAILED
    lines = capsys.readouterr().out.splitlines()
    line = (
        Path(path)
        .read_text("utf-8")
        .splitlines()
        .index('        raise ZeroDivisionError("by nothing")')
    )
    (failed,) = (one for one in lines if one.startswith("  fails "))
    assert "ZeroDivisionError: by nothing" in failed
    assert f"({path}:{line + 1})" in failed
    assert sum(one.startswith("  unchecked ") for one in lines) >= 17


def test_a_method_that_declines_every_pair_is_unsupported_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(tmp_path, init='raise Unsupported("no pair", "there is none", "leave it")')
    assert main(["check", path]) == ExitCode.OK
    assert "  unsupported training goes through: no pair; there is none" in capsys.readouterr().out


def test_a_file_that_cannot_be_imported_is_a_broken_plugin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_that_name\n", "utf-8")
    assert main(["check", str(path)]) == ExitCode.ENVIRONMENT
    assert "broken.py:1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "kd[heat=3]", "kd[alpha=7]"])
def test_an_unknown_name_or_option_is_a_mistake_of_usage(name: str) -> None:
    assert main(["check", name]) == ExitCode.USAGE
