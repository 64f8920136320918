"""What is done to the transfer set: the images that the student sees, and the teacher judges."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Rows of a batch as both networks see them.

    Attributes:
        images: In [0, 1], float32.
        labelled: False where a row has no label.
        index: Row in the transfer set, -1 for a synthesised one.
    """

    images: Float[Tensor, "batch channels height width"]
    labelled: Bool[Tensor, " batch"]
    index: Int[Tensor, " batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """Rows that join the transfer set without labels.

    Attributes:
        dataset: Spec of the data set that they come from.
        rows: So many first rows of its training split, brought to this data set's channels and
            size.
    """

    dataset: str
    rows: int


class Draw(Protocol):
    """Random numbers by (seed, policy, purpose, epoch, row), the same on every device.

    A row's numbers depend on no other row, and a batch's are those of its first row. They are drawn
    on the host, by counter; torch's generators are not touched.
    """

    def rows(self, purpose: str, count: int | None = None) -> Float[Tensor, "batch ..."]:
        """Uniform numbers in [0, 1): one a row, or `count` a row."""

    def batch(self, purpose: str) -> Float[Tensor, ""]:
        """One uniform number in [0, 1) for the whole batch."""

    def permutation(self, purpose: str) -> Int[Tensor, " batch"]:
        """The places of the batch in random order."""

    def seeds(self, purpose: str) -> list[int]:
        """A seed a row, for what draws from a generator of its own; waits for the device."""

    def noise(
        self, purpose: str, chosen: Bool[Tensor, " batch"]
    ) -> Float[Tensor, "chosen channels height width"]:
        """Images of uniform pixels in [0, 1), for the chosen rows; waits for the device."""


class Transfer(ABC):
    """Base of all transfer policies: a frozen dataclass of options, a pure function of images.

    The protocol's crop and flip come first. Of several policies, each sees what the one before it
    made.
    """

    mixes: ClassVar[bool] = False
    """Whether an image is made of several rows: then none has a label or an index."""

    hides: ClassVar[bool] = False
    """Whether the labels of all rows are left out."""

    def adds(self) -> Added | None:
        """Rows of another data set that join this one's, or None."""
        return None

    @abstractmethod
    def see(self, seen: Seen, draw: Draw) -> Seen:
        """The rows as this policy shows them: as many as before, of the same shape.

        It is asked once for each batch, and all methods share what it gives. What is random comes
        from `draw`. Tensors are not written into, and nothing waits for the device, unless `draw`
        does.
        """
