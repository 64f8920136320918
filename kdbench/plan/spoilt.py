"""A worker that can no longer be trusted, and what another one is to do in its place."""

from kdbench.plan.nodes import Cohort
from kdbench.record import Record


class Spoilt(Exception):
    """What came of a cohort until its process was spoilt for all that come after.

    Args:
        records: Of the trials that are over.
        cohorts: The other trials, each to be run by a fresh process.
    """

    def __init__(self, records: tuple[Record, ...], cohorts: tuple[Cohort, ...]) -> None:
        super().__init__(records, cohorts)
        self.records, self.cohorts = records, cohorts
