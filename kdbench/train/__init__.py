"""The one training loop: students in lockstep on one stream of batches."""

from kdbench.train.assembly import assemble
from kdbench.train.clock import PHASES, Clock
from kdbench.train.lockstep import guarded, lockstep
from kdbench.train.runner import Diverged, Runner
from kdbench.train.schedule import learning_rate
from kdbench.train.seeding import seed_torch
from kdbench.train.stream import Asked, Step, Teach, make_batch, stream
from kdbench.train.timing import interleave

__all__ = [
    "PHASES",
    "Asked",
    "Clock",
    "Diverged",
    "Runner",
    "Step",
    "Teach",
    "assemble",
    "guarded",
    "interleave",
    "learning_rate",
    "lockstep",
    "make_batch",
    "seed_torch",
    "stream",
]
