"""Teachers: trained once, kept with their anchors by content, never moved."""

from kdbench.teacher.frozen import Teacher, digest
from kdbench.teacher.pupil import pupil
from kdbench.teacher.recall import Recall, opened
from kdbench.teacher.training import build, ensure, folder, open_teacher

__all__ = [
    "Recall", "Teacher", "build", "digest", "ensure", "folder", "open_teacher", "opened", "pupil",
]  # fmt: skip
