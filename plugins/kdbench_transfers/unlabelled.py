"""Without labels: the images as they are, of which the teacher alone says what they show."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from kdbench.api import Draw, Seen, Transfer, hookimpl


@final
@dataclass(frozen=True)
class Unlabelled(Transfer):
    """The same images, all labels hidden: a student has nothing but its teacher.

    Reference:
        Beyer, Zhai, Royer, Markeeva, Anil, Kolesnikov. Knowledge Distillation: A Good Teacher Is
        Patient and Consistent. 2022, arXiv:2106.05237: the teacher's answers alone.

    *Differs from the reference:* nothing known; its images are cropped and mixed in other ways.
    """

    hides: ClassVar[bool] = True

    def see(self, seen: Seen, draw: Draw) -> Seen:
        return seen


@hookimpl
def kdbench_transfers() -> Iterator[tuple[str, Transfer]]:
    yield "unlabelled", Unlabelled()
