"""Which cohort runs where: teachers first; what fails is left out; records are written at once."""

import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import PurePath
from typing import Protocol

from kdbench.engine.turn import Turns
from kdbench.engine.worker import Answer, Bench, Bug, Crash, Worker
from kdbench.errors import KDBenchError
from kdbench.plan import Cohort, TeacherJob
from kdbench.record import Failure, Record, Status, Store

POLL_SECONDS = 0.25


class Listener(Protocol):
    """Who is told how a run goes on."""

    def teacher(self, job: TeacherJob) -> None:
        """A teacher is ready."""

    def record(self, record: Record) -> None:
        """A record was written."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def tick(self, workers: Sequence[tuple[str, str, float]]) -> None:
        """What each worker does now: cohort, method, share of its steps done."""


@dataclass
class _Task:
    """A cohort or a teacher, and the claims held for it."""

    work: Cohort | TeacherJob
    claims: ExitStack = field(default_factory=ExitStack)


class Schedule:
    """The open work of a plan on a few workers.

    Args:
        cohorts: With only the trials that are to run.
        teachers: What they need.
        bench: Where workers work.
        count: Workers.
    """

    def __init__(
        self,
        cohorts: Sequence[Cohort],
        teachers: Sequence[TeacherJob],
        bench: Bench,
        count: int,
        listener: Listener,
    ) -> None:
        self.bench, self.listener, self.store = bench, listener, Store(bench.store)
        self.root = cohorts[0].root if cohorts else ""
        self.waiting: deque[_Task] = deque(_Task(job) for job in teachers)
        self.waiting.extend(_Task(cohort) for cohort in cohorts)
        self.open_teachers = {job.key for job in teachers}
        self.lost_teachers: dict[str, KDBenchError] = {}
        self.errors: list[KDBenchError] = []
        self.records: list[Record] = []
        self.claimed = 0
        count = min(max(1, count), len(self.waiting))
        self.turns = Turns.among(count, bench.store)
        self.workers = [Worker(bench, self.turns, place) for place in range(count)]

    def run(self) -> list[Record]:
        """All records written.

        Raises:
            KDBenchError: The first error that was not a method's own; all other work is done and
                recorded by then.
        """
        try:
            while self.waiting or any(worker.task for worker in self.workers):
                self._hand_out()
                busy = [worker for worker in self.workers if worker.task]
                ready = wait([worker.pipe for worker in busy], timeout=POLL_SECONDS)
                for worker in busy:
                    if worker.pipe in ready:
                        self._take(worker)
                    else:
                        self._check(worker)
                self.listener.tick([_told(worker) for worker in self.workers if worker.task])
        finally:
            interrupted = sys.exc_info()[0] is not None
            for worker in self.workers:
                worker.process.kill() if interrupted else worker.leave()
                if worker.task:
                    worker.task.claims.close()
            self.turns.close()
        if self.errors:
            raise self.errors[0]
        return self.records

    def _hand_out(self) -> None:
        for worker in self.workers:
            while not worker.task and (task := self._next()):
                if isinstance(task.work, TeacherJob):
                    if lost := self._lost(task.work.teachers):
                        self._lose(task.work, lost)
                    else:
                        worker.give(task, task.work, self.root)
                elif cohort := self._claim(task):
                    task.work = cohort
                    worker.give(task, cohort)

    def _next(self) -> _Task | None:
        """The first task whose teachers are there."""
        for task in self.waiting:
            if not any(job.key in self.open_teachers for job in task.work.teachers):
                self.waiting.remove(task)
                return task
        return None

    def _claim(self, task: _Task) -> Cohort | None:
        """The cohort with the trials that are ours alone to answer."""
        assert isinstance(task.work, Cohort)
        if self._lost(task.work.teachers):
            return None
        ours = []
        for trial in task.work.trials:
            asked = trial.question.fingerprint
            free = task.claims.enter_context(self.store.claim(asked))
            if free and not self.store.answered(asked, trial.code):
                ours.append(trial)
            else:
                self.claimed += 1
        if not ours:
            task.claims.close()
            return None
        return replace(task.work, trials=tuple(ours))

    def _lost(self, jobs: Sequence[TeacherJob]) -> KDBenchError | None:
        """Why one of these teachers is not to be had, if so."""
        return next((self.lost_teachers[j.key] for j in jobs if j.key in self.lost_teachers), None)

    def _lose(self, job: TeacherJob, error: KDBenchError) -> None:
        self.lost_teachers[job.key] = error
        self.open_teachers.discard(job.key)

    def _take(self, worker: Worker) -> None:
        """An answer, or the end of the process."""
        try:
            answer: Answer = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker, "crashed", worker.stop() or "ended without a word")
            return
        task: _Task = worker.task
        worker.task = None
        if isinstance(answer, list):
            for record in answer:
                self._write(record)
        elif isinstance(answer, (KDBenchError, Crash)):
            error = Bug(answer) if isinstance(answer, Crash) else answer
            self.errors.append(error)
            if isinstance(task.work, TeacherJob):
                self._lose(task.work, error)
        if isinstance(task.work, TeacherJob) and task.work.key not in self.lost_teachers:
            self.open_teachers.discard(task.work.key)
            self.listener.teacher(task.work)
        task.claims.close()

    def _check(self, worker: Worker) -> None:
        """End a worker whose plugin does not come back."""
        task: _Task = worker.task
        trial, step, silent = worker.place
        if isinstance(task.work, Cohort) and trial >= 0 and silent > task.work.step_seconds:
            worker.process.kill()
            why = f"step {step} took more than {task.work.step_seconds:g} s"
            self._bury(worker, "timeout", why)

    def _bury(self, worker: Worker, status: Status, reason: str) -> None:
        """Blame a trial for a dead worker, run the others without it, and start a new worker."""
        task: _Task = worker.task
        worker.stop()
        trial, step, _ = worker.place
        place = self.workers.index(worker)
        self.turns.left(place)
        self.workers[place] = Worker(self.bench, self.turns, place)
        if isinstance(task.work, TeacherJob):
            error = KDBenchError(
                f"training the teacher {task.work.network} {reason}",
                "its worker died",
                "see the system's log",
            )
            self.errors.append(error)
            self._lose(task.work, error)
            return
        trials = task.work.trials
        task.claims.close()
        if trial < 0 and len(trials) > 1:
            half = len(trials) // 2
            for part in (trials[:half], trials[half:]):
                self.waiting.append(_Task(replace(task.work, trials=part)))
            return
        guilty = trials[max(trial, 0)]
        failure = Failure(
            kind=status,
            message=f"{guilty.source.name} ({PurePath(guilty.source.path).name}): {reason}",
            where=f"step {step}" if step >= 0 else "init",
        )
        self._write(guilty.record(task.work.suite, status, worker.environment, failure=failure))
        if rest := tuple(one for one in trials if one is not guilty):
            self.waiting.append(_Task(replace(task.work, trials=rest)))

    def _write(self, record: Record) -> None:
        self.store.add(record)
        self.records.append(record)
        self.listener.record(record)


def _told(worker: Worker) -> tuple[str, str, float]:
    trial, step, _ = worker.place
    work = worker.task.work
    if isinstance(work, TeacherJob):
        method = str(work.method.spec) if work.method else "cross-entropy"
        name, total = f"teacher {work.network}", 1
        if work.protocol:
            total = work.protocol.total_steps(work.protocol.rows or work.dataset.sizes["train"])
    else:
        name, method = work.name, work.trials[trial].spec.name if trial >= 0 else ""
        total = work.protocol.total_steps(work.stream_rows)
    return name, method, min(1.0, (step + 1) / total)
