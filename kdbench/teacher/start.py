"""Where a student starts: from its teacher's weights, or between them and random ones."""

from collections.abc import Callable

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from kdbench.data import Views
from kdbench.errors import Unsupported
from kdbench.models import Network
from kdbench.plan import TeacherJob
from kdbench.record import Start, TrainingProtocol
from kdbench.teacher.frozen import Teacher
from kdbench.teacher.opening import initial
from kdbench.train import Step, nobody, stream


@torch.no_grad()
def begin(
    student: Network,
    start: Start,
    teacher: Teacher,
    job: TeacherJob,
    views: Views,
    protocol: TrainingProtocol,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Set the student's weights and buffers to share x the teacher's + (1 - share) x its own.

    Whole numbers, such as a batch norm's count of batches, are the teacher's.

    The learning rate is the protocol's whatever the share. The authors' code multiplies it by
    1 - share where the share is of the converged weights, of which the paper does not speak.

    Args:
        student: Freshly initialised.
        start: Which share, of which of the teacher's weights; how batch norms are treated.
        teacher: Who teaches.
        job: By which the teacher was trained; its initial weights are drawn again from it.
        views, protocol: On which statistics are estimated, and in which batches.
        beat: Called before each of these batches.

    Raises:
        Unsupported: The teacher is an ensemble, or another architecture.

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does Knowledge Distillation Really Work? 2021,
        arXiv:2106.05945, section 6.2.
    """
    if len(teacher.members) > 1:
        why = "an ensemble has no one network to start from"
        raise Unsupported("the student cannot start from its teacher", why, "name a single teacher")
    theirs = initial(job, views.device) if start.of == "initial" else teacher.converged[0]
    own, other = student.model.state_dict(), theirs.model.state_dict()
    if [(n, t.shape) for n, t in own.items()] != [(n, t.shape) for n, t in other.items()]:
        why = "names or shapes of their weights differ"
        raise Unsupported("the student cannot start from its teacher", why, "name equal networks")
    for name, value in own.items():
        mixed = start.share * other[name] + (1 - start.share) * value
        value.copy_(mixed if value.is_floating_point() else other[name])
    if start.statistics == "estimated":
        _estimate(student, views, protocol, beat)


def _estimate(
    network: Network, views: Views, protocol: TrainingProtocol, beat: Callable[[], None]
) -> None:
    """Set all batch norms' statistics to their means over the batches of the first epoch.

    All else is as in evaluation, so that nothing is drawn; in float32 whatever the precision.
    """
    norms = {m: m.momentum for m in network.modules() if isinstance(m, _BatchNorm)}
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the mean over all batches
        norm.train()
    try:
        for epoch, _, rows in stream(views, protocol, protocol.steps_per_epoch(len(views))):
            beat()
            seen = Step(views, rows, epoch, 0.0, nobody).batch  # as the student will see it
            network(seen.inputs)
    finally:
        for norm, momentum in norms.items():
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
