"""The one training loop: any number of students in lockstep on one stream of batches.

What a runner computes depends on nothing that another runner does: torch's generators are seeded by
counter around every plugin call, and after it the loop checks that nothing shared has moved.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch

from kdbench.data import Views
from kdbench.errors import ContractError, StoreError
from kdbench.record import TrainingProtocol
from kdbench.train.clock import Clock
from kdbench.train.lanes import launched
from kdbench.train.online import Online
from kdbench.train.runner import Diverged, Runner
from kdbench.train.stream import Step, Teach, stream


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
    """
    clock = clock or Clock()
    active, failures, losses = dict(runners), dict[str, Exception](), dict[str, dict[str, float]]()
    each = protocol.steps_per_epoch(len(views))
    since, began, join = start % each, time.monotonic(), launched(active.values())
    compared: dict[str, Online] = {}
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
                with guarded("step()"):
                    runner.step(shared)
                _unwritten(shared)
            except StoreError:  # a full disk is no method's fault
                raise
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises costs its own trial only
                failures[name] = error
                del active[name]
                shared = Step(views, rows, epoch, number / total, teach)
        join()
        for name in active if compared else ():
            with clock.phase("probes"):
                compared[name].add(shared.teacher(1.0, "running", False))
        for name, runner in list(active.items()) if closing else ():
            try:
                losses[name] = runner.means(since)
            except Diverged as error:
                failures[name] = error
                del active[name]
        since = 0 if closing else since
        after(number + 1, active)
        before, began = began, time.monotonic()
        if not active or stop(began - before):
            break
    for one in compared.values():
        one.close()
    return losses, failures


@contextmanager
def guarded(call: str) -> Iterator[None]:
    """Put what belongs to all back as it was before this plugin call.

    Raises:
        ContractError: The call had changed it.
    """
    before = _globals()
    try:
        yield
    finally:
        if (after := _globals()) != before:
            _restore(before)
    if after != before:
        raise ContractError(
            f"{call} changed global state",
            f"dtype, grad mode, threads, matmul precision were {before}, are {after}",
            "restore them",
        )


def _globals() -> tuple[torch.dtype, bool, int, str]:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    return torch.get_default_dtype(), torch.is_grad_enabled(), threads, precision


def _restore(state: tuple[torch.dtype, bool, int, str]) -> None:
    dtype, grad, threads, precision = state
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(grad)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if torch.get_float32_matmul_precision() != precision:
        torch.set_float32_matmul_precision(precision)


def _unwritten(shared: Step) -> None:
    """Raise where a plugin call has written into what belongs to all."""
    if shared.written:
        raise ContractError(
            "step() wrote into the shared batch or teacher outputs",
            "they belong to all methods",
            "clone before writing",
        )
