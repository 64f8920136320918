"""Nothing but `prepare` uses the network: every process of a run is watched, and may not."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROBE = '''"""Tries to reach another machine while it is trained."""
import socket
from dataclasses import dataclass
from kdbench.api import Method, hookimpl


@dataclass(frozen=True)
class Probe(Method):
    """One that calls home."""

    def init(self, setup):
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        except PermissionError as error:
            raise RuntimeError(f"stopped: {error}") from None

    def loss(self, student, teacher, batch, state):
        return {"soft": student.logits.mean()}


@hookimpl
def kdbench_methods():
    yield "probe", Probe()
'''

SCRIPT = """
import json, sys
from kdbench.cli import main
if __name__ == "__main__":
    for line in sys.stdin:
        print("CODE", main(json.loads(line)), flush=True)
"""

PAIR = "resnet8:resnet8[width=0.25]"
SHORT = (
    "--steps", "2", "--seeds", "1", "--pair", PAIR, "--store", "store", "-m", "kd", "-m", "scratch",
    "-m", "probe.py",
)  # fmt: skip
COMMANDS = {
    ("list",): 0,
    ("show", "kd"): 0,
    ("plan", "digits", *SHORT): 0,
    ("run", "digits", *SHORT): 1,  # the probe's trial fails; board and page are written
    ("leaderboard", "store", "--check"): 0,
    ("report", "store"): 5,  # the suite asks nothing
    ("compare", "kd", "scratch", "store"): 0,
    ("export-results", "store", "out.parquet"): 0,
    ("import", "out.parquet", "--store", "mine"): 0,
    ("export", "kd", "--store", "store", "-o", "student"): 0,
}


def test_no_process_of_any_command_but_prepare_uses_the_network(
    tmp_path: Path, kdbench_root: Path
) -> None:
    log = tmp_path / "log"
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "script.py").write_text(SCRIPT)
    watch = str(kdbench_root / "tests" / "faults" / "no_network")
    paths = [watch, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    env = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"} | {
        "PYTHONPATH": os.pathsep.join(paths), "KDBENCH_NETWORK_LOG": str(log),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=env, text=True, capture_output=True,
        input="\n".join(map(json.dumps, COMMANDS)), timeout=600,
    )  # fmt: skip
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("CODE")]
    told = f"{done.stdout}\n{done.stderr}"
    assert codes == list(COMMANDS.values()), told
    lines = log.read_text().splitlines()
    used = [line for line in lines if line.startswith("used")]
    # the probe's try alone, in a worker, which is so shown to be watched
    assert len(used) == 1 and "192.0.2.1" in used[0], used
    (worker,) = {line.split()[1] for line in used}
    watched = [line.split(maxsplit=2)[1:] for line in lines if line.startswith("watched")]
    assert [worker, "forked"] in watched
    assert any("script.py" in what for _, what in watched)
    assert len({process for process, _ in watched}) > 3
    (record,) = (tmp_path / "store").glob("records/*/*/probe-*.json")
    assert "stopped: " in json.loads(record.read_bytes())["failure"]["message"]
