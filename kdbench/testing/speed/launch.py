"""The suite in a child process, and what is known if that dies; no torch, no pytest."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench import errors
from kdbench.errors import MissingExtra, PluginError
from kdbench.testing.speed.asked import Asked

__all__ = ["ERROR", "NOW", "launch"]

ERROR = "error.json"
"""Where the child leaves an error that a user can mend: class, what, why, next."""

NOW = "now: "
"""In the child's output, before the name of what is measured next."""

_HERE = Path(__file__).parent
_START = (
    "import os, sys; sys.path[:] = sys.argv.pop(1).split(os.pathsep); "
    "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
)
_MEASURED = (0, 1)  # pytest's exit codes: all passed, or some failed


def launch(asked: Asked, watch: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """What pytest-benchmark's JSON file of this run holds, with a `SpeedRecord` under "kdbench".

    A method that kills the process is left out of a second run, and is named with those that
    failed.

    Args:
        asked: What is measured.
        watch: Called with the name of each benchmark before it begins.

    Raises:
        MissingExtra: pytest-benchmark is not installed.
        PluginError: The reference kills the process; or what the child could not go on from.
    """
    if importlib.util.find_spec("pytest_benchmark") is None:
        raise MissingExtra(
            "pytest-benchmark is not installed",
            "it takes the times",
            "pip install 'kdbench[bench]'",
        )
    died: dict[str, str] = {}
    while True:
        with tempfile.TemporaryDirectory(prefix="kdbench-speed-") as folder:
            now, code, said = _run(asked, Path(folder), watch)
            error, file = Path(folder) / ERROR, Path(folder) / "out.json"
            if error.is_file():
                kind, *parts = json.loads(error.read_bytes())
                raise getattr(errors, kind)(*parts)
            if code in _MEASURED and file.is_file():
                found: dict[str, Any] = json.loads(file.read_bytes())
                found["kdbench"]["failed"] |= died
                return found
        how = f"it ended the process ({_signal(code)})"
        method = now.partition("[")[2].removesuffix("]") if now.startswith("test_step") else ""
        if not method:
            raise RuntimeError(f"the speed suite does not run: {how}\n{said}")
        if method == asked.reference:
            raise PluginError(f"the reference {method} cannot be measured", how, "name another")
        died[method] = how
        asked = asked.without(method)


def _run(asked: Asked, folder: Path, watch: Callable[[str], None]) -> tuple[str, int, str]:
    """Name of the last benchmark, exit code and output of one child."""
    question = folder / "asked.json"
    question.write_text(asked.json(), "utf-8")
    # neither options nor plugins of the project in whose folder the user stands
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [
        sys.executable, "-P", "-c", _START, os.pathsep.join(sys.path),
        "-c", str(_HERE / "pytest.ini"), "-p", "pytest_benchmark.plugin", "-q",
        "--benchmark-quiet", "--benchmark-storage", f"file://{folder}",
        "--benchmark-json", str(folder / "out.json"),
        "--speed-asked", str(question), str(_HERE / "test_speed.py"),
    ]  # fmt: skip
    now, said = "", list[str]()
    with subprocess.Popen(
        command, env=ours | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        errors="replace",
    ) as child:  # fmt: skip
        try:
            assert child.stdout
            for line in child.stdout:
                said.append(line)
                _, mark, name = line.rstrip("\n").partition(NOW)  # after a dot for the last one
                if mark:
                    now = name
                    watch(now)
            code = child.wait()
        except BaseException:
            child.kill()
            raise
    return now, code, "".join(said[-40:])


def _signal(code: int) -> str:
    """How a process ended, in words."""
    import signal

    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
