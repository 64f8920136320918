"""A method, a student and its frozen teacher, if any -> a runner, ready for its first step."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from kdbench.api import Batch, Maps, Method, Outputs, Setup
from kdbench.data import Views
from kdbench.errors import ContractError, Unsupported
from kdbench.models import Network, align
from kdbench.record import TrainingProtocol
from kdbench.teacher.frozen import Teacher
from kdbench.train import Runner, make_batch


def pupil(
    method: Method,
    student: Network,
    teacher: Teacher | None,
    views: Views,
    protocol: TrainingProtocol,
    *,
    num_classes: int,
    class_tree: tuple[int, ...] | None,
    build: Callable[[], Network],
    seed: int,
    total: int,
    quiz: Views | None = None,
) -> Runner:
    """A student of this teacher by this method; both give equally many hints from now on.

    Args:
        method: The plugin's object.
        student: Freshly initialised.
        teacher: With every anchor that the method's stages name; None for a method that needs none.
        views: The stream's rows.
        protocol: Of the student's training.
        num_classes: Number of classes.
        class_tree: Coarse label of each class, or None.
        build: Gives a further network of the student's kind, from torch's current generator.
        seed: The trial's.
        total: Updates of the whole budget.
        quiz: The quiz split's views, where the method holds one out.

    Raises:
        Unsupported: The method cannot do this pair.
    """
    needs, private = method.needs(), None
    if needs.teacher == "none" and views.unlabelled:
        raise Unsupported(
            "there is nothing to learn from",
            "the method asks no teacher, and the transfer policy leaves no row its label",
            "leave the method out, or another policy",
        )
    if needs.quiz and views.hidden:
        raise Unsupported(
            "the quiz split would tell labels",
            "the transfer policy hides them all, and the method is judged by some",
            "leave the method out, or another policy",
        )
    if teacher is not None:
        for stage in method.stages():
            teacher.place(stage.anchor)  # where it is missing, that is known before step 0
        picked, theirs = align(student.port().hints, teacher.every_hint)
        student.pick(picked)
        teacher.pick(theirs)
        private = teacher.copy() if needs.teacher == "private" else None

    def peer(role: str) -> nn.Module:
        if role != "student":
            raise ValueError(f"no role {role!r}; expected 'student'")
        network = build()
        network.pick(student.picked)
        return network

    setup = Setup(
        student=student.port(),
        teacher=(private or teacher or student).port(),
        num_classes=num_classes,
        num_train=len(views),
        targets=None if views.hidden else views.labels[: len(views)],
        class_tree=class_tree,
        build=peer,
        teacher_passes=partial(_passes, teacher, views, needs.maps),
    )
    return Runner(
        method, student, setup, protocol,
        seed=seed, total=total, device=views.device, private=private, quiz=quiz,
    )  # fmt: skip


def _passes(
    teacher: Teacher | None, views: Views, maps: Maps, split: str
) -> Iterator[tuple[Outputs, Batch]]:
    """The converged teacher on the unaugmented rows of the transfer set, in order."""
    if split != "transfer":
        raise ValueError(f"no split {split!r}; expected 'transfer'")
    if teacher is None:
        what, why = "setup.teacher_passes() has nobody to ask", "a teacher is trained without one"
        raise ContractError(what, why, "learn it by a method that asks none")
    for rows in torch.arange(len(views), device=views.device).split(256):
        batch = make_batch(views, rows, views.plain(rows), 0.0)
        yield teacher(batch.inputs, maps), batch
