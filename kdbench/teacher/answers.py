"""Answers kept on disk under integer keys, appended by any number of processes at once.

A folder holds an index with a place for every possible key (0: absent; n: slot n - 1), the slots in
the order in which they were filled, and how many are taken. Slots are written before the index says
so, and each bears a seal of its key and content: neither a process that dies in between nor a
machine that forgets what it had not yet put on disk leaves a wrong answer, only an absent one.
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

_CHUNK = 2**20


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
        self._slot = np.dtype([("seal", np.uint32), ("row", kind, (width,))])
        self._most = max(1, min(keys, most_bytes // self._slot.itemsize, 2**31 - 2))
        self._lock = FileLock(folder / "lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._lock:
                if not (folder / "card.json").exists():
                    said = json.dumps(card, indent=1).encode()
                    write_atomically(folder / "card.json", said, "KDBENCH_CACHE")
                # Written whole: a full disk is an error here, and would be the process's end later.
                # The first row too, which is read for all that is absent: in memory's own file
                # system, reading what was never written takes space.
                _grow(folder / "index", 4 * keys, sparse=False)
                _grow(folder / "taken", 8, sparse=False)
                _grow(folder / "rows", self._slot.itemsize, sparse=False)
                _grow(folder / "rows", self._most * self._slot.itemsize, sparse=True)
        except OSError as error:
            raise self.unwritable(error) from error
        self._index = np.memmap(folder / "index", np.int32, "r+", shape=(keys,))
        self._taken = np.memmap(folder / "taken", np.int64, "r+")
        self._slots = np.memmap(folder / "rows", self._slot, "r")

    def __len__(self) -> int:
        return int(np.count_nonzero(self._index))

    @property
    def room(self) -> int:
        """How many more rows are kept."""
        return max(0, self._most - int(self._taken[0]))

    def read(
        self, keys: Int[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows width"], Bool[Tensor, " rows"]]:
        """The rows of these keys, and which of them are there; what is not there is anything."""
        slots = self._index[keys.numpy()]
        # a process with a higher bound may have filled slots that are not mapped here
        here = (slots > 0) & (slots <= len(self._slots))
        found = self._slots[np.where(here, slots - 1, 0)]
        rows = np.ascontiguousarray(found["row"])
        here &= found["seal"] == _seal(keys.numpy(), rows)
        return torch.from_numpy(rows).float(), torch.from_numpy(here)

    def keep(self, keys: Int[Tensor, " rows"], rows: Float[Tensor, "rows width"]) -> int:
        """Keep the rows of keys that have none, as long as there is room; how many that were.

        Raises:
            StoreError: The disk is full.
        """
        with self._lock:
            new = ~self.read(keys)[1]
            new &= new.cumsum(0) <= self.room
            keys, rows = keys[new], rows[new]
            first = int(self._taken[0])
            self._taken[0] = first + len(keys)
            slots = np.empty(len(keys), self._slot)
            slots["row"] = rows.to(self.dtype).numpy()
            slots["seal"] = _seal(keys.numpy(), np.ascontiguousarray(slots["row"]))
            try:
                with (self.folder / "rows").open("r+b") as file:
                    file.seek(first * self._slot.itemsize)
                    file.write(slots.tobytes())
            except OSError as error:
                raise self.unwritable(error) from error
            self._index[keys.numpy()] = np.arange(first + 1, first + len(keys) + 1)
        return len(keys)

    def sample(self, count: int) -> Int[Tensor, " rows"]:
        """So many keys that have a row, or all of them; others each time."""
        known = np.flatnonzero(self._index)
        chosen = np.random.default_rng().permutation(known)[:count]
        return torch.from_numpy(chosen)

    def unwritable(self, error: OSError) -> StoreError:
        """What a refusal by the file system is to the user."""
        if isinstance(error, FileNotFoundError):
            what = f"{self.folder} was removed while it was used"
            return StoreError(what, str(error), "run again: it is made anew")
        then = "free space there, or choose another place with KDBENCH_CACHE"
        return StoreError(f"cannot write {self.folder}", str(error), then)


def _seal(keys: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A sum over keys and content that is not 0 for a row of zeros."""
    sums: np.ndarray[Any, Any] = rows.view(np.uint16).sum(1, dtype=np.uint32)
    sums += (keys + 1).astype(np.uint32)
    return sums


def _grow(path: Path, size: int, *, sparse: bool) -> None:
    """Have a file of at least this size; new places are 0."""
    with path.open("ab") as file:
        lacking = size - file.seek(0, 2)
        if sparse and lacking > 0:
            file.truncate(size)
            return
        while lacking > 0:
            lacking -= file.write(bytes(min(lacking, _CHUNK)))
