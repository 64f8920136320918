"""Who is told how a run goes on, and of what."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kdbench.plan import TeacherJob
from kdbench.record import Record


class Doing(NamedTuple):
    """What a worker does now: cohort or teacher, method, share of the steps done, trials."""

    work: str
    method: str
    share: float
    trials: int


class Listener(Protocol):
    """Who is told how a run goes on."""

    def teacher(self, job: TeacherJob) -> None:
        """A teacher is ready."""

    def record(self, record: Record) -> None:
        """A record was written."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def tick(self, workers: Sequence[Doing]) -> None:
        """What each worker does now."""
