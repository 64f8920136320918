"""Blocks of steps of one method and of the reference, in turns, so that every round has a ratio."""

import math
import time
from collections.abc import MutableSequence
from statistics import median

from kdbench.record import QUIET, StepSpeed
from kdbench.testing.bench import Bench
from kdbench.testing.speed.asked import Contender
from kdbench.testing.speed.lap import Block, Lap
from kdbench.train import LOUD, PHASES
from kdbench.train.timing import POINTS

MOST = 60
"""Rounds at most, however short they are."""


class Duel:
    """A method against the reference: each round is a block of the one, then one of the other.

    Args:
        ours: The method's bench.
        theirs: The reference's, with weights of its own even where the method is the same.
        seconds: About how long all rounds may take, after warm-up.

    Attributes:
        rounds: How many to run at most; as soon as enough were quiet, the rest costs nothing.
        operations: Of one step of `ours`.
    """

    def __init__(self, ours: Bench, theirs: Bench, seconds: float) -> None:
        start = time.perf_counter()
        first, second = Block(ours, POINTS), Block(theirs, POINTS)
        counts, others = first.operations(), second.operations()
        self.operations = sum(counts) // POINTS
        # stages, or a term that sets in later: then a block has to visit the whole budget
        staged = max(len(ours.stages), len(theirs.stages)) > 1
        points = POINTS if staged or len({*counts}) > 1 or len({*others}) > 1 else 1
        self.peak_memory_mb = first.peak_memory_mb()
        first, second = Block(ours, points), Block(theirs, points)
        one = (first.lap().wall_ms + second.lap().wall_ms) / 1e3
        if points == 1:
            points = min(POINTS, max(1, int(seconds / QUIET / one)))
        self._ours, self._theirs = Block(ours, points), Block(theirs, points)
        self._wanted = min(MOST, max(QUIET, int(seconds / (one * points))))
        self.rounds = 2 * self._wanted
        self._laps: list[tuple[Lap, float, Lap]] = []
        self._reference = math.nan, second.lap()
        self.warmup_seconds = time.perf_counter() - start

    def theirs(self) -> None:
        """The reference's half of a round, timed as pytest-benchmark times the other."""
        if not self._done:
            start = time.perf_counter()
            lap = self._theirs.lap()
            self._reference = time.perf_counter() - start, lap

    def ours(self) -> None:
        """The method's half of a round, which pytest-benchmark times."""
        if not self._done:
            self._laps.append((self._ours.lap(), *self._reference))

    @property
    def _quiet(self) -> list[int]:
        """The rounds in which others left the machine alone."""
        return [
            number
            for number, (ours, _, theirs) in enumerate(self._laps)
            if max(ours.foreign, theirs.foreign) <= LOUD
        ]

    @property
    def _done(self) -> bool:
        return len(self._quiet) >= self._wanted

    def summary(
        self, timings: MutableSequence[float], contender: Contender, gflops: float | None
    ) -> StepSpeed:
        """What the rounds say; leaves in `timings` those that count, in seconds a step.

        Those are the quiet ones, or all where fewer than six are.

        Args:
            timings: pytest-benchmark's, of every round in seconds a block.
            contender: Whose step it is.
            gflops: Calibrated peak of a convolution.
        """
        counted, points = self._quiet, self._ours.points
        quiet = len(counted) >= QUIET
        counted = counted if quiet else list(range(len(self._laps)))
        timings[:] = [timings[number] / points for number in counted]
        rounds = [self._laps[number] for number in counted]
        laps = [ours for ours, _, _ in rounds]
        step = median(timings)
        return StepSpeed(
            method=contender.spec, origin=contender.origin,
            step_ms=tuple(1e3 * seconds for seconds in timings),
            reference_ms=tuple(1e3 * seconds / points for _, seconds, _ in rounds),
            cpu_ms=tuple(lap.cpu_ms for lap in laps),
            reference_cpu_ms=tuple(lap.cpu_ms for _, _, lap in rounds),
            parts_ms={part: median(lap.parts_ms[part] for lap in laps) for part in PHASES},
            unaccounted=median(1 - math.fsum(lap.parts_ms.values()) / lap.wall_ms for lap in laps),
            discarded=len(self._laps) - len(self._quiet), quiet=quiet,
            peak_memory_mb=self.peak_memory_mb,
            teacher_passes=contender.teacher_passes, multiply_adds=self.operations // 2,
            utilisation=self.operations / step / 1e9 / gflops if gflops else None,
            warmup_seconds=self.warmup_seconds,
        )  # fmt: skip
