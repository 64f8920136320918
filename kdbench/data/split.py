"""A data set -> its train, validation and test rows as tensors, decoded once and memory-mapped."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from kdbench.api import DataSet, Rows
from kdbench.data.decoded import pixels
from kdbench.errors import ContractError, UsageError


@final
@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set, resident in memory or mapped into it.

    Attributes:
        images: uint8, rows x channels x height x width; channels lie innermost in memory
            (channels_last).
        labels: Class of each row.
        digest: SHA-256 of the shape, pixels and labels of exactly these rows, hex; how they were
            stored does not count.
    """

    images: UInt8[Tensor, "rows channels height width"]
    labels: Int[Tensor, " rows"]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, rows: int) -> "Split":
        """The first so many rows."""
        digest = hashlib.sha256(f"{self.digest}[:{rows}]".encode()).hexdigest()
        return Split(self.images[:rows], self.labels[:rows], digest)


def open_split(
    dataset: DataSet,
    name: str,
    root: str,
    cache: Path,
    split: Literal["train", "test"],
    rows: slice | range | None = None,
) -> Split:
    """The rows of one split; of a part, only that part is decoded.

    Args:
        dataset: Where they come from.
        name: Of the data set, for messages.
        root: Folder of the data sets, or "".
        cache: Folder for decoded pixels.
        split: "train" or "test".
        rows: Consecutive rows, or None for all.

    Raises:
        UsageError: More rows are asked for than there are.
        DataError: The data are missing, broken, or too large for memory.
        ContractError: The data set gives other rows than it declares.
        StoreError: The cache cannot be written.
    """
    source = _held(
        dataset.load(root, split),
        dataset.num_classes,
        dataset.sizes[split],
        f"{split} split of {name}",
    )
    span = rows if isinstance(rows, range) else range(*(rows or slice(None)).indices(len(source)))
    if span.step != 1 or not 0 <= span.start < span.stop <= len(source):
        raise UsageError(
            f"rows {span.start} to {span.stop} of {name} are asked for",
            f"its {split} split has {len(source)}",
            "lower rows or validation_rows",
        )
    array, digest = pixels(source, span, dataset.image_shape, cache, f"{split} split of {name}")
    labels = np.ascontiguousarray(source.labels[span.start : span.stop], dtype="<i8")
    whole = hashlib.sha256(f"{array.shape} {digest} ".encode() + labels.tobytes()).hexdigest()
    return Split(torch.from_numpy(array).permute(0, 3, 1, 2), torch.from_numpy(labels), whole)


def _held(rows: Rows, num_classes: int, size: int, what: str) -> Rows:
    """`rows`, after a last look: a wrong label would only surface as a crash on the device."""
    labels = np.asarray(rows.labels)
    if labels.dtype.kind not in "iu" or labels.shape != (size,):
        raise ContractError(
            f"{what}: load() gave {labels.dtype} labels of shape {labels.shape}",
            f"expected {size} integers",
            "correct load() or sizes of the data set",
        )
    if size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ContractError(
            f"{what}: labels run from {labels.min()} to {labels.max()}",
            f"expected 0 ... {num_classes - 1}",
            "correct load() or num_classes of the data set",
        )
    return rows


@final
@dataclass(frozen=True, eq=False)
class Splits:
    """The three splits of a data set, each opened when first asked for.

    Attributes:
        dataset, name, root, cache: As for `open_split`.
        validation_rows: Rows cut from the end of the training split.
        rows: So many rows from `first` on are all that is asked of `train`; None for all but the
            validation rows.
        first: Number of the first row of `train`.
    """

    dataset: DataSet
    name: str
    root: str
    cache: Path
    validation_rows: int = 0
    rows: int | None = None
    first: int = 0

    def __post_init__(self) -> None:
        kept = self.dataset.sizes["train"] - self.validation_rows
        if not 0 < self.num_train <= kept - self.first:
            raise UsageError(
                f"{self.num_train} training rows and {self.validation_rows} validation rows "
                "are asked for",
                f"the training split of {self.name} has {self.dataset.sizes['train']}",
                "lower rows or validation_rows",
            )

    @property
    def num_train(self) -> int:
        """Rows of `train`; opens nothing."""
        if self.rows is not None:
            return self.rows
        return self.dataset.sizes["train"] - self.validation_rows - self.first

    @cached_property
    def train(self) -> Split:
        """Rows that teachers and students learn from; a transfer set is a prefix of it."""
        span = range(self.first, self.first + self.num_train)
        return open_split(self.dataset, self.name, self.root, self.cache, "train", span)

    @cached_property
    def validation(self) -> Split | None:
        """Rows from the end of the training split, or None if none were asked for."""
        if not self.validation_rows:
            return None
        end = self.dataset.sizes["train"]
        span = range(end - self.validation_rows, end)
        return open_split(self.dataset, self.name, self.root, self.cache, "train", span)

    @cached_property
    def test(self) -> Split:
        """Rows that only measuring may see."""
        return open_split(self.dataset, self.name, self.root, self.cache, "test")


def open_splits(
    dataset: DataSet,
    name: str,
    *,
    root: str,
    cache: Path,
    validation_rows: int,
    rows: int | None = None,
    first: int = 0,
) -> Splits:
    """The three splits, nothing opened yet; `train` is limited to so many `rows` from `first` on.

    Raises:
        UsageError: More rows are asked for than the data set declares.
    """
    return Splits(dataset, name, root, cache, validation_rows, rows, first)


def transfer_rows(n_train: int, protocol_rows: int | None, quiz: float) -> tuple[range, range]:
    """Row numbers of the stream and of the quiz split, which together are the transfer set.

    Args:
        n_train: Rows of the training split, validation rows already cut off.
        protocol_rows: The first so many are the transfer set, or None for all.
        quiz: Share of the transfer set, in [0, 1), that its end gives to the quiz split.

    Raises:
        UsageError: There are not so many rows, or the share leaves one of the two without rows.

    Example:
        >>> transfer_rows(1000, 200, 0.1)
        (range(0, 180), range(180, 200))
    """
    total = n_train if protocol_rows is None else protocol_rows
    held = round(quiz * total)
    if not 0 < total <= n_train:
        raise UsageError(
            f"{total} rows are asked for", f"there are {n_train} to learn from", "lower rows"
        )
    if not 0 <= held < total or (quiz > 0) != (held > 0):
        raise UsageError(
            f"a quiz split of {quiz} x {total} rows", f"it would have {held}", "change quiz or rows"
        )
    return range(total - held), range(total - held, total)
