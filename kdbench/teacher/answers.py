"""Answers kept on disk under integer keys, appended by any number of processes at once.

A folder holds an index with a place for every possible key (0: absent; n: slot n - 1), the slots in
the order in which they were filled, and how many are taken. The files are sparse: only what is
filled takes space. Slots are reserved under a lock and published in the index after they are
written, so a process that dies in between costs slots and no more.
"""

import json
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdbench.errors import StoreError
from kdbench.record import write_atomically


@final
class Answers:
    """Rows of numbers by key, in one folder.

    Args:
        folder: Made if it is not there.
        card: What the rows are, in words, kept beside them.
        keys: Keys are from 0 up to here.
        width: Numbers a row.
        dtype: Of the rows on disk.
        most_bytes: Of all rows; beyond, new ones are not kept.

    Raises:
        StoreError: The folder cannot be written.
    """

    def __init__(
        self, folder: Path, card: dict[str, Any], *, keys: int, width: int, dtype: torch.dtype,
        most_bytes: int,
    ) -> None:  # fmt: skip
        kind = np.dtype(str(dtype).removeprefix("torch."))
        self.folder, self.dtype = folder, dtype
        self.slots = min(keys, most_bytes // (width * kind.itemsize), 2**31 - 2)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "lock")
            with self._lock:
                if not (folder / "card.json").exists():
                    write_atomically(folder / "card.json", json.dumps(card, indent=1).encode())
            self._index = _mapped(folder / "index", np.dtype(np.int32), (keys,))
            self._taken = _mapped(folder / "taken", np.dtype(np.int64), (1,))
            self._rows = _mapped(folder / "rows", kind, (self.slots, width))
        except OSError as error:
            raise StoreError(f"cannot write {folder}", str(error), "set KDBENCH_CACHE") from error

    def __len__(self) -> int:
        return int(np.count_nonzero(self._index.numpy()))

    def known(self, keys: Int[Tensor, " rows"]) -> Bool[Tensor, " rows"]:
        """Which of these keys have a row."""
        return self._index[keys] > 0

    def read(self, keys: Int[Tensor, " rows"]) -> Float[Tensor, "rows width"]:
        """The rows of keys that have one."""
        return self._rows.index_select(0, self._index[keys].long() - 1)

    def keep(self, keys: Int[Tensor, " rows"], rows: Float[Tensor, "rows width"]) -> int:
        """Keep rows of keys that have none, as long as there is room; how many were kept."""
        with self._lock:
            first = int(self._taken[0])
            count = min(len(keys), self.slots - first)
            self._taken[0] = first + count
        self._rows[first : first + count] = rows[:count].to(self.dtype)
        self._index[keys[:count]] = torch.arange(first + 1, first + count + 1, dtype=torch.int32)
        return count

    def sample(self, count: int, generator: torch.Generator) -> Int[Tensor, " rows"]:
        """So many keys that have a row, or all of them, at random."""
        known = self._index.nonzero()[:, 0]
        return known[torch.randperm(len(known), generator=generator)[:count]]


def _mapped(path: Path, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Tensor:
    """A file as a tensor, shared by all processes; new places are 0."""
    size = dtype.itemsize * int(np.prod(shape))
    with path.open("ab") as file:
        if file.seek(0, 2) < size:
            file.truncate(size)
    return torch.from_numpy(np.memmap(path, dtype, "r+", shape=shape))
