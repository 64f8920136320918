"""A teacher's answers to the views of a transfer set: asked once, then read.

Crop and flip give a row finitely many views, so that an answer serves every epoch, seed and method
that sees the view again. A second view is drawn anew by (seed, epoch, row); its answer serves every
method of that seed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch

from kdbench.api import Outputs
from kdbench.data import Views, strengthened
from kdbench.errors import DataError
from kdbench.record import TrainingProtocol, fingerprint
from kdbench.teacher.ahead import Ahead, Tally
from kdbench.teacher.answers import Answers
from kdbench.train import Asked, Teach

CHECKED = 64
"""Kept answers that are asked again when a folder is opened."""
_NARROW = 2e-3
"""How far a checked answer may be off where it is rounded, as a share of the largest."""


def opened(
    cache: Path, live: Teach, views: Views, protocol: TrainingProtocol, total: int, *,
    card: dict[str, Any], classes: int, pooled: int, second: bool, most_bytes: int,
    beat: Callable[[], None] = lambda: None, sure: Callable[[], None] = lambda: None,
) -> "Recall | None":  # fmt: skip
    """The teacher by its kept answers; None where they depend on who is asked with whom.

    Args and Raises as for `Recall`.
    """
    found = Recall(
        cache, live, views, protocol, total, card=card, classes=classes, pooled=pooled,
        second=second, most_bytes=most_bytes, beat=beat, sure=sure,
    )  # fmt: skip
    return found if found.steady else None


@final
class Recall:
    """The shared teacher as the loop asks it, by answers that are kept.

    Args:
        cache: Folder of what can be made again.
        live: The teacher itself.
        views: The stream's rows.
        protocol: Of the students' training.
        total: Updates of the whole budget: nothing is asked ahead that no step will see.
        card: All that decides the answers, but for the views.
        classes: Logits a row.
        pooled: Pooled features a row.
        second: Whether second views are asked for too.
        most_bytes: Of the answers to each kind of view.
        beat: Called now and then while the teacher works.
        sure: Called before answers are asked that are kept; raises where the teacher has moved.

    Raises:
        DataError: The answers there are not what this teacher says.
        StoreError: The cache cannot be written.
    """

    def __init__(
        self, cache: Path, live: Teach, views: Views, protocol: TrainingProtocol, total: int, *,
        card: dict[str, Any], classes: int, pooled: int, second: bool, most_bytes: int,
        beat: Callable[[], None], sure: Callable[[], None],
    ) -> None:  # fmt: skip
        self._cache, self._live, self._views, self._protocol = cache, live, views, protocol
        self._total, self._classes, self._width = total, classes, classes + pooled
        self._most_bytes, self._beat, self._sure = most_bytes, beat, sure
        self.tally = Tally()
        self._card = card | {
            "answers": protocol.answers, "precision": protocol.precision,
            "batch": protocol.batch_size,  # for another, kernels may round in another way
            "views": {"shift": views.shift, "flip": views.flip, "ids": "(dy, dx, mirrored)"},
        }  # fmt: skip
        self._kinds = {which: self._opened(second=which) for which in {False, second}}

    def __call__(self, asked: Asked) -> Outputs:
        """The teacher's answer."""
        if asked.anchor != 1.0 or asked.statistics != "running":
            return self._live(asked)
        start, spent = time.perf_counter(), self.tally.asking
        ahead = self._kinds[asked.second]
        try:
            rows = ahead(asked.rows, asked.epoch)
        except OSError as error:  # of a lock; else it would pass for an error of the method
            raise ahead.answers.unwritable(error) from error
        logits, pooled = rows[:, : self._classes], rows[:, self._classes :]
        said = Outputs(logits=logits.contiguous(), pooled=pooled.contiguous())
        self.tally.read += len(rows)
        self.tally.reading += time.perf_counter() - start - (self.tally.asking - spent)
        return said

    @property
    def steady(self) -> bool:
        """Whether the teacher says the same of a row whichever rows it is asked with.

        To the bit on the CPU, where a student by kept answers then has the bits of one by live
        ones; elsewhere kernels are chosen by the batch's size, and rounding differs.
        """
        if self._views.device.type != "cpu":
            return True
        ahead, rows = self._kinds[False], self._views.order(0)[: self._protocol.batch_size]
        said, places = ahead.ask(rows, 0), torch.arange(len(rows))
        others = [places.flip(0), places.roll(1), places[: len(rows) // 2]]
        return all(torch.equal(ahead.ask(rows[some], 0), said[some]) for some in others)

    def _opened(self, *, second: bool) -> Ahead:
        """The answers to one kind of view, checked."""
        views, rows = self._views, len(self._views.labels)
        times = -(-self._total // self._protocol.steps_per_epoch(len(views)))
        card = self._card | ({"second": {"seed": views.seed}} if second else {})
        answers = Answers(
            self._cache / "answers" / fingerprint(card), card,
            keys=rows * (times if second else views.per_row), width=self._width,
            dtype=getattr(torch, self._protocol.answers), most_bytes=self._most_bytes,
        )  # fmt: skip
        ahead = Ahead(
            self._live, views, answers, self._protocol, self._total, second=second,
            tally=self.tally, beat=self._beat, sure=self._sure,
        )  # fmt: skip
        self._check(answers, second)
        return ahead

    def _check(self, answers: Answers, second: bool) -> None:
        """Ask a few of the kept answers again."""
        views, rows = self._views, len(self._views.labels)
        keys = answers.sample(CHECKED)
        epoch = int(keys[0]) // rows if second and len(keys) else 0
        keys = keys[keys // rows == epoch] if second else keys
        keys = keys[views.has(keys % rows if second else keys // views.per_row)]
        kept, there = answers.read(keys)
        keys, kept = keys[there], kept[there]
        if not len(keys):
            return
        if second:
            which = (keys % rows).to(views.device)
            images = strengthened(views.batch(which, epoch), which, views.seed, epoch)
        else:
            images = views.at(keys // views.per_row, keys % views.per_row)
        heard = self._live(Asked(1.0, "running", images, keys, epoch, second))
        said = torch.cat([heard.logits, heard.pooled], 1).cpu()
        narrow = {self._protocol.answers, self._protocol.precision} != {"float32"}
        exact = images.device.type == "cpu" and not narrow
        limit = (1e-5 if exact else _NARROW) * said.abs().max()
        if wrong := int((~((kept - said).abs().amax(1) <= limit)).sum()):  # a NaN is wrong too
            raise DataError(
                f"{answers.folder} is not what this teacher says",
                f"{wrong} of {len(keys)} answers differ",
                "remove the folder; it is filled again",
            )
