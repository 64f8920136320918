"""What was asked and what came out: specs, questions, records and the store. No torch here."""

from kdbench.record.canonical import Count, Frozen, Number, canonical, fingerprint
from kdbench.record.checkpoint import PutAway, Standing, standing, told
from kdbench.record.environment import Environment
from kdbench.record.files import MOST, inside, mistake, parsed, read_plain
from kdbench.record.pair import Pair, Recipe
from kdbench.record.protocol import Evaluation, Probe, Start, TeacherProtocol, TrainingProtocol
from kdbench.record.question import PROTOCOL_VERSION, Question
from kdbench.record.schema import (
    RETRIED,
    Card,
    Cost,
    Deployed,
    Failure,
    Fingerprints,
    Origin,
    Record,
    Status,
)
from kdbench.record.spec import Spec, Value, frozen
from kdbench.record.speed import QUIET, SpeedRecord, StepSpeed
from kdbench.record.store import Store, content, safe_name, sweep, write_atomically

__all__ = [
    "MOST",
    "PROTOCOL_VERSION",
    "QUIET",
    "RETRIED",
    "Card",
    "Cost",
    "Count",
    "Deployed",
    "Environment",
    "Evaluation",
    "Failure",
    "Fingerprints",
    "Frozen",
    "Number",
    "Origin",
    "Pair",
    "Probe",
    "PutAway",
    "Question",
    "Recipe",
    "Record",
    "Spec",
    "SpeedRecord",
    "Standing",
    "Start",
    "Status",
    "StepSpeed",
    "Store",
    "TeacherProtocol",
    "TrainingProtocol",
    "Value",
    "canonical",
    "content",
    "fingerprint",
    "frozen",
    "inside",
    "mistake",
    "parsed",
    "read_plain",
    "safe_name",
    "standing",
    "sweep",
    "told",
    "write_atomically",
]
