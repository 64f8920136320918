"""Resident workers: one process a core, forked from a server that has torch and timm loaded."""

import atexit
import math
import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.sharedctypes import RawArray
from types import ModuleType
from typing import Any, Final

from kdbench.engine.bench import Bench, Bug, Crash, Hello
from kdbench.engine.memory import taken
from kdbench.engine.orphan import ENDING, end_group
from kdbench.engine.resident import live
from kdbench.engine.said import Said
from kdbench.engine.turn import Turns
from kdbench.errors import DeviceError, KDBenchError

PRELOAD = ["torch", "timm", "safetensors.torch", "kdbench.cohort"]

WORDS: Final = 2.0
"""Seconds that a worker has to say where it is before it is ended."""


def warm_up() -> None:
    """Start the server that workers are forked from; it loads torch meanwhile."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    resource_tracker.ensure_running()  # by the server's start it would be, which clears the mask
    # they are the parent's: the server and its workers inherit the mask, from their first moment
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    atexit.register(_end_unused)


def _end_unused() -> None:
    """End a server that no worker came from yet.

    It would notice our end once it has loaded torch, and who reads our output would wait for that.
    """
    if server := getattr(forkserver._forkserver, "_forkserver_pid", None):
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


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
    """One resident process, its pipe, what it prints, and its breadcrumb.

    The breadcrumb lies in shared memory: position of the trial in its cohort, step, and when it was
    written; it tells whom to blame when the process dies or hangs.
    """

    def __init__(self, bench: Bench, turns: Turns, place: int) -> None:
        context = mp.get_context("forkserver")
        self.crumb = RawArray("d", 3)
        self.pipe, theirs = context.Pipe()
        self.said = Said()
        given = (self.said.mouth, theirs, self.crumb, bench, turns, place)
        self.process = context.Process(target=live, args=given, daemon=True)
        with _nameless_main():
            self.process.start()
        theirs.close()
        self.said.started()
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
        atexit.unregister(_end_unused)
        self.environment = hello
        self.task: Any = None
        self.asked: tuple[str, ...] = ()  # keys of the teacher of its last cohort
        self._weighed, self._weight, self._before = -math.inf, 0, 0
        self._call = (-1.0, -1.0)

    def give(self, task: object, *payload: object) -> None:
        """Hand over a task; `task` is the caller's, `payload` what the worker needs."""
        self.task = task
        self.crumb[:] = [-1, -1, time.monotonic()]
        self.said.begin()
        with suppress(OSError):  # of a dead process: told when its answer is read
            self.pipe.send(payload)

    @property
    def place(self) -> tuple[int, int, float]:
        """Trial, step, and seconds since the last sign of life."""
        trial, step, when = self.crumb
        return int(trial), int(step), time.monotonic() - when

    def weigh(self, every: float) -> tuple[int, int]:
        """Bytes that it takes, and how many of them came in the plugin's call that it is in.

        It is weighed anew after so many seconds; those of before tell what a call began with.
        """
        now, call = time.monotonic(), (self.crumb[0], self.crumb[1])
        if call != self._call:
            self._call, self._before = call, self._weight
        if now - self._weighed >= every:
            self._weighed, self._weight = now, taken(self._id)
        return self._weight, self._weight - self._before

    def ask_where(self) -> None:
        """Have it say where it is, and die."""
        with suppress(ProcessLookupError):
            os.kill(self._id, signal.SIGABRT)  # the fault handler says where it is
        self.process.join(WORDS)

    def stop(self) -> str:
        """End the process and all it started; what it died of, if it was dead."""
        self.process.join(0.2)
        code = self.process.exitcode
        self.kill()
        if code is None:
            return ""
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"left with exit code {code}"

    def kill(self) -> None:
        """End the process and all it started."""
        self.process.kill()
        self.process.join()
        end_group(self._id)

    def leave(self) -> None:
        """Ask the process to end."""
        with suppress(OSError):
            self.pipe.send(None)
            self.process.join(5)
        self.kill()

    @property
    def _id(self) -> int:
        assert self.process.pid is not None, "it was started"
        return self.process.pid
