"""`reproduce`, as users run it on the record of a stranger: shown first, used with leave alone."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kdbench
from kdbench.cli import main
from kdbench.record import Question, Record, Store


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A trial of this machine."""
    folder = tmp_path_factory.mktemp("true")
    kdbench.run(
        "digits", methods=["kd"], pairs=["resnet8:resnet8[width=0.25]"], seeds=[1], steps=4,
        store=folder, workers=1, progress=False,
    )  # fmt: skip
    (record,) = Store(folder).records()
    return record


@pytest.fixture
def stranger(true: Record, tmp_path: Path) -> Callable[..., Path]:
    """`stranger(ask={...}, **changes)`: the file of the record with these changes."""

    def made(ask: dict[str, Any] | None = None, **changes: Any) -> Path:
        question = Question.model_validate(true.question.model_dump() | (ask or {}))
        prints = true.fingerprints.model_copy(update={"question": question.fingerprint})
        update = {"question": question, "fingerprints": prints, **changes}
        return Store(tmp_path / "stranger").add(true.model_copy(update=update))

    return made


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`ran(*arguments)`: exit code and what was printed on both streams, none a terminal."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["reproduce", *map(str, arguments)])
        return code, *capsys.readouterr()

    return call


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "hub": ({"teacher": "hf-hub:evil/net"}, "the network hf-hub:evil/net, from the Hugging Face"),
    "assistant": ({"teacher": "hf_hub:evil/net>resnet8"}, "the network hf_hub:evil/net, from the"),
    "folder": ({"student": "local-dir:/etc"}, "the folder /etc, as a network"),
    "weights": ({"teacher": "resnet8[pretrained=true]"}, "the published weights of resnet8"),
    "file": ({"teacher": "resnet8[checkpoint='/etc/passwd']"}, "the path '/etc/passwd'"),
    "data": ({"dataset": "parquet[path='~/secret']"}, "the path '~/secret' (path of the data set"),
    "option": ({"hyperparameters": {"alpha": "../x"}}, "the path '../x' (alpha of the method kd)"),
    "nested": ({"hyperparameters": {"alpha": [["/x"]]}}, "the path '/x' (alpha of the method kd)"),
    "method": ({"method": "no_such"}, "the method no_such of kdbench"),
    "alone": (
        {"teacher_protocol": {
            "epochs": 1, "batch_size": 8, "learning_rate": 0.1, "alone": "scratch[x='/x']",
        }},
        "the path '/x' (x of the method scratch)",
    ),
    "transfer": (
        {"protocol": {
            "epochs": 1, "batch_size": 8, "learning_rate": 0.1,
            "transfer": "noise+added[dataset=parquet:/x]",
        }},
        "the path 'parquet:/x' (added.dataset of the transfer policy noise+added)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_stranger_s_record_leads_to_is_shown_and_refused_without_leave(
    kind: str, stranger: Any, ran: Any
) -> None:
    ask, told = HOSTILE[kind]
    code, out, err = ran(stranger(ask))
    assert (code, out) == (2, "")
    first, *_, what, why, then = err.splitlines()
    assert first.startswith(f"warning: the record would use {told}")
    assert what.endswith("is not used without leave")
    assert why.startswith(f"  it would use {told}")
    assert then == "  if you trust whoever made it, give --yes"


@pytest.mark.parametrize(
    "origin", [("kdbench", "0.0.1"), ("evil", "1.0"), ("kd\x1b]0;x\x07\u202e.py", "\x1b[2J")]
)
def test_a_plugin_of_another_origin_is_shown_and_refused(
    origin: tuple[str, str], stranger: Any, true: Record, ran: Any
) -> None:
    other = dict(zip(("distribution", "version"), origin, strict=True))
    code, _, err = ran(stranger(origin=true.origin.model_copy(update=other)))
    assert code == 2
    assert "the method kd of kdbench" in err
    assert err.replace("\n", "").isprintable()


def test_with_leave_it_is_used_and_still_shown(stranger: Any, true: Record, ran: Any) -> None:
    path = stranger(origin=true.origin.model_copy(update={"version": "0.0.1"}))
    code, out, err = ran(path, "--yes")
    assert code == 0, err
    assert out.splitlines()[-1] == "reproduced: identical to the bit"
    assert "warning: the record would use the method kd of kdbench" in err


def test_one_s_own_record_is_reproduced_to_the_bit_without_a_question(
    stranger: Any, ran: Any
) -> None:
    code, out, err = ran(stranger(), "--json")
    assert (code, err.count("warning")) == (0, 0)
    found = json.loads(out)["data"]
    assert (found["reproduced"], found["identical"], found["differ"]) == (True, True, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"ask": {"method": "kd\x1b[31m"}},
        {"ask": {"dataset": "x\x1b[31m\x9b31m"}},
        {"ask": {"student": "resnet8\x1b[31m"}},
        {"ask": {"hyperparameters": {"alpha": {"a": "\x1b[31m"}}}},
        {"suite": "\x1b[31m"},
    ],
)
def test_names_with_escapes_reach_no_terminal_and_no_record_is_a_bug_of_ours(
    changes: dict[str, Any], stranger: Any, ran: Any
) -> None:
    code, out, err = ran(stranger(**changes))
    assert code in (2, 4), err
    assert not set("\x1b\x9b\x07") & set(out + err)
    assert "Traceback" not in err


def test_a_hostile_device_is_refused(stranger: Any, true: Record, ran: Any) -> None:
    evil = true.environment.model_copy(update={"device": "cuda\x1b[31m; rm"})
    code, _, err = ran(stranger(environment=evil))
    assert code == 2
    assert "\x1b" not in err


@pytest.mark.parametrize(("said", "code"), [("n\n", 2), ("y\n", 0)])
def test_on_a_terminal_it_asks(said: str, code: int, stranger: Any, true: Record) -> None:
    path = stranger(origin=true.origin.model_copy(update={"version": "0.0.1"}))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kdbench", "reproduce", str(path)], stdin=theirs, stdout=theirs,
        stderr=theirs, env=os.environ | {"TERM": "xterm"}, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()
    asked = threading.Event()

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal's other side is closed: Linux's end of file
                return
            shown.extend(part)
            if b"Use them? [y/N]" in shown:
                asked.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert asked.wait(60), shown.decode(errors="replace")
    os.write(ours, said.encode())
    assert process.wait(120) == code, shown.decode(errors="replace")
    reader.join(10)
    os.close(ours)
    assert (b"identical to the bit" in shown) == (code == 0)
