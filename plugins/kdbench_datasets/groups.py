"""A part of CIFAR-100: all classes of some of its twenty groups, for studies of a class tree."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
from jaxtyping import UInt8

from kdbench.api import DataSet, Rows, hookimpl
from kdbench_datasets.hub import CIFAR100
from kdbench_datasets.rows import Split

_WHOLE = CIFAR100()
_OF_CLASS = np.asarray(_WHOLE.class_tree)
_TOTAL = int(_OF_CLASS.max()) + 1


@final
@dataclass(frozen=True)
class CIFAR100Groups(DataSet):
    """The classes of CIFAR-100's first coarse labels, five each (Krizhevsky 2009).

    Classes are renumbered in their own order, and rows keep theirs. Means are those of all of
    CIFAR-100.

    Attributes:
        groups: How many coarse labels, in [2, 20]: 2,500 training and 500 test rows each.
    """

    groups: int = 4

    image_shape = _WHOLE.image_shape
    mean = _WHOLE.mean
    std = _WHOLE.std
    flips = _WHOLE.flips
    licence = _WHOLE.licence
    source = _WHOLE.source

    def __post_init__(self) -> None:
        if not 2 <= self.groups <= _TOTAL:
            raise ValueError(f"groups is in [2, {_TOTAL}], not {self.groups}")

    @property
    def _classes(self) -> list[int]:
        """Numbers of these classes in all of CIFAR-100."""
        part = np.flatnonzero(np.less(_OF_CLASS, self.groups))
        return [int(number) for number in part]

    @property
    def num_classes(self) -> int:  # type: ignore[override]  # a fact of the options
        """Five a group."""
        return len(self._classes)

    @property
    def sizes(self) -> Mapping[str, int]:  # type: ignore[override]  # as above
        """Rows of each split."""
        return MappingProxyType({"train": 500 * self.num_classes, "test": 100 * self.num_classes})

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # as above
        """As CIFAR-100 names them."""
        return tuple(_WHOLE.class_names[number] for number in self._classes)

    @property
    def class_tree(self) -> tuple[int, ...]:  # type: ignore[override]  # as above
        """Coarse label of each class."""
        return tuple(int(_OF_CLASS[number]) for number in self._classes)

    def prepare(self, root: str) -> None:
        """As for all of CIFAR-100."""
        _WHOLE.prepare(root)

    def load(self, root: str, split: Split) -> Rows:
        """Their rows among all of CIFAR-100."""
        return Chosen(_WHOLE.load(root, split), self._classes)


@final
class Chosen(Rows):
    """The rows of some classes, renumbered.

    Args:
        rows: All of them.
        classes: Those that are kept, rising; their places become the labels.
    """

    def __init__(self, rows: Rows, classes: Sequence[int]) -> None:
        self._rows, self._kept = rows, np.flatnonzero(np.isin(rows.labels, classes))
        self.labels = np.searchsorted(classes, rows.labels[self._kept]).astype(np.int64)
        self.digest = hashlib.sha256(f"{rows.digest} {[*classes]}".encode()).hexdigest()

    def images(self, rows: Sequence[int]) -> UInt8[np.ndarray, "rows height width channels"]:
        """Decoded pixels of these rows."""
        return self._rows.images([int(self._kept[row]) for row in rows])


@hookimpl
def kdbench_datasets() -> Iterator[tuple[str, DataSet]]:
    """One data set, whose option says how much of CIFAR-100 it holds."""
    yield "cifar100_groups", CIFAR100Groups()
