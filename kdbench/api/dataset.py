"""The base of all data sets: facts, `prepare` and `load`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int


class Rows(ABC):
    """One split of a data set, not yet decoded.

    Attributes:
        labels: Class of every row.
        digest: Hash of the content (or of the published file), hex.
    """

    labels: Int[np.ndarray, " rows"]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def images(self, rows: Sequence[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Decoded pixels of these rows, uint8, rows x height x width x channels."""


class DataSet(ABC):
    """Base of all data sets: a frozen dataclass of facts, `prepare` and `load`.

    Attributes:
        num_classes: Number of classes.
        image_shape: Channels, height, width.
        sizes: Rows of each split, "train" and "test".
        mean, std: Of the training pixels in [0, 1], a channel each.
        flips: Whether a mirrored image keeps its class.
        class_names: Name of each class.
        class_tree: Coarse label of each class, or None.
        licence, source: Terms of use and where it comes from.
    """

    num_classes: int
    image_shape: tuple[int, int, int]
    sizes: Mapping[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: bool
    class_names: tuple[str, ...]
    class_tree: tuple[int, ...] | None
    licence: str
    source: str

    def prepare(self, root: str) -> None:
        """Bring the data under `root`; idempotent, and the only place that may use the network."""

    @abstractmethod
    def load(self, root: str, split: Literal["train", "test"]) -> Rows:
        """The rows of one split; never uses the network."""
