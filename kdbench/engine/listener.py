"""Who is told how a run goes on, and of what."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kdbench.plan import Cohort, TeacherJob
from kdbench.record import Record


class Doing(NamedTuple):
    """What a worker does now: cohort or teacher, method, share of the steps done, trials."""

    work: str
    method: str
    share: float
    trials: int

    @classmethod
    def at(cls, work: Cohort | TeacherJob, trial: int, step: int) -> "Doing":
        """What who is at this step of this trial (-1 for none) of the work does."""
        if isinstance(work, TeacherJob):
            method = str(work.method.spec) if work.method else "cross-entropy"
            total, trials = 1, 0
            if work.protocol:
                total = work.protocol.total_steps(work.protocol.rows or work.dataset.sizes["train"])
        else:
            method = work.trials[trial].spec.name if trial >= 0 else ""
            total, trials = work.protocol.total_steps(work.stream_rows), len(work.trials)
        return cls(work.name, method, min(1.0, (step + 1) / total), trials)


class Listener(Protocol):
    """Who is told how a run goes on."""

    def teacher(self, job: TeacherJob) -> None:
        """A teacher is ready."""

    def record(self, record: Record) -> None:
        """A record was written."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def printed(self, work: str, line: str) -> None:
        """A worker printed a line while it was at this cohort or teacher."""

    def tick(self, workers: Sequence[Doing]) -> None:
        """What each worker does now."""
