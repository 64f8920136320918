"""Workers and their server end with the run that they belong to."""

import os
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import multiprocessing, os, signal, sys, time
from kdbench.engine.orphan import end_with_parent

def work(pipe):
    end_with_parent()
    pipe.send(os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    context.Process(target=work, args=(theirs,), daemon=True).start()
    print(ours.recv(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, "utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=120
    )
    worker, end = int(done.stdout), time.monotonic() + 60
    while _lives(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _lives(worker)


UNUSED = """
from kdbench.engine import worker
worker.PRELOAD[:] = ["endless"]
worker.warm_up()
"""


def test_a_server_that_nobody_used_does_not_hold_what_reads_the_output(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time; print('here', flush=True); time.sleep(600)")
    done = subprocess.run(
        [sys.executable, "-c", UNUSED], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    return state != "Z"  # dead, and nobody asked yet
