"""From a cohort to its records: train in lockstep, measure, time."""

import operator
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import reduce

from kdbench.api import Maps
from kdbench.cohort.outcome import Attempt, environment
from kdbench.cohort.rig import Rig
from kdbench.cohort.workbench import Workbench, method, register
from kdbench.errors import PluginError, StoreError
from kdbench.plan import Cohort
from kdbench.record import Record
from kdbench.teacher import open_teacher
from kdbench.train import Runner, guarded, lockstep


def run(cohort: Cohort, bench: Workbench) -> list[Record]:
    """Records of all trials of a cohort; a trial's results do not depend on the others.

    Args:
        cohort: Its trials still to run; its teachers are in the cache.
        bench: The worker's.
    """
    phases: dict[str, float] = {}
    with _timed(phases, "setup"):
        register([cohort.student_source, *(job.source for job in cohort.teachers)])
        attempts = {str(trial.spec): Attempt(trial) for trial in cohort.trials}
        for name, attempt in attempts.items():
            bench.watch(name, -1)
            try:
                with guarded("import"):
                    attempt.method = method(attempt.trial)
            except PluginError:  # it was edited since the plan was made: nothing to record
                raise
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises costs its own trial only
                attempt.fail(error, "import")
        methods = [one.method for one in attempts.values() if one.method]
        anchors = {stage.anchor for one in methods for stage in one.stages()}
        teacher = open_teacher(cohort.teachers, anchors, bench.cache, bench.device)
        rig = Rig(cohort, bench, teacher)
        for name, attempt in attempts.items():
            if attempt.method is None:
                continue
            bench.watch(name, -1)
            try:
                with guarded("init()"):
                    attempt.runner = rig.runner(attempt.method)
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises costs its own trial only
                attempt.fail(error, "init")
    with _timed(phases, "train"):
        _train(rig, attempts)
        teacher.check_unmoved()
    with _timed(phases, "measure"):
        bench.watch("", rig.total)  # what the teacher says is no method's to answer for
        rig.prepare()
        for name, attempt, runner in _alive(attempts):
            bench.watch(name, rig.total)
            try:
                with guarded("deploy()"):
                    attempt.fields |= rig.measure(runner)
            except StoreError:  # a full disk is no method's fault
                raise
            except Exception as error:  # noqa: BLE001 - `deploy` is the plugin's
                attempt.fail(error, "measure")
    with _timed(phases, "cost"):
        _costs(rig, attempts, phases["train"])
    phases["trial"] = sum(phases.values()) / len(attempts)
    seconds = {name: round(value, 4) for name, value in phases.items()}
    shared = {"rows": len(rig.views), "seconds": seconds, "answers": rig.answers}
    where = environment(bench.device)
    return [attempt.record(cohort, where, **shared) for attempt in attempts.values()]


def _train(rig: Rig, attempts: dict[str, Attempt]) -> None:
    """Train all students; what fails leaves alone."""
    runners = {name: runner for name, _, runner in _alive(attempts)}
    points = rig.cohort.evaluation.curve
    marks = {round(rig.total * (i + 1) / points): (i + 1) / points for i in range(points)}

    def after(done: int, active: Collection[str]) -> None:
        for name, attempt, runner in _alive(attempts) if done in marks else ():
            if name in active:
                rig.bench.watch(name, done)
                try:
                    with guarded("deploy()"):
                        attempt.curve.append((marks[done], rig.curve(runner)))
                except Exception as error:  # noqa: BLE001 - `deploy` is the plugin's
                    attempt.fail(error, f"curve, step {done}")

    asked = (runner.needs.maps for runner in runners.values())
    teach = rig.recall or rig.teach(reduce(operator.or_, asked, Maps()))
    protocol, watch = rig.cohort.protocol, rig.watch
    losses, failures = lockstep(
        runners, rig.views, protocol, rig.total, teach, watch=watch, after=after
    )
    for name, attempt in attempts.items():
        if name in failures:
            attempt.fail(failures[name], f"step {runners[name].done}")
        elif name in losses:
            attempt.fields["losses"] = losses[name]


def _costs(rig: Rig, attempts: dict[str, Attempt], trained: float) -> None:
    """Time all students; one that fails only here keeps its quality and says why it has no cost."""
    alive = _alive(attempts)
    runners = {name: runner for name, _, runner in alive}
    costs, failures = rig.costs(runners, min(max(0.1 * trained, 0.5), 60.0))
    for name, attempt, _ in alive:
        if name in failures:
            attempt.failure = attempt.fault(failures[name], "cost pass")
        else:
            attempt.fields["cost"] = costs[name]


def _alive(attempts: dict[str, Attempt]) -> list[tuple[str, Attempt, Runner]]:
    """Name, attempt and student of every trial that has not failed."""
    found = ((name, attempt, attempt.runner) for name, attempt in attempts.items())
    return [(name, one, runner) for name, one, runner in found if runner and not one.failure]


@contextmanager
def _timed(phases: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    phases[name] = time.perf_counter() - start
