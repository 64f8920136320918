"""The one training loop: any number of students in lockstep on one stream of batches.

What a runner computes depends on nothing that another runner does: torch's generators are seeded by
counter around every plugin call, and a guard watches over what belongs to all.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping

from kdbench.data import Views
from kdbench.errors import StoreError
from kdbench.record import TrainingProtocol
from kdbench.train.clock import Clock
from kdbench.train.guard import Guard
from kdbench.train.lanes import launched
from kdbench.train.online import Online
from kdbench.train.runner import Diverged, Runner
from kdbench.train.stream import Step, Teach, stream


class Overtime(Exception):
    """A trial has taken longer than a trial may."""


def lockstep(
    runners: Mapping[str, Runner],
    views: Views,
    protocol: TrainingProtocol,
    total: int,
    teach: Teach,
    *,
    watch: Callable[[str, int], None] = lambda name, step: None,
    after: Callable[[int, Collection[str]], None] = lambda step, active: None,
    start: int = 0,
    stop: Callable[[float], bool] = lambda seconds: False,
    clock: Clock | None = None,
    compare: float = math.inf,
    guard: Guard | None = None,
    lost: Callable[[str, Exception], None] = lambda name, error: None,
    most: float = math.inf,
) -> tuple[dict[str, dict[str, float]], dict[str, Exception]]:
    """Mean losses of the last epoch, and the exception of every runner that left, by runner.

    Args:
        runners: By name; each leaves alone when it fails.
        views: The stream's rows.
        protocol: Batch size and epochs.
        total: Updates.
        teach: The shared teacher.
        watch: Called before every step of every runner; says whom to blame if the process dies.
        after: Called after every step with the number of steps done and the runners that are left.
        start: Steps that the runners have behind them.
        stop: Called after `after` with the seconds that the step took; whether to leave it at that.
        clock: Told when a batch is made; runners have theirs.
        compare: Step from which on students are compared with the converged teacher; see `Online`.
        guard: Of what belongs to all.
        lost: Told at once which runner left, and why.
        most: Seconds that all calls of a runner's method may take together.

    Raises:
        Violation: Something that belongs to all has moved, nobody knows by whom.
    """
    guard = guard or Guard()
    clock = clock or Clock()
    active, failures, losses = dict(runners), dict[str, Exception](), dict[str, dict[str, float]]()
    each = protocol.steps_per_epoch(len(views))
    since, began, join = start % each, time.monotonic(), launched(active.values())
    compared: dict[str, Online] = {}

    def leave(name: str, error: Exception) -> None:
        failures[name] = error
        del active[name]
        lost(name, error)

    for epoch, number, rows in stream(views, protocol, total, start):
        with clock.phase("data"):
            shared = Step(views, rows, epoch, number / total, teach)
        if number >= compare and not compared:
            compared = {name: Online(runner) for name, runner in active.items()}
        since += 1
        closing = (number + 1) % each == 0 or number + 1 == total
        for name, runner in list(active.items()):
            watch(name, number)
            try:
                with guard.call("step()", shared):
                    _timed(runner, shared, most)
            except StoreError:  # a full disk is no method's fault
                raise
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises costs its own trial only
                leave(name, error)
                shared = Step(views, rows, epoch, number / total, teach)
        join()
        for name in active if compared else ():
            with clock.phase("probes"):
                compared[name].add(shared.teacher(1.0, "running", False))
        for name, runner in list(active.items()) if closing else ():
            try:
                losses[name] = runner.means(since)
            except Diverged as error:
                leave(name, error)
        guard.step(shared, last=closing)
        since = 0 if closing else since
        after(number + 1, active)
        before, began = began, time.monotonic()
        if not active or stop(began - before):
            break
    for one in compared.values():
        one.close()
    return losses, failures


def _timed(runner: Runner, shared: Step, most: float) -> None:
    """A step, whose time is the method's own, less what the shared teacher took of it.

    Raises:
        Overtime: All of its steps have taken more seconds than `most`.
    """
    spent = runner.clock.spent
    began, taught = time.perf_counter(), spent["teacher"]
    runner.step(shared)
    runner.seconds += time.perf_counter() - began - (spent["teacher"] - taught) / 1e3
    if runner.seconds > most:
        raise Overtime(f"its steps took more than {most:g} s together")
