"""Suite x registry x records -> cohorts, the teachers they need, and the state of every trial. No torch."""

from kdbench.plan.crossing import make
from kdbench.plan.nodes import Cohort, State, TeacherJob, Trial
from kdbench.plan.whole import Plan

__all__ = ["Cohort", "Plan", "State", "TeacherJob", "Trial", "make"]
