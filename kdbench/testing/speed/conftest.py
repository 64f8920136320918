"""How pytest runs the speed suite: which methods, in which order, and what its file holds."""

import json
import platform
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import KDBenchError
from kdbench.registry import scan
from kdbench.testing.speed.asked import Asked, ask
from kdbench.testing.speed.launch import ERROR, NOW
from kdbench.testing.speed.run import Run

_RUN = pytest.StashKey[Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one option; `kdbench speed` gives it."""
    group = parser.getgroup("kdbench speed")
    group.addoption(
        "--speed-asked",
        metavar="FILE",
        type=Path,
        help="What is asked; kdbench speed writes it.",
    )


def _run(config: pytest.Config) -> Run:
    """The run of this session; by default every installed method, on the default pair."""
    if _RUN not in config.stash:
        path = config.getoption("speed_asked", None)
        try:
            config.stash[_RUN] = Run(Asked.read(path.read_text("utf-8")) if path else ask(scan()))
            _ = config.stash[_RUN].reference
        except KDBenchError as error:
            if path:
                parts = [type(error).__name__, error.what, error.why, error.next]
                path.with_name(ERROR).write_text(json.dumps(parts), "utf-8")
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    return config.stash[_RUN]


@pytest.fixture(scope="session")
def speed(pytestconfig: pytest.Config) -> Run:
    """The run of this session."""
    return _run(pytestconfig)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test a method."""
    if "method" in metafunc.fixturenames:
        names = [one.spec for one in _run(metafunc.config).asked.methods]
        metafunc.parametrize("method", names, ids=names)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, Any, Any]:
    """Keep what a method raised, with file name and line."""
    report: Any = yield
    name = getattr(item, "callspec", None) and item.callspec.params.get("method")  # type: ignore[attr-defined]  # it was looked for
    if name and report.failed and call.excinfo:
        run = _run(item.config)
        run.failed[name] = run.blame(run.asked.contender(name), call.excinfo.value)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Say what is measured now: whoever reads along knows whom to blame if the process dies."""
    if item.config.getoption("speed_asked", None):
        reporter: Any = item.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(NOW + item.name)
        reporter.flush()


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    """What times depend on; no host."""
    return {
        "node": "", "machine": platform.machine(), "system": platform.system(),
        "python_version": platform.python_version(),
        "python_implementation": platform.python_implementation(),
    }  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_commit_info() -> dict[str, Any]:
    """Nothing: whose folder this is run in says nothing about kdbench."""
    return {}


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """The run as one record; no path."""
    for one in output_json["benchmarks"]:
        one["fullname"] = f"kdbench.testing.speed::{one['name']}"
    output_json["kdbench"] = _run(config).record().model_dump(mode="json")
