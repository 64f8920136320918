"""Resident workers: one process a core, forked from a server that has torch and timm loaded."""

import multiprocessing as mp
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from kdbench.engine.orphan import end_with_parent
from kdbench.engine.turn import Turn, Turns
from kdbench.errors import DeviceError, ExitCode, KDBenchError, UsageError
from kdbench.plan import Cohort, TeacherJob
from kdbench.record import Environment, PutAway, Record, Store

if TYPE_CHECKING:
    import torch

Hello: TypeAlias = "Environment | KDBenchError | Crash"
Answer: TypeAlias = "list[Record] | None | PutAway | KDBenchError | Crash | Note"
PRELOAD = ["torch", "timm", "safetensors.torch", "kdbench.cohort"]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a worker works; picklable.

    Raises:
        UsageError: The device is none that kdbench knows.
    """

    cache: Path
    store: Path
    device: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", self.device):
            raise UsageError(
                f"no device {self.device!r}",
                "expected cpu, cuda or cuda:N",
                "leave --device out to run on the CPU",
            )


@dataclass(frozen=True, slots=True)
class Crash:
    """An exception of the worker's own code, told as text."""

    kind: str
    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know; the worker goes on."""

    text: str


class Bug(KDBenchError):
    """An exception of our own code in a worker; the trace is in `trace`."""

    exit_code = ExitCode.BUG

    def __init__(self, crash: Crash) -> None:
        super().__init__(
            f"{crash.kind}: {crash.message}",
            "this is a bug of kdbench",
            "please report it with the traceback",
        )
        self.trace = crash.trace

    def __reduce__(self) -> tuple[object, ...]:
        return KDBenchError, (self.what, self.why, self.next)


def warm_up() -> None:
    """Start the server that workers are forked from; it loads torch meanwhile."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    resource_tracker.ensure_running()  # by the server's start it would be, which clears the mask
    # Ctrl-C is the parent's: the server and its workers inherit the mask, from their first moment
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Workers started meanwhile do not import the caller's script.

    They need nothing of it, and without a guard it would run once more in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class Worker:
    """One resident process, its pipe and its breadcrumb.

    The breadcrumb lies in shared memory: position of the trial in its cohort, step, and when it was
    written; it tells whom to blame when the process dies or hangs.
    """

    def __init__(self, bench: Bench, turns: Turns, place: int) -> None:
        context = mp.get_context("forkserver")
        self.crumb = RawArray("d", 3)
        self.pipe, theirs = context.Pipe()
        given = (theirs, self.crumb, bench, turns, place)
        self.process = context.Process(target=_work, args=given, daemon=True)
        with _nameless_main():
            self.process.start()
        theirs.close()
        try:
            hello: Hello = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise DeviceError(
                "a worker could not start",
                self.stop() or "it ended without a word",
                "see the lines above and the system's log; try --workers 1",
            ) from error
        if isinstance(hello, Crash):
            raise Bug(hello)
        if isinstance(hello, KDBenchError):
            raise hello
        self.environment = hello
        self.task: Any = None
        self.asked: tuple[str, ...] = ()  # keys of the teacher of its last cohort

    def give(self, task: object, *payload: object) -> None:
        """Hand over a task; `task` is the caller's, `payload` what the worker needs."""
        self.task = task
        self.crumb[:] = [-1, -1, time.monotonic()]
        with suppress(OSError):  # of a dead process: told when its answer is read
            self.pipe.send(payload)

    @property
    def place(self) -> tuple[int, int, float]:
        """Trial, step, and seconds since the last sign of life."""
        trial, step, when = self.crumb
        return int(trial), int(step), time.monotonic() - when

    def stop(self) -> str:
        """End the process; what it died of, if it was dead."""
        self.process.join(0.2)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join()
            return ""
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"left with exit code {code}"

    def leave(self) -> None:
        """Ask the process to end."""
        try:
            self.pipe.send(None)
        except OSError:
            self.process.kill()
        self.process.join(5)
        if self.process.exitcode is None:
            self.process.kill()


def _work(pipe: Connection, crumb: Any, bench: Bench, turns: Turns, place: int) -> None:  # noqa: ANN401 - ctypes has no public array type
    """The worker's life: tasks in, answers out."""
    import torch

    from kdbench.cohort import Workbench, environment

    end_with_parent()
    torch.set_num_threads(1)
    hello: Hello
    here: Workbench | None
    try:
        here = Workbench(bench.cache, Store(bench.store), _device(bench.device))
        hello = environment(here.device)
    except KDBenchError as error:
        here, hello = None, error
    except Exception as error:  # noqa: BLE001 - told to the parent, who reports it as our bug
        here, hello = None, _crash(error)
    with suppress(EOFError, OSError):  # the parent was interrupted, and is gone
        pipe.send(hello)
        if here is None:
            return
        turn = Turn(turns, place, crumb, here)
        here.workers, here.quiet, here.late = len(turns.places), turn.quiet, turns.late
        here.note = lambda text: pipe.send(Note(text))
        while (payload := pipe.recv()) is not None:
            with turn.busy():
                answer = _answer(payload, here, turn)
            pipe.send(answer)


def _device(name: str) -> "torch.device":
    """The device, where torch has it."""
    import torch

    device = torch.device(name)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        why, then = "torch sees none", "leave --device out to run on the CPU"
        raise DeviceError("no CUDA device is available", why, then)
    if (device.index or 0) >= (count := torch.cuda.device_count()):
        raise DeviceError(f"no CUDA device {device.index}", f"torch sees {count}", "count from 0")
    return device


def _crash(error: Exception) -> Crash:
    import traceback

    return Crash(type(error).__name__, str(error), "".join(traceback.format_exception(error)))


def _answer(payload: tuple[Any, ...], here: Any, turn: Turn) -> Answer:  # noqa: ANN401 - torch is loaded later
    from kdbench.cohort import run

    try:
        match payload:
            case (TeacherJob() as job, root):
                here.watch = turn.watch({})
                here.train_teacher(job, root)
                return None
            case (Cohort() as cohort,):
                here.watch = turn.watch({str(t.spec): i for i, t in enumerate(cohort.trials)})
                return run(cohort, here)
        raise AssertionError(payload)
    except (KDBenchError, PutAway) as error:
        return error
    except Exception as error:  # noqa: BLE001 - told to the parent, who reports it as our bug
        return _crash(error)
