"""Every test runs without network, on one thread, and with caches and stores of its own."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Hugging Face reads its switch once, when it is imported, which the collection of tests may do.
os.environ["HF_HUB_OFFLINE"] = "1"

_LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None}


class NetworkUsed(AssertionError):
    """A test tried to reach another machine."""


@pytest.fixture(scope="session")
def kdbench_root() -> Path:
    """The checkout: pyproject.toml, README.md, plugins and leaderboards as they stand in git."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def kdbench_own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches and stores in the session's temporary folder, for tests and their processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("KDBENCH_STORE", str(tmp_path_factory.mktemp("store")))
        patch.delenv("KDBENCH_PLUGINS", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def kdbench_importable(kdbench_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process finds its test's functions: the checkout, behind all that is installed."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(kdbench_root)])


@pytest.fixture(autouse=True)
def kdbench_one_thread() -> None:
    """Torch on one thread, where it is loaded at all: it never is just for this."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def kdbench_no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hosts asked for; a test that asks for one fails, even if the code catches the error."""
    tried: list[str] = []

    def guarded(real: Callable[..., Any], host_of: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            host = host_of(*args, **options)
            if host not in _LOCAL:
                tried.append(str(host))
                raise NetworkUsed(f"a test reached for {host!r}")
            return real(*args, **options)

        return call

    def address_host(sock: socket.socket, address: Any) -> Any:
        return None if sock.family == getattr(socket, "AF_UNIX", None) else address[0]

    def looked_up(host: Any, *_: Any, **__: Any) -> Any:
        return host.decode() if isinstance(host, bytes) else host

    for name in ("connect", "connect_ex"):
        real = getattr(socket.socket, name)
        monkeypatch.setattr(socket.socket, name, guarded(real, address_host))
    monkeypatch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, looked_up))
    yield tried
    assert not tried, f"the test reached for {', '.join(tried)}"


@pytest.fixture(scope="session")
def kdbench_registry(kdbench_own_folders: None) -> Any:
    """What is installed, scanned once a session."""
    from kdbench.registry import scan

    return scan()


@pytest.fixture(scope="session")
def kdbench_suite() -> Callable[..., Any]:
    """`kdbench_suite(methods=[...], steps=8, **tables)`: a suite on the digits, changed."""
    from kdbench.suite import Suite

    train = {
        "epochs": 60, "batch_size": 32, "learning_rate": 0.05, "nesterov": True,
        "weight_decay": 5e-4, "rows": 96, "shift": 1, "warmup": 0.05,
    }  # fmt: skip
    tables = {"train": train, "teacher": {**train, "rows": 900}}
    scoring = {"baselines": ("scratch", "kd")}
    pair = "resnet8:resnet8[width=0.25]"
    axes = {"datasets": ["digits"], "pairs": [pair], "seeds": [0]}

    def made(**changes: Any) -> Any:
        data = {"name": "digits", "axes": axes, "scoring": scoring, **tables}
        whole = Suite.model_validate({**data, "axes": {**axes, "methods": ["kd"]}})
        chosen = ("methods", "pairs", "datasets", "seeds", "budget", "steps")
        asked = {"steps": 8} | {key: changes.pop(key) for key in chosen if key in changes}
        data = whole.select(**asked).model_dump()
        for table, values in changes.items():
            data[table] = {**data[table], **values} if isinstance(values, dict) else values
        return Suite.model_validate(data)

    return made


@pytest.fixture(scope="session")
def kdbench_plan(kdbench_registry: Any, kdbench_suite: Any) -> Callable[..., Any]:
    """`kdbench_plan(methods=[...], steps=8, **tables)`: a plan of `kdbench_suite(...)`."""
    from kdbench import plan

    def planned(records: Any = (), registry: Any = None, **changes: Any) -> Any:
        return plan.make(kdbench_suite(**changes), registry or kdbench_registry, records, "")

    return planned


@pytest.fixture(scope="session")
def kdbench_bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workbench of this process, whose teachers are kept for the session."""
    import torch

    from kdbench.cohort import Workbench
    from kdbench.record import Store

    folder = tmp_path_factory.mktemp("bench")
    return Workbench(folder / "cache", Store(folder / "store"), torch.device("cpu"))


@pytest.fixture
def kdbench_answer(kdbench_bench: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`kdbench_answer(*cohorts)`: their records by label, run here with a token cost pass."""
    from kdbench.cohort import rig, run
    from kdbench.measure import network
    from kdbench.train import timing

    monkeypatch.setattr(timing, "POINTS", 1)
    monkeypatch.setattr(timing, "ROUNDS", range(1, 1))
    monkeypatch.setattr(rig, "deployed_speed", lambda *_, **__: network.Speed(1.0, 1.0))

    def answer(*cohorts: Any, bench: Any = None) -> dict[str, Any]:
        bench, found = bench or kdbench_bench, {}
        for cohort in cohorts:
            for job in cohort.awaited:
                bench.train_teacher(job, cohort.root)
            records = run(cohort, bench)
            for trial, record in zip(cohort.trials, records, strict=True):
                quiz = f" quiz {cohort.quiz:g}" if cohort.quiz else ""
                found[f"{trial.spec}{quiz}"] = record
        return found

    return answer


@pytest.fixture
def kdbench_silence() -> Any:
    """A listener of a run that keeps what it is told."""

    class Silence:
        def __init__(self) -> None:
            self.teachers: list[Any] = []
            self.records: list[Any] = []

        def teacher(self, job: Any) -> None:
            self.teachers.append(job)

        def record(self, record: Any) -> None:
            self.records.append(record)

        def note(self, text: str) -> None:
            raise AssertionError(f"nobody expected: {text}")

        def printed(self, work: str, line: str) -> None:
            raise AssertionError(f"nobody expected {work} to print: {line}")

        def tick(self, workers: Any) -> None:
            assert all(0 <= doing.share <= 1 for doing in workers)

    return Silence()


@pytest.fixture(scope="session")
def kdbench_record() -> Callable[..., Any]:
    """`kdbench_record(**changes)`: a record made by hand."""
    from kdbench.record import Fingerprints, Question, Record

    question = Question.model_validate({
        "dataset": "digits", "teacher": "resnet8", "student": "resnet8[width=0.5]",
        "teacher_protocol": None, "method": "kd", "hyperparameters": {"alpha": 0.9},
        "evaluation": {}, "seed": 3,
        "protocol": {"epochs": 60, "batch_size": 32, "learning_rate": 0.05},
    })  # fmt: skip
    environment = {
        "python": "3.11.1", "torch": "2.15", "timm": "1.0", "kdbench": "0.1", "device": "cpu",
        "device_name": "x", "capability": "AVX2", "threads": 1, "platform": "Linux x86_64",
    }  # fmt: skip

    def made(**changes: Any) -> Record:
        asked = changes.get("question", question)
        prints = Fingerprints(question=asked.fingerprint, code="c" * 64, environment="e" * 64)
        whole = {
            "status": "ok", "question": asked, "fingerprints": prints, "suite": "digits",
            "settings": "paper", "origin": {"distribution": "kdbench", "version": "0.1"},
            "created": "2026-01-01T00:00:00+00:00", "environment": environment, **changes,
        }  # fmt: skip
        return Record.model_validate(whole)

    return made
