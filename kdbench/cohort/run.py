"""From a cohort to its records: train in lockstep, measure, time."""

import math
import operator
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce

from kdbench.api import Maps
from kdbench.cohort.beginning import alive, built, imported
from kdbench.cohort.checkpoint import put_away, take_up
from kdbench.cohort.cost import costs
from kdbench.cohort.outcome import Attempt, environment
from kdbench.cohort.replay import Replay
from kdbench.cohort.rig import Rig
from kdbench.cohort.workbench import Workbench, register
from kdbench.errors import StoreError
from kdbench.plan import Cohort, Spoilt
from kdbench.record import PutAway, Record, Standing
from kdbench.teacher import Seal, open_teacher
from kdbench.train import PHASES, Clock, Guard, Violation, lockstep, set_compiler


def run(cohort: Cohort, bench: Workbench) -> list[Record]:
    """Records of all trials of a cohort; a trial's results do not depend on the others.

    Args:
        cohort: Its trials still to run; its teachers are in the cache.
        bench: The worker's.

    Raises:
        PutAway: It became late; what was in training is put away. Spoilt: the process is of no more
            use.
    """
    clock = bench.clock = Clock()
    began = clock.now()
    with clock.phase("setup"):
        register([cohort.student_source, *(job.source for job in cohort.teachers)])
        if cohort.protocol.compile == "on":
            set_compiler(bench.cache, bench.device)
        attempts = {str(trial.spec): Attempt(trial) for trial in cohort.trials}
        replay = Replay(cohort, attempts)
        anchors = imported(replay, attempts, bench)
    while True:
        with clock.phase("setup"):
            teacher = open_teacher(cohort.teachers, anchors, bench.cache, bench.device)
            rig = Rig(cohort, bench, teacher, replay.guarding(Seal(teacher)))
        try:
            with _moved_first(rig.guard):
                _answer(rig, attempts, replay, began)
        except Violation as violation:
            if parts := replay.again(violation):
                left = _records(
                    rig, replay.over, _seconds(clock, clock.now() - began, len(attempts))
                )
                raise Spoilt(tuple(left), parts) from None
            continue
        finally:
            replay.put_back()
        return _records(rig, attempts.values(), _seconds(clock, clock.now() - began, len(attempts)))


@contextmanager
def _moved_first(guard: Guard) -> Iterator[None]:
    """Where an error of the host follows from what a plugin has moved, it is that what counts."""
    try:
        yield
    except Exception:
        guard.check()
        raise


def _answer(rig: Rig, attempts: dict[str, Attempt], replay: Replay, began: float) -> None:
    """Train, measure and time all students; what comes of it is in the attempts."""
    clock, bench = rig.bench.clock, rig.bench

    def leave_if_spoilt() -> None:
        if replay.spoilt:
            seconds = _seconds(clock, clock.now() - began, len(attempts))
            rest = replay.rest()
            raise Spoilt(tuple(_records(rig, replay.over, seconds)), rest)

    with clock.phase("setup"):
        _ = rig.recall  # while the teacher is untouched
        replay.surroundings.take()  # data and teacher may have brought libraries in
        built(rig, attempts, replay)
        first = take_up(rig, {name: one for name, one, _ in alive(attempts)})
        if first is None:
            built(rig, attempts, replay)
        leave_if_spoilt()
        rig.guard.check()
    with clock.phase("loop"):
        _train(rig, attempts, replay, first or 0, began)
        with clock.phase("device"):
            Clock(bench.device).now()  # waits for a GPU, as nothing in training does
    with clock.phase("setup"):
        leave_if_spoilt()
        rig.guard.check()
    kept = _kept(rig, attempts, replay, began)
    _leave_if_late(rig, attempts, began, kept)
    with clock.phase("measure"):
        bench.watch("", rig.total)  # what the teacher says is no method's to answer for
        rig.prepare()
        replay.surroundings.take()
        for name, attempt, runner in alive(attempts):
            bench.watch(name, rig.total)
            try:
                with rig.guard.call("deploy()"):
                    attempt.fields |= rig.measure(runner)
            except StoreError:  # a full disk is no method's fault
                raise
            except Exception as error:  # noqa: BLE001 - `deploy` is the plugin's
                replay.fail(name, error, "measure")
        leave_if_spoilt()
        rig.guard.check()
    with clock.phase("cost"):
        _costs(rig, attempts, replay, began, kept)
        if replay.spoilt:
            seconds = _seconds(clock, clock.now() - began, len(attempts))
            raise Spoilt(tuple(_records(rig, attempts.values(), seconds)), ())
        rig.guard.check()


def _kept(rig: Rig, attempts: dict[str, Attempt], replay: Replay, began: float) -> Standing | None:
    """Where the students stand that were put away: if training was left, or time is short."""
    left = {name: attempt for name, attempt, _ in alive(attempts)}
    done = min((runner.done for _, _, runner in alive(attempts)), default=rig.total)
    if not left or not (done < rig.total or rig.bench.late(math.inf)):
        return None
    return _put_away(rig, left, replay, done, began, len(attempts))


def _put_away(
    rig: Rig, attempts: dict[str, Attempt], replay: Replay, step: int, began: float, trials: int
) -> Standing:
    """Put these away at this step, if all is clean; where they then stand."""
    clock = rig.bench.clock
    rig.guard.check()
    seconds = _seconds(clock, clock.now() - began, trials)
    with clock.phase("away"):
        where = put_away(rig, attempts, step, seconds)
    replay.clean()
    return where


def _leave_if_late(
    rig: Rig, attempts: dict[str, Attempt], began: float, kept: Standing | None, needed: float = 0.0
) -> None:
    """Nothing, if there are so many seconds left.

    Raises:
        PutAway: There are not; who has failed has a record.
    """
    if kept and alive(attempts) and (kept.share < 1 or rig.bench.late(needed)):
        clock = rig.bench.clock
        seconds = _seconds(clock, clock.now() - began, len(attempts))
        left = [attempt for attempt in attempts.values() if attempt.failure]
        raise PutAway(kept, tuple(_records(rig, left, seconds)))


def _records(rig: Rig, attempts: Iterable[Attempt], seconds: dict[str, float]) -> list[Record]:
    shared = {"rows": len(rig.views), "answers": rig.answers}
    where = environment(rig.device)
    return [one.record(rig.cohort, where, seconds=one.spent(seconds), **shared) for one in attempts]


def _train(
    rig: Rig, attempts: dict[str, Attempt], replay: Replay, first: int, began: float
) -> None:
    """Train all students from step `first` on, until it is late; what fails leaves alone.

    What is left is put away on the way.
    """
    runners = {name: runner for name, _, runner in alive(attempts)}
    points, pace = rig.cohort.evaluation.curve, rig.bench.pace()
    marks = {round(rig.total * (i + 1) / points): (i + 1) / points for i in range(points)}

    if points:
        rig.guard.check()
        rig.reference("validation")  # while the teacher is untouched
        replay.surroundings.take()

    def after(done: int, active: Collection[str]) -> None:
        for name, attempt, runner in alive(attempts) if done in marks else ():
            if name in active:
                rig.bench.watch(name, done)
                try:
                    with rig.bench.clock.phase("curve"), rig.guard.call("deploy()"):
                        attempt.curve.append((marks[done], rig.curve(runner)))
                except Exception as error:  # noqa: BLE001 - `deploy` is the plugin's
                    replay.fail(name, error, f"curve, step {done}")
        if pace.due and done < rig.total and not replay.spoilt:
            left = {name: one for name, one, _ in alive(attempts) if name in active}
            with pace.kept():
                _put_away(rig, left, replay, done, began, len(attempts))

    def lost(name: str, error: Exception) -> None:
        replay.fail(name, error, f"step {runners[name].done}")

    asked = (runner.needs.maps for runner in runners.values())
    teach = rig.recall or rig.teach(reduce(operator.or_, asked, Maps()))
    bench, most = rig.bench, rig.bench.limits.trial_seconds or math.inf
    losses, _ = lockstep(
        runners, rig.views, rig.cohort.protocol, rig.total, teach, watch=rig.watch, after=after,
        start=first, stop=lambda seconds: replay.spoilt or bench.late(seconds), clock=bench.clock,
        compare=rig.probes.compare, guard=rig.guard, lost=lost, most=most,
    )  # fmt: skip
    for name, attempt in attempts.items():
        if name in losses and not attempt.failure:
            attempt.fields["losses"] = losses[name]


def _costs(
    rig: Rig, attempts: dict[str, Attempt], replay: Replay, began: float, kept: Standing | None
) -> None:
    """Time all students; one that fails only here keeps its quality and says why it has no cost."""
    left, bench = alive(attempts), rig.bench
    runners = {name: runner for name, _, runner in left}
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
    for name, attempt, _ in left:
        if name in failures:
            replay.blame(name, failures[name])
            attempt.failure = attempt.fault(failures[name], "cost pass")
    for name, attempt, _ in left:
        if name in found:
            void = {"valid": False, "why_not": replay.why} if replay.why else {}
            attempt.fields["cost"] = found[name].model_copy(update=void)


def _seconds(clock: Clock, wall: float, trials: int) -> dict[str, float]:
    """Seconds by phase, of all, of what no phase has, and a trial, from milliseconds."""
    whole = {"wall": wall, "unaccounted": wall - sum(clock.spent.values()), "trial": wall / trials}
    return {name: round(spent / 1e3, 4) for name, spent in (dict(clock.spent) | whole).items()}
