"""Random numbers of a transfer policy, by (seed, purpose, epoch, row), drawn on the host."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdbench.data.seed import derive_seed


@final
@dataclass(frozen=True, slots=True)
class Draws:
    """The `kdbench.api.Draw` of one policy, epoch and batch.

    Attributes:
        seed: Of the policy.
        epoch: Which pass over the rows.
        numbers: Of the batch's rows, on the device.
        size: One more than the largest number there is.
        shape: Channels, height, width.
        tables: What was drawn for all rows of this epoch already, by policy, purpose and count.
    """

    seed: int
    epoch: int
    numbers: Int[Tensor, " batch"]
    size: int
    shape: tuple[int, int, int]
    tables: MutableMapping[tuple[int, str, int], Tensor]

    def rows(self, purpose: str, count: int | None = None) -> Float[Tensor, "batch ..."]:
        """Uniform numbers in [0, 1): one a row, or `count` a row."""
        each = 1 if count is None else count
        key = self.seed, purpose, each
        if key not in self.tables:
            # word by word: those of a row do not depend on how many rows there are
            drawn = _uniform(derive_seed(self.seed, purpose, each, self.epoch), self.size * each)
            self.tables[key] = drawn.view(self.size, each).to(self.numbers.device)
        found = self.tables[key].index_select(0, self.numbers)
        return found[:, 0] if count is None else found

    def batch(self, purpose: str) -> Float[Tensor, ""]:
        """One uniform number in [0, 1) for the whole batch."""
        return self.rows(purpose)[0]

    def permutation(self, purpose: str) -> Int[Tensor, " batch"]:
        """The places of the batch in random order."""
        return self.rows(purpose).argsort(stable=True)

    def seeds(self, purpose: str) -> list[int]:
        """A seed a row."""
        return [self._seed(purpose, row) for row in self.numbers.tolist()]

    def noise(
        self, purpose: str, chosen: Bool[Tensor, " batch"]
    ) -> Float[Tensor, "chosen channels height width"]:
        """Images of uniform pixels in [0, 1), for the chosen rows."""
        rows, pixels = self.numbers[chosen].tolist(), int(np.prod(self.shape))
        drawn = [_uniform(self._seed(purpose, row), pixels).view(self.shape) for row in rows]
        images = torch.stack(drawn) if drawn else torch.empty(0, *self.shape)
        return images.to(self.numbers.device)

    def _seed(self, purpose: str, row: int) -> int:
        return derive_seed(self.seed, purpose, self.epoch, row)


def _uniform(seed: int, count: int) -> Float[Tensor, " count"]:
    """So many uniform numbers in [0, 1): 24 bits each, so that float32 rounds none to 1."""
    words = np.asarray(np.random.Philox(key=seed).random_raw(count), np.uint64)
    return torch.from_numpy((words >> np.uint64(40)).astype(np.float32)) * 2.0**-24
