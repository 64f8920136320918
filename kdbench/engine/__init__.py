"""Where cohorts run: a suite's open work on resident workers of this machine."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from kdbench import plan as planning
from kdbench.engine.bench import Bench, Bug
from kdbench.engine.listener import Doing, Listener
from kdbench.engine.queue import level
from kdbench.engine.schedule import Schedule
from kdbench.engine.until import Until
from kdbench.engine.worker import warm_up
from kdbench.plan import Plan
from kdbench.record import Record, Store, sweep
from kdbench.registry import Registry, cache_dir, data_dir
from kdbench.suite import Limits, Suite

__all__ = ["Bug", "Doing", "Listener", "Run", "Until", "cores", "run", "warm_up"]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run asked and what came of it.

    Attributes:
        plan: With the state of every trial before the run.
        records: Written by this run.
        claimed: Trials that other runs were at to the end.
        late: Whether the time was over before all was done.
    """

    plan: Plan
    records: tuple[Record, ...]
    claimed: int
    late: bool

    @property
    def bad(self) -> tuple[Record, ...]:
        """Records of this run that are not ok."""
        return tuple(record for record in self.records if record.status != "ok")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    suite: Suite,
    registry: Registry,
    store: Store,
    listener: Listener,
    *,
    device: str = "cpu",
    workers: int | None = None,
    retry: bool = False,
    limits: Limits | None = None,
    until: Until = Until(),  # noqa: B008 - frozen
    shard: tuple[int, int] | None = None,
    started: Callable[[Plan], None] = lambda plan: None,
) -> Run:
    """Answer every open question of a suite.

    Args:
        suite: What is asked.
        registry: What is installed.
        store: Takes the records.
        listener: Is told how it goes on.
        device: "cpu", "cuda" or "cuda:N".
        workers: Processes; one a core on the CPU, one on a GPU.
        retry: Ask failed trials again.
        limits: In place of the suite's.
        until: When it is to be over; what is in training then is put away.
        shard: Which part of the plan alone, of how many; see `Plan.shard`.
        started: Is handed the plan before anything runs.

    Raises:
        KDBenchError: Names, data or weights are not there; what could run has run and is recorded.
    """
    bench = Bench(cache_dir(), store.root, device, limits or suite.limits)
    warm_up()
    known = store.records()
    store.tidy(known)
    sweep(bench.cache / "teachers")
    made = planning.make(suite, registry, known, str(data_dir()))
    if shard:
        made = made.shard(*shard)
    started(made)
    count = workers or (cores() if device == "cpu" else 1)
    open_ = made.work(retry=retry)
    cohorts = planning.shared(level(open_, store), count, made.cost(known))
    schedule = Schedule(cohorts, made.teachers(open_), bench, count, listener, until)
    records = schedule.run()
    return Run(made, tuple(records), schedule.queue.left, schedule.late)
