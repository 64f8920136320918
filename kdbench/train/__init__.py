"""The one training loop: students in lockstep on one stream of batches."""

from kdbench.train.assembly import assemble
from kdbench.train.clock import PHASES, Clock
from kdbench.train.compiled import compile_student, set_compiler
from kdbench.train.functions import Functions
from kdbench.train.guard import Caught, Guard, Lingering, Thing, Violation, guarded
from kdbench.train.load import LOUD, LoadMeter
from kdbench.train.lockstep import Overtime, lockstep
from kdbench.train.pace import Pace
from kdbench.train.runner import Diverged, Runner
from kdbench.train.schedule import learning_rate
from kdbench.train.seeding import seed_torch
from kdbench.train.stream import Asked, Step, Teach, last_epoch, make_batch, nobody, stream
from kdbench.train.surroundings import Surroundings
from kdbench.train.timing import Block, Round, block, interleave, spread

__all__ = [
    "LOUD",
    "PHASES",
    "Asked",
    "Block",
    "Caught",
    "Clock",
    "Diverged",
    "Functions",
    "Guard",
    "Lingering",
    "LoadMeter",
    "Overtime",
    "Pace",
    "Round",
    "Runner",
    "Step",
    "Surroundings",
    "Teach",
    "Thing",
    "Violation",
    "assemble",
    "block",
    "compile_student",
    "guarded",
    "interleave",
    "last_epoch",
    "learning_rate",
    "lockstep",
    "make_batch",
    "nobody",
    "seed_torch",
    "set_compiler",
    "spread",
    "stream",
]
