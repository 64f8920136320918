"""The teacher's answers to the views of an epoch: what is not kept is asked, ahead and once.

An epoch's views are known before its first step. So the teacher is asked a stretch of them at a
time, in batches of its own size; processes that take the same steps share the stretches.
"""

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from filelock import FileLock, Timeout
from jaxtyping import Float, Int
from torch import Tensor

from kdbench.data import Views, strengthened
from kdbench.record import TrainingProtocol
from kdbench.teacher.answers import Answers
from kdbench.train import Asked, Teach

STRETCH = 1024
"""Rows that are asked ahead on the CPU; elsewhere it is a whole epoch."""
BATCH = {"cpu": 1, "cuda": 1024}
"""The teacher's own batch size; at least the protocol's."""
_LOCKS = 64
_PATIENCE = 1.0


@dataclass(slots=True)
class Tally:
    """What became of the rows that were asked for.

    Attributes:
        read: Answers given to the loop.
        asked: Answers that the teacher was asked for here, to be kept.
        passed: Answers that the teacher was asked for, and that there was no room to keep.
        asking: Seconds spent on having answers kept, or on waiting for another process to.
        reading: Seconds spent on all else.
    """

    read: int = 0
    asked: int = 0
    passed: int = 0
    asking: float = 0.0
    reading: float = 0.0


@final
class Ahead:
    """The answers to one kind of view, first or second, by epoch and row.

    Args:
        live: The teacher itself.
        views: The stream's rows.
        answers: What is kept.
        protocol: Of the students' training.
        total: Updates of the whole budget: nothing is asked that no step will see.
        second: Whether it is second views that are asked for.
        beat: Called now and then while the teacher works.
        sure: Called before answers are asked that are kept; raises where the teacher has moved.
    """

    def __init__(
        self, live: Teach, views: Views, answers: Answers, protocol: TrainingProtocol, total: int,
        *, second: bool, tally: Tally, beat: Callable[[], None],
        sure: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._live, self._views, self._protocol, self._total = live, views, protocol, total
        self.answers, self._second, self._tally, self._beat = answers, second, tally, beat
        self.own, self._epoch = max(BATCH[views.device.type], protocol.batch_size), -1
        self._sure = sure
        self._page, self._brought = torch.empty(0), set[int]()
        self._order = self._place = torch.empty(0, dtype=torch.int64)
        self._stretch = 1

    def __call__(self, rows: Int[Tensor, " batch"], epoch: int) -> Float[Tensor, "batch width"]:
        """Logits and pooled features, side by side, to these rows' views in this epoch."""
        if epoch != self._epoch:
            self._begin(epoch)
        for stretch in self._stretches(rows):
            if stretch not in self._brought:
                self._bring(stretch)
        return self._page.index_select(0, rows)

    def ask(self, rows: Int[Tensor, " some"], epoch: int) -> Float[Tensor, "some width"]:
        """The teacher's own word on a batch, on the host."""
        rows = rows.to(self._views.device)
        images = self._views.batch(rows, epoch)
        if self._second:
            images = strengthened(images, rows, self._views.seed, epoch)
        said = self._live(Asked(1.0, "running", images, rows, epoch, self._second))
        self._beat()
        return torch.cat([said.logits, said.pooled], 1).cpu()

    def _begin(self, epoch: int) -> None:
        """Open an epoch: the rows that its steps will see, in their order."""
        each = self._protocol.steps_per_epoch(len(self._views))
        steps = min(each, self._total - epoch * each)
        order = self._views.order(epoch).cpu()[: steps * self._protocol.batch_size]
        on_host = self._views.device.type == "cpu"
        self._stretch = min(STRETCH, len(order)) if on_host else len(order)
        self._place = torch.zeros(len(self._views.labels), dtype=torch.int64)
        self._place[order] = torch.arange(len(order))
        self._epoch, self._order, self._brought = epoch, order, set()

    def _stretches(self, rows: Tensor) -> list[int]:
        """In which these rows lie; where there is but one, nobody waits for the device to tell."""
        if self._stretch == len(self._order):
            return [0]
        found: list[int] = (self._place[rows] // self._stretch).unique().tolist()
        return found

    def _bring(self, stretch: int) -> None:
        """Have a stretch's answers at hand."""
        start = time.perf_counter()
        rows = self._rows(stretch)
        if self.answers.room:
            self._ahead(stretch)
        said, there = self.answers.read(self._keys(rows))
        for some in self._batches((~there).nonzero()[:, 0]):
            said[some] = self.ask(rows[some], self._epoch)
            self._tally.passed += len(some)
        self._tally.asking += time.perf_counter() - start
        device = self._views.device
        if not len(self._page):
            self._page = torch.empty(len(self._views.labels), said.shape[1], device=device)
        self._page[rows.to(device)] = said.to(device)
        self._brought.add(stretch)

    def _ahead(self, stretch: int) -> None:
        """Have a stretch's answers kept."""
        if not len(self._missing(stretch)) or self._fill(stretch):
            return
        # another process is at it: one of the next that nobody is at is asked meanwhile
        later = range(stretch + 1, -(-len(self._order) // self._stretch))
        any(len(self._missing(one)) and self._fill(one) for one in later)
        self._fill(stretch, wait=True)

    def _fill(self, stretch: int, *, wait: bool = False) -> bool:
        """Ask what is missing of a stretch; False where another process is at it."""
        name = f"{self._views.seed}-{self._epoch}-{stretch}"
        number = zlib.crc32(name.encode()) % _LOCKS
        claim = FileLock(self.answers.folder / f"stretch-{number}")
        while not claim.is_locked:
            try:
                claim.acquire(timeout=_PATIENCE if wait else 0)
            except Timeout:
                self._beat()
                if not wait:
                    return False
        try:
            self._sure()
            for some in self._batches(self._missing(stretch)[: self.answers.room]):
                said = self.ask(some, self._epoch)
                self._tally.asked += self.answers.keep(self._keys(some), said)
        finally:
            claim.release()
        return True

    def _batches(self, these: Int[Tensor, " some"]) -> Iterator[Int[Tensor, " batch"]]:
        """These in batches of the teacher's own size, the last one as it is."""
        for start in range(0, len(these), self.own):
            yield these[start : start + self.own]

    def _missing(self, stretch: int) -> Int[Tensor, " some"]:
        rows = self._rows(stretch)
        return rows[~self.answers.read(self._keys(rows))[1]]

    def _rows(self, stretch: int) -> Int[Tensor, " stretch"]:
        return self._order[stretch * self._stretch : (stretch + 1) * self._stretch]

    def _keys(self, rows: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
        if self._second:
            return self._epoch * len(self._views.labels) + rows
        return self._views.keys(rows, self._epoch)
