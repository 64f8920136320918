"""Handwritten digits that come with scikit-learn: 1797 real images, 8 x 8 gray, no network.

Order of the rows: within a class by the SHA-256 of the text `digits/<row in scikit-learn>`, and the
classes dealt out evenly, so that every prefix holds the classes in proportion (within one row). The
first 900 rows are the train split, the other 897 the test split.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import final

import numpy as np
from jaxtyping import Int, UInt8

from kdbench.api import DataSet, Rows, hookimpl
from kdbench_datasets.rows import Split, checked


@lru_cache(maxsize=1)
def _table() -> tuple[UInt8[np.ndarray, "1797 8 8 1"], Int[np.ndarray, " 1797"]]:
    """All images and labels, in the documented order."""
    from sklearn.datasets import load_digits  # a second to import; other data sets do without

    bunch = load_digits()
    labels = np.asarray(bunch.target, np.int64)
    place: dict[int, tuple[float, str]] = {}
    for label in range(10):
        rows = np.flatnonzero(labels == label).tolist()
        hashes = {row: hashlib.sha256(f"digits/{row}".encode()).hexdigest() for row in rows}
        for rank, row in enumerate(sorted(hashes, key=hashes.__getitem__)):
            place[row] = ((rank + 0.5) / len(hashes), hashes[row])
    order = sorted(place, key=place.__getitem__)
    # the only half is 8 x 255 / 16 = 127.5, which rounds to 128 both upwards and to even
    images = np.round(np.asarray(bunch.images) * 255 / 16).astype(np.uint8)[..., None]
    return images[order], labels[order]


@final
class _Digits(Rows):
    """Rows that are already decoded."""

    def __init__(
        self, images: UInt8[np.ndarray, "rows 8 8 1"], labels: Int[np.ndarray, " rows"]
    ) -> None:
        self._images, self.labels = images, labels
        self.digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()

    def images(self, rows: Sequence[int]) -> UInt8[np.ndarray, "rows 8 8 1"]:
        """Pixels of these rows."""
        return self._images[np.asarray(rows, np.int64)]


@final
@dataclass(frozen=True)
class Digits(DataSet):
    """Handwritten digits, 8 x 8 gray (Alpaydin & Kaynak 1998, doi:10.24432/C50P49).

    Their 0 ... 16 is scaled to 0 ... 255.
    """

    num_classes = 10
    image_shape = (1, 8, 8)
    sizes = MappingProxyType({"train": 900, "test": 897})
    mean = (0.3051,)
    std = (0.3757,)
    flips = False
    class_names = tuple("0123456789")
    class_tree = None
    licence = "CC BY 4.0"
    source = "https://archive.ics.uci.edu/dataset/80, the part that scikit-learn ships"

    def load(self, root: str, split: Split) -> Rows:
        """The rows of one split; `root` is not used."""
        images, labels = _table()
        part = slice(0, 900) if split == "train" else slice(900, None)
        return checked(_Digits(images[part], labels[part]), self, split, "digits")


@hookimpl
def kdbench_datasets() -> Iterator[tuple[str, DataSet]]:
    """The data set by name."""
    yield "digits", Digits()
