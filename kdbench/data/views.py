"""Rows on the device -> batches of shifted, mirrored views, each drawn by (seed, epoch, row).

The view of a row is drawn by a counter: word `row` of a Philox stream keyed by (seed, "views",
epoch). It depends neither on the batch nor on which other rows take part, and is drawn on the host,
so every device sees the same views and a teacher's answer to one can be kept. A view is bit for bit
what torchvision's pad, crop and hflip give on uint8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdbench.api import Seen, Transfer
from kdbench.data.decoded import require_memory
from kdbench.data.draws import Draws
from kdbench.data.policy import shown
from kdbench.data.seed import derive_seed
from kdbench.data.split import Split


@dataclass(frozen=True, slots=True)
class _Epoch:
    """What was drawn for one epoch: each row's view, and the pixel at which its window starts."""

    number: int
    ids: Int[Tensor, " rows"]
    starts: Int[Tensor, " rows"]


@final
class Views:
    """The views of a transfer set; its padded (and mirrored) uint8 pixels stay on the device.

    Rows are given by their numbers in `split` throughout, also where only some of them take part.

    Args:
        split: Where the rows lie.
        rows: Which of them take part.
        shift: Zero padding in pixels on each side, of which a window of the image's size is cut at
            random.
        flip: Mirror with probability 1/2.
        device: Of the pixels and of all tensors given back.
        seed: Of the trial; order and views derive from it by name.
        policy: Transfer policies by name, in the order in which each sees what the last one made.
        own: Rows of the split from this number on have no label; None where all have one.

    Attributes:
        labels: Class of each row of the split, by its number.
        per_row: Number of different views of a row, (2 shift + 1)^2, twice that with `flip`.
    """

    def __init__(
        self,
        split: Split,
        rows: Sequence[int] | slice | Int[Tensor, " rows"],
        *,
        shift: int,
        flip: bool,
        device: torch.device | str,
        seed: int,
        policy: Mapping[str, Transfer] | None = None,
        own: int | None = None,
    ) -> None:
        numbers = range(len(split))[rows] if isinstance(rows, slice) else rows
        self._rows = np.asarray(numbers, np.int64)
        self.device, self.seed, self.shift, self.flip = torch.device(device), seed, shift, flip
        self._policy, self._own = dict(policy or {}), own
        self._tables: tuple[int, dict[tuple[int, str, int], Tensor]] = (-1, {})
        self._sides = 2 * shift + 1
        self.per_row = self._sides**2 * (1 + flip)
        _, self._channels, self._height, self._width = split.images.shape
        # pixels a padded line; a padded image, after which its mirror image lies; a row
        self._line = self._width + 2 * shift
        self._mirror = self._line * (self._height + 2 * shift)
        pixels = self._mirror * (1 + flip)
        if self.device.type == "cpu":
            require_memory(len(self._rows) * pixels * self._channels, "the padded transfer set")
        self._lines = self._pad(split)
        self.labels = split.labels.to(self.device)
        # first pixel of each row by its number; -1 for a row that takes no part, which no gather
        # accepts
        base = np.full(int(self._rows.max()) + 1, -1, np.int64)
        base[self._rows] = np.arange(len(self._rows)) * pixels
        self._base = torch.from_numpy(base)
        self._plain = self._starts(torch.full_like(self._base, self.plain_id), self._base)
        self._offsets = torch.arange(self._height, device=self.device) * self._line * self._channels
        self._epoch: _Epoch | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, rows: Int[Tensor, " batch"]) -> Bool[Tensor, " batch"]:
        """Which of these rows take part."""
        return torch.from_numpy(np.isin(rows.numpy(), self._rows))

    @property
    def hidden(self) -> bool:
        """Whether a policy hides all labels."""
        return any(one.hides for one in self._policy.values())

    @property
    def unlabelled(self) -> bool:
        """Whether a policy leaves no row of a batch its label."""
        return self.hidden or any(one.mixes for one in self._policy.values())

    @property
    def plain_id(self) -> int:
        """Id of the view that is the image itself."""
        return self._id(self.shift, self.shift, 0)

    def order(self, epoch: int) -> Int[Tensor, " rows"]:
        """The rows in this epoch's order, by (seed, epoch); without some, the others keep it."""
        keys = self._words("order", epoch)[self._rows]
        return torch.from_numpy(self._rows[np.argsort(keys, kind="stable")]).to(self.device)

    def ids(self, epoch: int) -> Int[Tensor, " rows"]:
        """Id of the view, in [0, per_row), of each row by its number, on the host.

        It is (dy (2 shift + 1) + dx) 2 + mirrored, without `flip` dy (2 shift + 1) + dx.
        """
        return self._drawn(epoch).ids

    def batch(
        self, rows: Int[Tensor, " batch"], epoch: int
    ) -> Float[Tensor, "batch channels height width"]:
        """These rows' views in this epoch, channels_last; exactly `uint8.float() / 255`."""
        return self._gather(self._drawn(epoch).starts.index_select(0, rows))

    def unchanged(
        self, rows: Int[Tensor, " batch"], images: Float[Tensor, "batch channels height width"]
    ) -> Seen:
        """These rows by these images, which no policy has changed."""
        own = -1 if self.hidden else self._own
        labelled = torch.ones_like(rows, dtype=torch.bool) if own is None else rows < own
        return Seen(images=images, labelled=labelled, index=rows.clone())

    def seen(self, rows: Int[Tensor, " batch"], epoch: int) -> Seen:
        """These rows in this epoch as the policies show them."""
        found = self.unchanged(rows, self.batch(rows, epoch))
        if self._tables[0] != epoch:
            self._tables = epoch, {}
        shape = self._channels, self._height, self._width
        for name, one in self._policy.items():
            seed = derive_seed(self.seed, "transfer", name)
            draws = Draws(seed, epoch, rows, len(self._base), shape, self._tables[1])
            found = shown(name, one, found, draws)
        return found

    def at(
        self, rows: Int[Tensor, " batch"], ids: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels height width"]:
        """These views of these rows, both on the host, otherwise like `batch`."""
        return self._gather(self._starts(ids, self._base[rows]))

    def keys(self, rows: Int[Tensor, " batch"], epoch: int) -> Int[Tensor, " batch"]:
        """One number, on the host, for a row and its view in this epoch: row x per_row + id."""
        rows = rows.cpu()
        return rows * self.per_row + self.ids(epoch)[rows]

    def plain(self, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch channels height width"]:
        """The images of these rows as they are, otherwise like `batch`."""
        return self._gather(self._plain.index_select(0, rows))

    def _words(self, purpose: str, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """One random word for each row number; word i does not depend on how many there are."""
        stream = np.random.Philox(key=derive_seed(self.seed, purpose, epoch))
        return np.asarray(stream.random_raw(len(self._base)), np.uint64)

    def _drawn(self, epoch: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != epoch:
            # 2**64 is so much larger than per_row that the remainder's bias is below 1e-15
            ids = torch.from_numpy((self._words("views", epoch) % self.per_row).astype(np.int64))
            self._epoch = _Epoch(epoch, ids, self._starts(ids, self._base))
        return self._epoch

    def _id(self, dy: int, dx: int, mirrored: int) -> int:
        return (dy * self._sides + dx) * (1 + self.flip) + mirrored

    def _starts(
        self, ids: Int[Tensor, " rows"], base: Int[Tensor, " rows"]
    ) -> Int[Tensor, " rows"]:
        """Offset of the first value of each row's window; negative for a row that takes no part."""
        mirrored = ids % 2 if self.flip else torch.zeros_like(ids)
        place = ids // (1 + self.flip)
        dy, dx = place // self._sides, place % self._sides
        # mirroring comes after the crop: in the mirrored image the window lies at the mirrored
        # place
        dx = torch.where(mirrored.bool(), 2 * self.shift - dx, dx)
        start = (base + mirrored * self._mirror + dy * self._line + dx) * self._channels
        return torch.where(base < 0, -(2**62), start).to(self.device)

    def _pad(self, split: Split) -> Tensor:
        """Every run of one image line's length in the padded pixels, as an overlapping view."""
        s, h, w = self.shift, self._height, self._width
        first, count = int(self._rows[0]), len(self._rows)
        consecutive = np.array_equal(self._rows, np.arange(first, first + count))
        which = slice(first, first + count) if consecutive else torch.from_numpy(self._rows)
        chosen = split.images[which]
        shape = (count, 1 + self.flip, h + 2 * s, w + 2 * s, self._channels)
        padded = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        pixels = chosen.permute(0, 2, 3, 1).to(self.device)
        padded[:, 0, s : s + h, s : s + w] = pixels
        if self.flip:
            padded[:, 1, s : s + h, s : s + w] = pixels.flip(2)
        flat, run = padded.view(-1), w * self._channels
        return flat.as_strided((flat.numel() - run + 1, run), (1, 1))

    def _gather(
        self, starts: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels height width"]:
        lines = self._lines.index_select(0, (starts[:, None] + self._offsets).view(-1))
        images = lines.view(len(starts), self._height, self._width, self._channels)
        return images.permute(0, 3, 1, 2).float().div_(255)
