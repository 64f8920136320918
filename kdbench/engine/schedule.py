"""Which cohort runs where: teachers first; what fails is left out; records are written at once."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import wait

from kdbench.engine.bench import Answer, Bench, Bug, Crash, Note
from kdbench.engine.listener import Doing, Listener
from kdbench.engine.memory import share
from kdbench.engine.queue import Queue, Task
from kdbench.engine.signals import held
from kdbench.engine.turn import Turns
from kdbench.engine.until import Until
from kdbench.engine.verdict import verdict
from kdbench.engine.worker import Worker
from kdbench.errors import KDBenchError
from kdbench.plan import Cohort, Spoilt, TeacherJob
from kdbench.record import PutAway, Record, Status, Store

POLL_SECONDS = 0.25

GRACE = 25.0
"""Seconds after a signal in which training is put away; who has not done so by then is ended."""


class Schedule:
    """The open work of a plan on a few workers.

    Args:
        cohorts: With only the trials that are to run.
        teachers: What they need.
        bench: Where workers work.
        count: Workers.
        until: When it is to be over.

    Attributes:
        late: Whether it was over before all was done.
    """

    def __init__(
        self,
        cohorts: Sequence[Cohort],
        teachers: Sequence[TeacherJob],
        bench: Bench,
        count: int,
        listener: Listener,
        until: Until = Until(),  # noqa: B008 - frozen
    ) -> None:
        self.bench, self.listener, self.store = bench, listener, Store(bench.store)
        self.root = cohorts[0].root if cohorts else ""
        self.queue, self.until, self.late = Queue(teachers, cohorts), until, False
        self.errors: list[KDBenchError] = []
        self.records: list[Record] = []
        count = min(max(1, count), len(self.queue))
        given = bench.limits.memory_gb
        self.memory = int(1e9 * given) if given else share(max(1, count))
        self.turns = Turns.among(count, bench.store)
        self.turns.until.value = until.away
        self.count, self.workers = count, list[Worker]()

    def run(self) -> list[Record]:
        """All records written.

        Raises:
            KDBenchError: The first error that was not a method's own; all other work is done and
                recorded by then.
        """
        with held() as came:
            try:
                for place in range(self.count):
                    self.workers.append(Worker(self.bench, self.turns, place))
                self._work(came)
            finally:
                interrupted = sys.exc_info()[0] is not None
                for worker in self.workers:
                    worker.kill() if interrupted else worker.leave()
                    if worker.task:
                        worker.task.claims.close()
                self.turns.close()
        if self.errors:
            raise self.errors[0]
        return self.records

    def _work(self, came: Sequence[int]) -> None:
        """Until nothing is left to do; after a signal, until what is in training is put away."""
        while True:
            if came and self.until.away > (now := time.monotonic()):
                self.listener.note("putting away what is in training; once more to leave at once")
                self.until = Until(now, min(self.until.end, now + GRACE))
                self.turns.until.value = now
            self._hand_out()
            busy = [worker for worker in self.workers if worker.task]
            if not busy:
                if self.until.away < time.monotonic() or not self.queue.again(self.store):
                    return
                continue
            pipes = [pipe for worker in busy for pipe in (worker.pipe, worker.said.pipe)]
            ready = wait(pipes, timeout=POLL_SECONDS)
            for worker in busy:
                self._hear(worker)
                if worker.pipe in ready:
                    self._take(worker)
                else:
                    self._check(worker)
            self.listener.tick([_told(worker) for worker in self.workers if worker.task])
            if time.monotonic() > self.until.end:
                self._cut()

    def _hear(self, worker: Worker) -> None:
        """Pass on what it printed."""
        work = worker.task.work
        worker.said.hear(lambda line: self.listener.printed(work.name, line))

    def _hand_out(self) -> None:
        """Give every idle worker something to do, while there is time."""
        self.late = self.late or (bool(self.queue) and time.monotonic() > self.until.away)
        for worker in () if self.late else self.workers:
            others = {one.task.taught_by for one in self.workers if one.task}
            while not worker.task and (task := self.queue.next(worker.asked, others)):
                if isinstance(task.work, TeacherJob):
                    if lost := self.queue.lost(task.work.awaited):
                        self.queue.lose(task.work, lost)
                    else:
                        worker.give(task, task.work, self.root)
                elif cohort := self._claim(task):
                    task.work, worker.asked = cohort, task.taught_by
                    worker.give(task, cohort)

    def _claim(self, task: Task) -> Cohort | None:
        """The cohort with the trials that are ours alone to answer."""
        assert isinstance(task.work, Cohort)
        if self.queue.lost(task.work.awaited):
            return None
        ours, theirs = [], []
        for trial in task.work.trials:
            asked = trial.question.fingerprint
            if not task.claims.enter_context(self.store.claim(asked)):
                theirs.append(trial)
            elif not self.store.answered(asked, trial.code, trial.attempts):
                ours.append(trial)
        self.queue.leave(replace(task.work, trials=tuple(theirs)))
        if not ours:
            task.claims.close()
            return None
        return replace(task.work, trials=tuple(ours))

    def _take(self, worker: Worker) -> None:
        """An answer, or the end of the process."""
        try:
            answer: Answer = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker, "crashed", worker.stop() or "ended without a word")
            return
        if isinstance(answer, Note):
            self.listener.note(answer.text)
            return
        task: Task = worker.task
        if isinstance(answer, PutAway):
            self.late = True
            self.listener.note(f"{_told(worker).work} is put away at {answer.where.share:.0%}")
        worker.task = None
        for record in answer if isinstance(answer, list) else getattr(answer, "records", ()):
            self._write(record)
        if isinstance(answer, (KDBenchError, Crash)):
            error = Bug(answer) if isinstance(answer, Crash) else answer
            self.errors.append(error)
            if isinstance(task.work, TeacherJob):
                self.queue.lose(task.work, error)
        elif answer is None and isinstance(task.work, TeacherJob):
            self.queue.came(task.work)
            self.listener.teacher(task.work)
        task.claims.close()
        if isinstance(answer, Spoilt):
            self._renew(worker)
            self.queue.tasks += map(Task, answer.cohorts)

    def _cut(self) -> None:
        """End the workers that have not come back in time; what they put away stays."""
        for worker in self.workers:
            if worker.task:
                self.listener.note(f"{_told(worker).work} was ended, because the time is over")
                worker.kill()
                worker.task.claims.close()
                worker.task, self.late = None, True

    def _check(self, worker: Worker) -> None:
        """End a worker that a plugin has brought beyond its bounds."""
        limits, (trial, step, silent) = self.bench.limits, worker.place
        most = min(limits.step_seconds, limits.trial_seconds or math.inf)
        if isinstance(worker.task.work, Cohort) and trial >= 0 and silent > most:
            call = f"step {step}" if step >= 0 else "init()"
            self._end(worker, "timeout", f"{call} took more than {most:g} s")
            return
        weight, grown = worker.weigh(POLL_SECONDS)
        if self.memory and weight > self.memory:
            reason = f"took more than {self.memory / 1e9:.3g} GB of memory"
            # without much of it in this very call, it is not plain whose it is
            self._end(worker, "oom", reason, plain=grown > self.memory / 4)

    def _end(self, worker: Worker, status: Status, reason: str, *, plain: bool = True) -> None:
        """End a worker, and blame whom it is at; if that is not plain, nobody yet."""
        worker.ask_where()
        if not plain:
            worker.crumb[0] = -1
        self._bury(worker, status, reason)

    def _bury(self, worker: Worker, status: Status, reason: str) -> None:
        """Blame a trial for a dead worker, run the others without it, and start a new worker."""
        task: Task = worker.task
        worker.stop()
        self._hear(worker)
        self._renew(worker)
        if isinstance(task.work, TeacherJob):
            error = KDBenchError(
                f"training the teacher {task.work.network} {reason}",
                "its worker died",
                "see the system's log",
            )
            self.errors.append(error)
            self.queue.lose(task.work, error)
            return
        record, parts = verdict(worker, task.work, status, reason)
        if record:
            self._write(record)
        task.claims.close()
        for cohort in parts:
            self.queue.add(cohort)

    def _renew(self, worker: Worker) -> None:
        """End a worker, and start a new one in its place."""
        worker.kill()
        place = self.workers.index(worker)
        self.turns.left(place)
        self.workers[place] = Worker(self.bench, self.turns, place)

    def _write(self, record: Record) -> None:
        self.store.add(record)
        self.store.forget(record.fingerprints.question)
        self.records.append(record)
        self.listener.record(record)


def _told(worker: Worker) -> Doing:
    trial, step, _ = worker.place
    return Doing.at(worker.task.work, trial, step)
