"""Workers of one machine let it be while one of them measures what a step costs.

Each worker has a place in shared memory that it alone writes while it lives, and the right to
measure is a lock on a file: whoever dies with it gives it back, so that nobody waits for the dead.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from kdbench.cohort import Watch, Workbench

PATIENCE: Final = 10.0
"""Seconds that who measures waits for the others; then the rounds show their load."""

PAUSE: Final = 0.02
"""Seconds between two looks."""

IDLE, BUSY, PARKED, MEASURING = range(4)


@dataclass(frozen=True, slots=True)
class Turns:
    """What the workers of a run share; picklable on the way to a worker.

    Attributes:
        places: What each worker does.
        until: Moment of `time.monotonic` from which on what is in training is put away.
        path: Of the lock.
    """

    places: Any  # ctypes has no public array type
    until: Any
    path: Path

    @classmethod
    def among(cls, count: int, store: Path) -> "Turns":
        """Of so many workers; the lock lies beside the claims of the store."""
        path = store / "claims" / f"turn-{os.getpid()}.lock"
        return cls(RawArray("b", count), RawValue("d", math.inf), path)

    def late(self, seconds: float) -> bool:
        """Whether so many more seconds are too many."""
        return bool(time.monotonic() + seconds > self.until.value)

    def left(self, place: int) -> None:
        """The worker of this place is dead."""
        self.places[place] = IDLE

    def close(self) -> None:
        """All workers have left."""
        self.path.unlink(missing_ok=True)


@final
class Turn:
    """One worker's part.

    Args:
        turns: Shared by all workers.
        place: This worker's.
        crumb: Trial, step and time of its last sign of life; kept fresh while it waits.
        bench: Whose clock is told of waiting.
    """

    def __init__(self, turns: Turns, place: int, crumb: Any, bench: "Workbench") -> None:  # noqa: ANN401 - as above
        self._places, self._place, self._crumb, self._bench = turns.places, place, crumb, bench
        self._lock, self._late = FileLock(turns.path), turns.late

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While open, this worker is at a task."""
        self._places[self._place] = BUSY
        try:
            yield
        finally:
            self._places[self._place] = IDLE

    def watch(self, trials: Mapping[str, int]) -> "Watch":
        """Leaves a breadcrumb with the trial's number, and parks while another worker measures."""

        def watch(name: str, step: int) -> None:
            self._crumb[:] = [trials.get(name, -1), step, time.monotonic()]
            if self._called():
                with self._bench.clock.phase("waiting"), self._turn():
                    pass
                self._places[self._place] = BUSY

        return watch

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While open, the other workers park."""
        with ExitStack() as stack:
            with self._bench.clock.phase("waiting"):
                stack.enter_context(self._turn())
                self._places[self._place] = MEASURING
                stack.callback(self._places.__setitem__, self._place, BUSY)
                start = time.monotonic()
                while BUSY in self._places[:] and time.monotonic() - start < PATIENCE:
                    self._rest()
            yield

    def _called(self) -> bool:
        """Whether another worker measures, or died measuring."""
        return any(
            state == MEASURING for place, state in enumerate(self._places) if place != self._place
        )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock; parked until it is free, or there is no time left to wait for it."""
        self._places[self._place] = PARKED
        while True:
            try:
                self._lock.acquire(timeout=0)
                break
            except Timeout:
                if self._late(0.0):
                    break
                self._rest()
        try:
            yield
        finally:
            self._lock.release()

    def _rest(self) -> None:
        self._crumb[2] = time.monotonic()
        time.sleep(PAUSE)
