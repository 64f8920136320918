"""What waits for a worker: teachers before those that they teach."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from kdbench.errors import KDBenchError
from kdbench.plan import Cohort, TeacherJob, Trial
from kdbench.record import Standing, Store, standing


@dataclass(eq=False)
class Task:
    """A cohort or a teacher, and the claims held for it."""

    work: Cohort | TeacherJob
    claims: ExitStack = field(default_factory=ExitStack)

    @property
    def taught_by(self) -> tuple[str, ...]:
        """Keys of the teacher that its trials ask; none for a teacher's training."""
        return self.work.taught_by if isinstance(self.work, Cohort) else ()


class Queue:
    """The tasks that wait, and which teachers are still to come.

    Args:
        teachers: Each after its own teachers.
        cohorts: In the order in which they are begun, if workers have no reason to differ.
    """

    def __init__(self, teachers: Sequence[TeacherJob], cohorts: Iterable[Cohort]) -> None:
        self.tasks = [Task(job) for job in teachers] + [Task(cohort) for cohort in cohorts]
        self._open = {job.key for job in teachers}
        self._lost: dict[str, KDBenchError] = {}
        self._left: list[Cohort] = []
        self._tried = 0

    @property
    def left(self) -> int:
        """Trials that were left to other runs."""
        return sum(len(cohort.trials) for cohort in self._left)

    def __len__(self) -> int:
        return len(self.tasks)

    def add(self, cohort: Cohort) -> None:
        """Have it wait at the end."""
        self.tasks.append(Task(cohort))

    def leave(self, cohort: Cohort) -> None:
        """Leave its trials, if there are any, to the other runs that are at them."""
        self._left += [cohort] * bool(cohort.trials)

    def again(self, store: Store) -> bool:
        """Whether what was left to other runs waits once more.

        A run that was killed leaves what it was at to the others. Nobody waits for the living: what
        was left is tried again as long as that makes it less.
        """
        if self.left in (0, self._tried):
            return False
        self._tried = self.left
        self.tasks += map(Task, level(self._left, store))
        self._left = []
        return True

    def next(self, last: tuple[str, ...], others: Collection[tuple[str, ...]]) -> Task | None:
        """Takes out a task whose teachers are there; what is kept of a teacher's answers is shared.

        Args:
            last: Keys of the teacher that this worker asked last.
            others: Of those that other workers ask now.
        """

        def rank(task: Task) -> int:
            if isinstance(task.work, TeacherJob):
                return 0
            return 1 if task.taught_by == last else 2 if task.taught_by in others else 3

        ready = [task for task in self.tasks if not self._awaited(task.work.awaited)]
        if not ready:
            return None
        found = min(ready, key=rank)
        self.tasks.remove(found)
        return found

    def came(self, job: TeacherJob) -> None:
        """The teacher is there."""
        self._open.discard(job.key)

    def lose(self, job: TeacherJob, error: KDBenchError) -> None:
        """The teacher will not come."""
        self._lost[job.key] = error
        self._open.discard(job.key)

    def lost(self, jobs: Sequence[TeacherJob]) -> KDBenchError | None:
        """Why one of these teachers is not to be had, if so."""
        return next((self._lost[job.key] for job in jobs if job.key in self._lost), None)

    def _awaited(self, jobs: Sequence[TeacherJob]) -> bool:
        return any(job.key in self._open for job in jobs)


def level(cohorts: Iterable[Cohort], store: Store) -> list[Cohort]:
    """The cohorts, in parts where some of their trials were put away at other steps than others."""
    found = []
    for cohort in cohorts:
        parts: dict[Standing | None, list[Trial]] = defaultdict(list)
        for trial in cohort.trials:
            path = store.checkpoint(trial.question.fingerprint, trial.code)
            parts[standing(path)].append(trial)
        found += [replace(cohort, trials=tuple(trials)) for trials in parts.values()]
    return found
