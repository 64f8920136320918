"""Real runs of `kdbench run`, each in a session of its own: faults put in, and what must hold."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from kdbench.record import Record, Store

INJECT = Path(__file__).parent / "inject"

CLOCK = {
    "created": "the time of day",
    "seconds": "wall time by phase",
    "cost": "times, memory and what else runs on the machine",
    "answers": "who asked the teacher for which kept answer, and how long it took",
}
"""Fields of a record that tell of the clock or of who did the work, not of what came out."""
CLOCK_OF_DEPLOYED = ("latency_ms", "throughput")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a run, by `inject/sitecustomize.py`; see there.

    Attributes:
        event, path: Regular expressions of the event and of its path.
        at: The n-th is meant; 0 for none, they are only written down.
        action, delay: What then happens, and how many seconds later.
        log: Where matching events are written down, and counted together; the run's own by default.
    """

    event: str
    path: str
    at: int = 0
    action: str = "kill"
    delay: float = 0.0
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A store, a cache and the outputs of the runs there.

    Attributes:
        options: Of every run: suite, selection and workers.
    """

    root: Path
    options: tuple[str, ...]
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", Store(self.root / "store"))
        self.root.mkdir(parents=True, exist_ok=True)

    @property
    def cache(self) -> Path:
        """Where teachers, answers and pixels are kept."""
        return self.root / "cache"

    def start(self, name: str, *more: str, fault: Fault | None = None) -> "Run":
        """A run that has begun; its output lies under this name."""
        line = (*self.options, "--store", self.store.root, *more)
        environment = {"KDBENCH_CACHE": str(self.cache), "FAULT_WITHOUT": "altair"}
        if fault:
            environment |= {
                "FAULT_EVENT": fault.event, "FAULT_PATH": fault.path, "FAULT_AT": str(fault.at),
                "FAULT_ACTION": fault.action, "FAULT_DELAY": str(fault.delay),
                "FAULT_LOG": str(fault.log or self.root / f"{name}.log"),
            }  # fmt: skip
        return Run(self.root / f"{name}.txt", [*map(str, line)], environment)


class Run:
    """A process of `kdbench run`, the first of its session.

    Args:
        told: File of what it says.
        line: Its arguments.
        environment: Added to this process's.
    """

    def __init__(self, told: Path, line: list[str], environment: Mapping[str, str]) -> None:
        self.told, self.began = told, time.monotonic()
        path = os.pathsep.join([str(INJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with told.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kdbench", "run", *line], stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, **environment, "PYTHONPATH": path},
            )  # fmt: skip

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left, whatever went wrong."""
        self.kill()
        self.process.wait()

    def said(self) -> str:
        """All it has said so far."""
        return self.told.read_text("utf-8", errors="replace")

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None if it still runs after so long."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def until(self, text: str, seconds: float = 300) -> None:
        """Waits until it has said this."""
        while text not in (said := self.said()):
            ended = self.process.poll()
            assert ended is None, f"it ended with {ended} and never said {text!r}:\n{said}"
            assert time.monotonic() - self.began < seconds, f"it never said {text!r}:\n{said}"
            time.sleep(0.02)

    def kill(self, *, alone: bool = False) -> None:
        """SIGKILL for it, and for all it has started if not `alone`; nothing if all have ended."""
        while left := [*_session(self.process.pid)]:
            for process in [self.process.pid] if alone else left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            if alone:
                return

    def gone(self, seconds: float = 30) -> float:
        """Seconds until no process of its session is left.

        Raises:
            AssertionError: One outlives it for longer.
        """
        start = time.monotonic()
        while left := [*_session(self.process.pid)]:
            assert time.monotonic() - start < seconds, f"processes outlive their run: {left}"
            time.sleep(0.02)
        return time.monotonic() - start


def _session(leader: int) -> Iterator[int]:
    """Processes of a session that still run; those that only wait to be reaped do not."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "XZ":
                yield int(folder.name)


def sound(place: Place) -> None:
    """Nothing, if all that a run left can be read and is what its name says, and no record doubled.

    Raises:
        AssertionError: It is not; StoreError: a record is torn.
    """
    records = place.store.records()
    asked = [record.fingerprints.question for record in records]
    assert len(asked) == len(set(asked)), "a question has two records"
    for record in records:
        weights = [record.deployed.weights] if record.deployed else []
        logits = [record.teacher.logits] if record.teacher and record.teacher.logits else []
        for digest in filter(None, [*weights, *logits, record.logits]):
            assert place.store.artifact(digest).exists(), f"{digest} of a record is not there"
    for path in place.store.root.glob("artifacts/*.safetensors"):
        assert _digest(path) == path.stem, f"{path} is torn"
    away = [*place.store.root.glob("checkpoints/*"), *place.cache.glob("teachers/*/checkpoint.*")]
    for path in (one for one in away if not one.name.startswith(".")):
        with safe_open(path, "pt") as file:
            assert [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 - no mapping
    for card in place.cache.glob("teachers/*/card.json"):
        for anchor, digest in json.loads(card.read_bytes())["anchors"].items():
            assert _digest(card.with_name(f"anchor-{anchor}.safetensors")) == digest


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same(place: Place, reference: Place) -> int:
    """How many records there are, if they are the reference's, bit for bit.

    Raises:
        AssertionError: Records, artifacts or teachers differ, or something is left in training.
    """
    ours, theirs = (_plain(one.store.records()) for one in (place, reference))
    assert ours.keys() == theirs.keys(), "other questions are answered"
    for asked, record in theirs.items():
        differ = [name for name in record if ours[asked].get(name) != record[name]]
        assert not differ, f"{record['question']['method']}: {differ} differ"
        assert ours[asked].keys() == record.keys()
    for name, pattern in (("store", "artifacts/*.safetensors"), ("cache", "teachers/*/[ac]*.*")):
        files = [
            {path.relative_to(one.root): _digest(path) for path in (one.root / name).glob(pattern)}
            for one in (place, reference)
        ]
        assert files[0] == files[1], f"{name}/{pattern} differ"
    assert not [*place.store.root.glob("checkpoints/*.safetensors")], "something is put away still"
    return len(ours)


def _plain(records: list[Record]) -> dict[str, dict[str, Any]]:
    """By question: all that must not depend on how often a run was killed."""
    found = {}
    for record in records:
        plain = record.model_dump(mode="json", exclude=set(CLOCK))
        for name in CLOCK_OF_DEPLOYED if plain["deployed"] else ():
            del plain["deployed"][name]
        found[record.fingerprints.question] = plain
    assert len(found) == len(records), "a question has two records"
    return found
