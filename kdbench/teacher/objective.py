"""How a teacher learns that has none of its own."""

from dataclasses import dataclass
from typing import Any, final

from torch.nn import functional as F

from kdbench.api import Batch, Losses, Method, Needs, Outputs
from kdbench.functional import cross_entropy


@final
@dataclass(frozen=True)
class CrossEntropy(Method):
    """The host's own objective: cross-entropy with the labels.

    Attributes:
        masked: Whether there may be rows without one.
    """

    masked: bool = False

    def needs(self) -> Needs:
        """Nothing."""
        return Needs(teacher="none")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch, state: Any) -> Losses:  # noqa: ANN401 - as in Method
        """The one term."""
        if self.masked:  # rounds in another way: where all have labels, the bits stay
            return {"hard": cross_entropy(student.logits, batch.target, batch.labelled)}
        return {"hard": F.cross_entropy(student.logits, batch.target)}
