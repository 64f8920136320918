"""Whether students can start where a suite says, before any teacher is trained."""

from kdbench.errors import UsageError
from kdbench.plan.teachers import given
from kdbench.record import Pair, TrainingProtocol


def check_start(protocol: TrainingProtocol, pair: Pair) -> None:
    """Nothing, if the pair's student can start as the protocol says.

    Raises:
        UsageError: Its teacher is an ensemble, another network, or has no initial weights.
    """
    start, teacher = protocol.start, pair.teacher
    if start is None:
        return
    what, why, then = f"the student of {pair} cannot start from its teacher", "", ""
    if teacher.size > 1:
        why, then = "an ensemble has no one network to start from", "name a single teacher"
    elif teacher.network.without("checkpoint") != pair.student.without("checkpoint"):
        why, then = "they are different networks", "name the same twice, or leave [train] start out"
    elif start.of == "initial" and given(teacher):
        why, then = "weights that are given have no initial ones", 'set of = "converged"'
    if why:
        raise UsageError(what, why, then)
