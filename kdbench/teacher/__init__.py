"""Teachers: trained once, kept with their anchors by content, never moved."""

from kdbench.teacher.frozen import Teacher, digest
from kdbench.teacher.opening import build, folder, initial, open_teacher
from kdbench.teacher.pupil import pupil
from kdbench.teacher.recall import Recall, opened
from kdbench.teacher.seal import Seal
from kdbench.teacher.start import begin
from kdbench.teacher.training import ensure

__all__ = [
    "Recall", "Seal", "Teacher", "begin", "build", "digest", "ensure", "folder", "initial",
    "open_teacher", "opened", "pupil",
]  # fmt: skip
