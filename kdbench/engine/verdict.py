"""Whose fault the death of a worker is, and what is to be run again."""

from dataclasses import replace

from kdbench.engine.worker import Worker
from kdbench.plan import Cohort
from kdbench.record import Failure, Record, Status


def verdict(
    worker: Worker, cohort: Cohort, status: Status, reason: str
) -> tuple[Record | None, tuple[Cohort, ...]]:
    """The record of the trial that is to blame, and the others in a cohort of their own.

    Where it is not plain who is to blame, there is no record, and two halves are to be run.

    Args:
        worker: Dead.
        cohort: It was at.
        status: Of the trial to blame.
        reason: What became of the worker.
    """
    trials, (trial, step, _) = cohort.trials, worker.place
    if trial < 0 and len(trials) > 1:
        half = len(trials) // 2
        return None, tuple(replace(cohort, trials=part) for part in (trials[:half], trials[half:]))
    guilty = trials[max(trial, 0)]
    failure = Failure(
        kind=status,
        message=f"{worker.said.blamed(guilty.method.sources)}: {reason}",
        where=f"step {step}" if step >= 0 else "init",
    )
    record = guilty.record(cohort.suite, status, worker.environment, failure=failure)
    rest = tuple(one for one in trials if one is not guilty)
    return record, (replace(cohort, trials=rest),) * bool(rest)
