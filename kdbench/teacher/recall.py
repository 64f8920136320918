"""A teacher's answers to the views of a transfer set: asked once, then read.

Crop and flip give a row finitely many views, so that an answer serves every epoch, seed and method
that sees the view again. A second view is drawn anew by (seed, epoch, row); its answer serves every
method of that seed. What is missing is asked ahead, a stretch of the epoch at a time, in batches of
the teacher's own size.
"""

import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from filelock import FileLock, Timeout
from jaxtyping import Int
from torch import Tensor

from kdbench.api import Outputs
from kdbench.data import Views
from kdbench.errors import DataError
from kdbench.record import TrainingProtocol, fingerprint
from kdbench.teacher.answers import Answers
from kdbench.train import Asked, Teach

STRETCH = 1024
"""Rows that are asked ahead."""
CHECKED = 64
"""Kept answers that are asked again when a folder is opened."""
BATCH = {"cpu": 64, "cuda": 1024}
"""The teacher's own batch size."""
_LOCKS = 64


@dataclass(slots=True)
class Tally:
    """What became of the rows that were asked for.

    Attributes:
        read: Answers read.
        asked: Answers that the teacher gave to be kept.
        passed: Answers that the teacher gave in the step, because there was no room for them.
        asking, reading: Seconds spent.
    """

    read: int = 0
    asked: int = 0
    passed: int = 0
    asking: float = 0.0
    reading: float = 0.0


def opened(
    cache: Path, live: Teach, views: Views, protocol: TrainingProtocol, total: int, *,
    card: dict[str, Any], classes: int, pooled: int, most_bytes: int,
) -> "Recall | None":  # fmt: skip
    """The teacher by its kept answers; None where they depend on who is asked with whom.

    Args:
        cache: Folder of what can be made again.
        live, views, protocol, total, classes: As for `Recall`.
        card: All that decides the answers, but for the views.
        pooled: Pooled features a row.
        most_bytes: Of the answers to each kind of view.

    Raises:
        DataError: The answers there are not what this teacher says.
        StoreError: The cache cannot be written.
    """
    card |= {"answers": protocol.answers, "precision": protocol.precision}
    first = card | {"views": {"shift": views.shift, "flip": views.flip}}
    second = first | {"second": {"seed": views.seed}}
    rows, dtype = len(views.labels), getattr(torch, protocol.answers)
    epochs = -(-total // protocol.steps_per_epoch(len(views)))
    plain, strong = (
        Answers(
            cache / "answers" / fingerprint(one), one, keys=rows * times, width=classes + pooled,
            dtype=dtype, most_bytes=most_bytes,
        )
        for one, times in ((first, views.per_row), (second, epochs))
    )  # fmt: skip
    found = Recall(live, views, plain, strong, protocol, total, classes)
    found.check()
    return found if found.steady else None


@final
class Recall:
    """The shared teacher as the loop asks it, by answers that are kept.

    Args:
        live: The teacher itself.
        views: The stream's rows.
        plain: Answers to views, by row and view.
        second: Answers to second views, by epoch and row.
        protocol: Of the students' training.
        total: Updates of the whole budget: nothing is asked ahead that no step will see.
        classes: Logits a row; the pooled features lie behind them.
    """

    def __init__(
        self, live: Teach, views: Views, plain: Answers, second: Answers,
        protocol: TrainingProtocol, total: int, classes: int,
    ) -> None:  # fmt: skip
        self._live, self._views, self._plain, self._second = live, views, plain, second
        self._protocol, self._total, self._classes = protocol, total, classes
        self._own = BATCH[views.device.type]
        self._epoch, self._place = -1, torch.empty(0)
        self._order: Tensor = torch.empty(0)
        self.tally = Tally()

    def __call__(self, asked: Asked) -> Outputs:
        """The teacher's answer."""
        if asked.anchor != 1.0 or asked.statistics != "running":
            return self._live(asked)
        if asked.second:
            return self._of_second(asked)
        keys = self._views.keys(asked.rows, asked.epoch)
        if not self._plain.known(keys).all():
            start = time.perf_counter()
            self._ahead(asked)
            self.tally.asking += time.perf_counter() - start
        if not self._plain.known(keys).all():
            self.tally.passed += len(keys)
            return self._live(asked)
        return self._read(self._plain, keys)

    @property
    def steady(self) -> bool:
        """Whether the teacher says the same of a row whichever rows it is asked with.

        To the bit on the CPU, where a student by kept answers then has the bits of one by live
        ones; elsewhere kernels are chosen by the batch's size, and rounding differs.
        """
        if self._views.device.type != "cpu":
            return True
        size = self._protocol.batch_size
        rows = self._views.order(0)[: max(size, self._own)]
        images, kept = self._views.batch(rows, 0), self._alone(rows, 0)
        return all(
            torch.equal(kept[:n], self._said(images[:n], rows[:n], 0))
            for n in {min(size, len(rows)), len(self._views) % size or size}
        )

    def check(self) -> None:
        """Ask a few of the kept answers again.

        Raises:
            DataError: The teacher says anything else now.
        """
        generator = torch.Generator().manual_seed(0)
        keys = self._plain.sample(CHECKED, generator)
        if not len(keys):
            return
        rows, ids = keys // self._views.per_row, keys % self._views.per_row
        here = self._views.has(rows)
        keys, rows, ids = keys[here], rows[here], ids[here]
        if not len(keys):
            return
        kept = self._plain.read(keys).float()
        said = self._said(self._views.at(rows, ids), rows, 0)
        limit = (2e-3 if self._plain.dtype == torch.float16 else 1e-4) * said.abs().max()
        if wrong := int((~((kept - said).abs().amax(1) <= limit)).sum()):  # a NaN is wrong too
            raise DataError(
                f"{self._plain.folder} is not what this teacher says",
                f"{wrong} of {len(keys)} answers differ",
                "remove the folder; it is filled again",
            )

    def _ahead(self, asked: Asked) -> None:
        """Ask the missing answers of a stretch of the epoch from this batch on.

        Where another process is at that stretch, the next one that nobody is at is asked instead,
        and then the other is waited for.
        """
        self._begin(asked.epoch)
        first = int(self._place[asked.rows[0]]) // STRETCH
        for stretch in range(first, -(-len(self._order) // STRETCH)):
            try:
                with self._claim(stretch).acquire(timeout=0):
                    done = self._fill(stretch)
            except Timeout:
                continue
            if done:
                break
        with self._claim(first):
            self._fill(first)

    def _begin(self, epoch: int) -> None:
        """The rows that this epoch's steps will see, in their order."""
        if epoch == self._epoch:
            return
        each = self._protocol.steps_per_epoch(len(self._views))
        steps = min(each, self._total - epoch * each)
        order = self._views.order(epoch).cpu()[: steps * self._protocol.batch_size]
        self._place = torch.zeros(len(self._views.labels), dtype=torch.int64)
        self._place[order] = torch.arange(len(order))
        self._epoch, self._order = epoch, order

    def _claim(self, stretch: int) -> FileLock:
        name = f"{self._views.seed}-{self._epoch}-{stretch}"
        return FileLock(self._plain.folder / f"stretch-{zlib.crc32(name.encode()) % _LOCKS}")

    def _fill(self, stretch: int) -> int:
        """Ask what is missing of this stretch; how many answers that were."""
        rows = self._order[stretch * STRETCH : (stretch + 1) * STRETCH]
        keys = self._views.keys(rows, self._epoch)
        missing = ~self._plain.known(keys)
        rows, keys = rows[missing], keys[missing]
        if len(rows):
            self.tally.asked += self._plain.keep(keys, self._alone(rows, self._epoch))
        return len(rows)

    def _of_second(self, asked: Asked) -> Outputs:
        keys = asked.epoch * len(self._views.labels) + asked.rows.cpu()
        missing = ~self._second.known(keys)
        if missing.any():
            start = time.perf_counter()
            said = self._live(asked)
            rows = torch.cat([said.logits, said.pooled], 1).cpu()
            self.tally.asked += self._second.keep(keys[missing], rows[missing])
            self.tally.asking += time.perf_counter() - start
            return said
        return self._read(self._second, keys)

    def _alone(self, rows: Tensor, epoch: int) -> Tensor:
        """What the teacher says of these views in full batches of its own size.

        The last one is filled up: a kernel for fewer rows may round in another way.
        """
        said = []
        for some in rows.to(self._views.device).split(self._own):
            full = some.repeat(-(-self._own // len(some)))[: self._own]
            said.append(self._said(self._views.batch(full, epoch), full, epoch)[: len(some)])
        return torch.cat(said)

    def _said(self, images: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """What the teacher says of these images, a row each, on the host."""
        said = self._live(Asked(1.0, "running", images, rows, epoch, False))
        return torch.cat([said.logits, said.pooled], 1).cpu()

    def _read(self, answers: Answers, keys: Int[Tensor, " batch"]) -> Outputs:
        start = time.perf_counter()
        rows = answers.read(keys).float().to(self._views.device)
        logits, pooled = rows[:, : self._classes], rows[:, self._classes :]
        self.tally.read += len(rows)
        said = Outputs(logits=logits.contiguous(), pooled=pooled.contiguous())
        self.tally.reading += time.perf_counter() - start
        return said
