"""What was asked and what came out: specs, questions, records and the store. No torch here."""

from kdbench.record.pair import Pair, Recipe
from kdbench.record.question import (
    PROTOCOL_VERSION,
    Evaluation,
    Frozen,
    Question,
    TeacherProtocol,
    TrainingProtocol,
    canonical,
    fingerprint,
)
from kdbench.record.schema import (
    RETRIED,
    Card,
    Cost,
    Deployed,
    Environment,
    Failure,
    Fingerprints,
    Origin,
    Record,
    Status,
)
from kdbench.record.spec import Spec, Value, frozen
from kdbench.record.store import Store, write_atomically

__all__ = [
    "PROTOCOL_VERSION",
    "RETRIED",
    "Card",
    "Cost",
    "Deployed",
    "Environment",
    "Evaluation",
    "Failure",
    "Fingerprints",
    "Frozen",
    "Origin",
    "Pair",
    "Question",
    "Recipe",
    "Record",
    "Spec",
    "Status",
    "Store",
    "TeacherProtocol",
    "TrainingProtocol",
    "Value",
    "canonical",
    "fingerprint",
    "frozen",
    "write_atomically",
]
