"""A plugin that kills, blocks, floods or fills its worker ends its own trial, by file and line."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench import engine
from kdbench.record import Record, Store
from kdbench.registry import scan

ZOO = '''
"""Methods that their worker does not survive, and some that only make a noise."""
import ctypes
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import torch

from kdbench.api import Method, hookimpl
from kdbench.functional import cross_entropy


@dataclass(frozen=True)
class Bad(Method):
    """Cross-entropy until step 2."""

    how: str = ""

    def init(self, setup):
        if self.how == "init_exits":
            os._exit(3)  # init_exits
        return torch.zeros(())

    def loss(self, student, teacher, batch, state):
        state += 1
        if int(state) == 3:
            self.fault()
        return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}

    def fault(self):
        if self.how == "reads_nothing":
            ctypes.string_at(0)  # reads_nothing
        if self.how == "aborts":
            os.abort()  # aborts
        if self.how == "kills":
            os.kill(os.getpid(), 9)
        if self.how == "exits":
            os._exit(0)  # exits
        if self.how == "sleeps":
            time.sleep(600)  # sleeps
        if self.how == "allocates":
            kept = []
            while True:
                kept.append(torch.ones(4_000_000))  # allocates
        if self.how == "starts":
            started = subprocess.Popen(["sleep", "600"])
            print("started", started.pid)
            os._exit(1)  # starts
        if self.how == "floods":
            for _ in range(1000):
                os.write(1, b"x" * 99_999 + b"\\n")
        if self.how == "says":
            print("loss is odd")
            print("very odd", file=sys.stderr)


@hookimpl
def kdbench_methods():
    for how in HOWS.split():
        yield how, Bad(how)


HOWS = "init_exits reads_nothing aborts kills exits sleeps allocates starts floods says"
'''
LINES = ZOO.splitlines()
EXPECTED = {
    "init_exits": ("crashed", "left with exit code 3"),
    "reads_nothing": ("crashed", "killed by SIGSEGV"),
    "aborts": ("crashed", "killed by SIGABRT"),
    "kills": ("crashed", "killed by SIGKILL"),
    "exits": ("crashed", "left with exit code 0"),
    "sleeps": ("timeout", "step 2 took more than 15 s"),
    "allocates": ("oom", "took more than 1 GB of memory"),
    "starts": ("crashed", "left with exit code 1"),
}


def test_each_has_its_status_its_line_and_no_other_trial_s_bits(
    tmp_path: Path,
    kdbench_suite: Any,
    kdbench_plan: Callable[..., Any],
    kdbench_answer: Callable[..., Any],
    kdbench_silence: Any,
) -> None:
    (tmp_path / "zoo.py").write_text(ZOO, "utf-8")
    registry = scan(files=[tmp_path / "zoo.py"])
    expected = kdbench_answer(*kdbench_plan(methods=["kd"]).cohorts)["kd"]
    printed: list[str] = []
    kdbench_silence.printed = lambda work, line: printed.append(line)
    store = Store(tmp_path / "store")

    def run(*methods: str, **limits: float) -> tuple[Record, ...]:
        suite = kdbench_suite(methods=[*methods], limits=limits)
        return engine.run(suite, registry, store, kdbench_silence, workers=1).records

    others = [how for how in (*EXPECTED, "kd", "says", "floods") if how != "sleeps"]
    records = run(*others, memory_gb=1.0, checkpoint_seconds=0.01) + run("sleeps", trial_seconds=15)
    found = {record.question.method: record for record in records}
    for how, (status, why) in EXPECTED.items():
        number = next((i for i, line in enumerate(LINES, 1) if line.endswith(f"# {how}")), None)
        where = f", line {number}" if number else ""
        failure = found[how].failure
        assert found[how].status == status, failure
        assert failure.message == f"zoo (zoo.py{where}): {why}"
        assert failure.where == ("init" if how == "init_exits" else "step 2")
    for how in ("kd", "floods", "says"):
        assert found[how].status == "ok"
    assert found["kd"].deployed.weights == expected.deployed.weights
    assert (found["kd"].logits, found["kd"].losses) == (expected.logits, expected.losses)
    assert found["floods"].deployed.weights == found["says"].deployed.weights  # both cross-entropy
    started = [int(line.split()[1]) for line in printed if line.startswith("started ")]
    assert len(started) == 1
    assert not lives(started[0])
    assert {line for line in printed if line.split()[0] not in ("started", "x" * 99_999)} == {
        "loss is odd", "very odd", "(more than 64 KiB of output: the rest is not shown)",
    }  # fmt: skip
    assert sum(map(len, printed)) < 2**20
    (again,) = kdbench_plan(methods=["exits"], registry=registry, records=records).work()
    assert [trial.spec.name for trial in again.trials] == ["exits"]  # a crash says nothing final


def lives(process: int, seconds: float = 20.0) -> bool:
    """Whether it still runs after so many seconds; what only waits to be reaped does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        asked = ["ps", "-o", "stat=", "-p", str(process)]
        if not subprocess.run(asked, capture_output=True, text=True).stdout.strip(" Z\n<sl+"):
            return False
        time.sleep(0.1)
    os.kill(process, 9)
    return True
