"""Suite x registry x records -> cohorts, their teachers, the state of every trial. No torch."""

from kdbench.plan.crossing import make, tables
from kdbench.plan.datasets import dataset_spec
from kdbench.plan.nodes import Cohort, State, TeacherJob, Trial
from kdbench.plan.policy import Policy
from kdbench.plan.sharing import shared
from kdbench.plan.spoilt import Spoilt
from kdbench.plan.teachers import pair_name
from kdbench.plan.whole import Plan

__all__ = [
    "Cohort",
    "Plan",
    "Policy",
    "Spoilt",
    "State",
    "TeacherJob",
    "Trial",
    "dataset_spec",
    "make",
    "pair_name",
    "shared",
    "tables",
]
