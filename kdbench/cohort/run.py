"""From a cohort to its records: train in lockstep, measure, time."""

import math
import operator
from collections.abc import Collection, Iterable
from functools import reduce

from kdbench.api import Maps
from kdbench.cohort.checkpoint import put_away, take_up
from kdbench.cohort.cost import costs
from kdbench.cohort.outcome import Attempt, environment
from kdbench.cohort.rig import Rig
from kdbench.cohort.workbench import Workbench, method, register
from kdbench.errors import PluginError, StoreError
from kdbench.plan import Cohort
from kdbench.record import PutAway, Record, Standing
from kdbench.teacher import open_teacher
from kdbench.train import PHASES, Clock, Runner, guarded, lockstep


def run(cohort: Cohort, bench: Workbench) -> list[Record]:
    """Records of all trials of a cohort; a trial's results do not depend on the others.

    Args:
        cohort: Its trials still to run; its teachers are in the cache.
        bench: The worker's.

    Raises:
        PutAway: It became late; what was in training is put away.
    """
    clock = bench.clock = Clock()
    began = clock.now()
    with clock.phase("setup"):
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
        _build(rig, attempts)
        first = take_up(rig, {name: one for name, one, _ in _alive(attempts)})
        if first is None:
            _build(rig, attempts)
    with clock.phase("loop"):
        _train(rig, attempts, first or 0, began)
        with clock.phase("device"):
            Clock(bench.device).now()  # waits for a GPU, as nothing in training does
    with clock.phase("setup"):
        teacher.check_unmoved()
    kept = _kept(rig, attempts, began)
    _leave_if_late(rig, attempts, began, kept)
    with clock.phase("measure"):
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
    with clock.phase("cost"):
        _costs(rig, attempts, began, kept)
    seconds = _seconds(clock, clock.now() - began, len(attempts))
    return _records(rig, attempts.values(), seconds)


def _build(rig: Rig, attempts: dict[str, Attempt]) -> None:
    """A student for every method, ready for its first step."""
    for name, attempt in attempts.items():
        if attempt.method is None or attempt.failure:
            continue
        rig.bench.watch(name, -1)
        try:
            with guarded("init()"):
                attempt.runner = rig.runner(attempt.method)
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises costs its own trial only
            attempt.fail(error, "init")


def _kept(rig: Rig, attempts: dict[str, Attempt], began: float) -> Standing | None:
    """Where the students stand that were put away: if training was left, or time is short."""
    alive = {name: attempt for name, attempt, _ in _alive(attempts)}
    done = min((runner.done for _, _, runner in _alive(attempts)), default=rig.total)
    if not alive or not (done < rig.total or rig.bench.late(math.inf)):
        return None
    return _put_away(rig, alive, done, began, len(attempts))


def _put_away(
    rig: Rig, attempts: dict[str, Attempt], step: int, began: float, trials: int
) -> Standing:
    """Put these away at this step; where they then stand."""
    clock = rig.bench.clock
    seconds = _seconds(clock, clock.now() - began, trials)
    with clock.phase("away"):
        return put_away(rig, attempts, step, seconds)


def _leave_if_late(
    rig: Rig, attempts: dict[str, Attempt], began: float, kept: Standing | None, needed: float = 0.0
) -> None:
    """Nothing, if there are so many seconds left.

    Raises:
        PutAway: There are not; who has failed has a record.
    """
    if kept and _alive(attempts) and (kept.share < 1 or rig.bench.late(needed)):
        clock = rig.bench.clock
        seconds = _seconds(clock, clock.now() - began, len(attempts))
        left = [attempt for attempt in attempts.values() if attempt.failure]
        raise PutAway(kept, tuple(_records(rig, left, seconds)))


def _records(rig: Rig, attempts: Iterable[Attempt], seconds: dict[str, float]) -> list[Record]:
    shared = {"rows": len(rig.views), "answers": rig.answers}
    where = environment(rig.device)
    return [one.record(rig.cohort, where, seconds=one.spent(seconds), **shared) for one in attempts]


def _train(rig: Rig, attempts: dict[str, Attempt], first: int, began: float) -> None:
    """Train all students from step `first` on, until it is late; what fails leaves alone.

    What is left is put away on the way.
    """
    runners = {name: runner for name, _, runner in _alive(attempts)}
    points, pace = rig.cohort.evaluation.curve, rig.bench.pace()
    marks = {round(rig.total * (i + 1) / points): (i + 1) / points for i in range(points)}

    def after(done: int, active: Collection[str]) -> None:
        for name, attempt, runner in _alive(attempts) if done in marks else ():
            if name in active:
                rig.bench.watch(name, done)
                try:
                    with rig.bench.clock.phase("curve"), guarded("deploy()"):
                        attempt.curve.append((marks[done], rig.curve(runner)))
                except Exception as error:  # noqa: BLE001 - `deploy` is the plugin's
                    attempt.fail(error, f"curve, step {done}")
        if pace.due and done < rig.total:
            left = {name: one for name, one, _ in _alive(attempts) if name in active}
            with pace.kept():
                _put_away(rig, left, done, began, len(attempts))

    asked = (runner.needs.maps for runner in runners.values())
    teach = rig.recall or rig.teach(reduce(operator.or_, asked, Maps()))
    protocol, watch = rig.cohort.protocol, rig.watch
    losses, failures = lockstep(
        runners, rig.views, protocol, rig.total, teach, watch=watch, after=after,
        start=first, stop=rig.bench.late, clock=rig.bench.clock, compare=rig.probes.compare,
    )  # fmt: skip
    for name, attempt in attempts.items():
        if name in failures:
            attempt.fail(failures[name], f"step {runners[name].done}")
        elif name in losses:
            attempt.fields["losses"] = losses[name]


def _costs(rig: Rig, attempts: dict[str, Attempt], began: float, kept: Standing | None) -> None:
    """Time all students; one that fails only here keeps its quality and says why it has no cost."""
    alive, bench = _alive(attempts), rig.bench
    runners = {name: runner for name, _, runner in alive}
    spent = {
        phase: bench.clock.spent[phase] / 1e3
        + max(one.earlier.get(phase, 0.0) for one in attempts.values())
        for phase in (*PHASES, "loop")
    }
    limit = min(max(0.1 * sum(spent.values()), 0.5), 60.0) / bench.workers
    _leave_if_late(rig, attempts, began, kept, limit)
    bench.watch("", rig.total)
    with bench.quiet():
        _leave_if_late(rig, attempts, began, kept, limit)  # others may have measured until now
        found, failures = costs(rig, runners, limit, taught=spent["teacher"])
    for name, attempt, _ in alive:
        if name in failures:
            attempt.failure = attempt.fault(failures[name], "cost pass")
        else:
            attempt.fields["cost"] = found[name]


def _seconds(clock: Clock, wall: float, trials: int) -> dict[str, float]:
    """Seconds by phase, of all, of what no phase has, and a trial, from milliseconds."""
    whole = {"wall": wall, "unaccounted": wall - sum(clock.spent.values()), "trial": wall / trials}
    return {name: round(spent / 1e3, 4) for name, spent in (dict(clock.spent) | whole).items()}


def _alive(attempts: dict[str, Attempt]) -> list[tuple[str, Attempt, Runner]]:
    """Name, attempt and student of every trial that has not failed."""
    found = ((name, attempt, attempt.runner) for name, attempt in attempts.items())
    return [(name, one, runner) for name, one, runner in found if runner and not one.failure]
