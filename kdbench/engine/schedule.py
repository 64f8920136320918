"""Which cohort runs where: teachers first; what fails is left out; records are written at once."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import PurePath

from kdbench.engine.listener import Doing, Listener
from kdbench.engine.queue import Queue, Task
from kdbench.engine.signals import held
from kdbench.engine.turn import Turns
from kdbench.engine.worker import Answer, Bench, Bug, Crash, Note, Worker
from kdbench.errors import KDBenchError
from kdbench.plan import Cohort, TeacherJob
from kdbench.record import Failure, PutAway, Record, Status, Store

POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Until:
    """When a run is to be over, in seconds of `time.monotonic`.

    Attributes:
        away: Nothing new is begun, and what is in training is put away.
        end: Who is still measuring is ended; what was trained is put away by then.
    """

    away: float = math.inf
    end: float = math.inf

    @classmethod
    def budget(cls, seconds: float, began: float) -> "Until":
        """So that all is told, too, when so many seconds have passed since it began."""
        reserve = min(30.0, seconds / 10)
        return cls(began + seconds - reserve, began + seconds - reserve / 2)


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
        until: Until = Until(),
    ) -> None:
        self.bench, self.listener, self.store = bench, listener, Store(bench.store)
        self.root = cohorts[0].root if cohorts else ""
        self.queue, self.until, self.late = Queue(teachers, cohorts), until, False
        self.errors: list[KDBenchError] = []
        self.records: list[Record] = []
        self.claimed = 0
        count = min(max(1, count), len(self.queue))
        self.turns = Turns.among(count, bench.store)
        self.turns.until.value = until.away
        self.workers = [Worker(bench, self.turns, place) for place in range(count)]

    def run(self) -> list[Record]:
        """All records written.

        Raises:
            KDBenchError: The first error that was not a method's own; all other work is done and
                recorded by then.
        """
        with held() as let_through:
            try:
                self._work(let_through)
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

    def _work(self, let_through: Callable[[], None]) -> None:
        """Until nothing is left to do; signals are let through where nothing is half done."""
        while True:
            self._hand_out()
            busy = [worker for worker in self.workers if worker.task]
            if not busy:
                return
            ready = wait([worker.pipe for worker in busy], timeout=POLL_SECONDS)
            let_through()  # before workers are blamed for a death that came to all
            for worker in busy:
                if worker.pipe in ready:
                    self._take(worker)
                else:
                    self._check(worker)
            self.listener.tick([_told(worker) for worker in self.workers if worker.task])
            if time.monotonic() > self.until.end:
                self._cut()

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

    def _cut(self) -> None:
        """End the workers that have not come back in time; what they put away stays."""
        for worker in self.workers:
            if worker.task:
                self.listener.note(f"{_told(worker).work} was ended, because the time is over")
                worker.process.kill()
                worker.task.claims.close()
                worker.task, self.late = None, True

    def _check(self, worker: Worker) -> None:
        """End a worker whose plugin does not come back."""
        task: Task = worker.task
        trial, step, silent = worker.place
        if isinstance(task.work, Cohort) and trial >= 0 and silent > task.work.step_seconds:
            worker.process.kill()
            why = f"step {step} took more than {task.work.step_seconds:g} s"
            self._bury(worker, "timeout", why)

    def _bury(self, worker: Worker, status: Status, reason: str) -> None:
        """Blame a trial for a dead worker, run the others without it, and start a new worker."""
        task: Task = worker.task
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
            self.queue.lose(task.work, error)
            return
        trials = task.work.trials
        task.claims.close()
        if trial < 0 and len(trials) > 1:
            half = len(trials) // 2
            for part in (trials[:half], trials[half:]):
                self.queue.add(replace(task.work, trials=part))
            return
        guilty = trials[max(trial, 0)]
        failure = Failure(
            kind=status,
            message=f"{guilty.source.name} ({PurePath(guilty.source.path).name}): {reason}",
            where=f"step {step}" if step >= 0 else "init",
        )
        self._write(guilty.record(task.work.suite, status, worker.environment, failure=failure))
        if rest := tuple(one for one in trials if one is not guilty):
            self.queue.add(replace(task.work, trials=rest))

    def _write(self, record: Record) -> None:
        self.store.add(record)
        self.store.forget(record.fingerprints.question)
        self.records.append(record)
        self.listener.record(record)


def _told(worker: Worker) -> Doing:
    trial, step, _ = worker.place
    work = worker.task.work
    if isinstance(work, TeacherJob):
        method = str(work.method.spec) if work.method else "cross-entropy"
        name, total, trials = f"teacher {work.network}", 1, 0
        if work.protocol:
            total = work.protocol.total_steps(work.protocol.rows or work.dataset.sizes["train"])
    else:
        name, method = work.name, work.trials[trial].spec.name if trial >= 0 else ""
        total, trials = work.protocol.total_steps(work.stream_rows), len(work.trials)
    return Doing(name, method, min(1.0, (step + 1) / total), trials)
