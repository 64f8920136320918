"""One cohort, in a worker: train in lockstep, measure, time; a record for every trial."""

from kdbench.cohort.outcome import Attempt, environment
from kdbench.cohort.run import run
from kdbench.cohort.workbench import Watch, Workbench

__all__ = ["Attempt", "Watch", "Workbench", "environment", "run"]
