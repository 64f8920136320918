"""A block of steps, timed by phase, and what others used of the machine meanwhile."""

import os
from dataclasses import dataclass

from kdbench.measure import peak_memory_mb
from kdbench.testing.bench import Bench
from kdbench.testing.speed.peak import Operations
from kdbench.train import Block as Timed
from kdbench.train import LoadMeter, block, spread

_TICK = 1 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One block, a step.

    Attributes:
        wall_ms, cpu_ms: Milliseconds a step, of the clock and of this process.
        parts_ms: By phase.
        foreign: Cores that others used meanwhile.
    """

    wall_ms: float
    cpu_ms: float
    parts_ms: dict[str, float]
    foreign: float


class Block:
    """Steps at evenly spread points of a method's budget, its stages included."""

    def __init__(self, bench: Bench, points: int) -> None:
        self._bench, self.points = bench, points
        self._teach = bench.rig.teach(bench.runner.needs.maps)
        self._places = spread(bench.runner.total, points)

    def lap(self) -> Lap:
        """The whole block once."""
        meter = LoadMeter()
        found = self._timed(self._places)
        # each core's counter is behind by up to a tick
        slack = (os.cpu_count() or 1) * _TICK / (found.wall_ms * found.steps / 1e3)
        return Lap(
            wall_ms=found.wall_ms, cpu_ms=found.cpu_ms, parts_ms=dict(found.phases),
            foreign=max(0.0, (meter.foreign() or 0.0) - slack),
        )  # fmt: skip

    def _timed(self, places: list[int]) -> Timed:
        return block(self._bench.runner, self._bench.rig.views, self._teach, places)

    def operations(self) -> list[int]:
        """Operations of the step at each point."""
        counts = []
        for place in self._places:
            with Operations() as counter:
                self._timed([place])
            counts.append(counter.total)
        return counts

    def peak_memory_mb(self) -> float:
        """MiB that the block's tensors take at most, on top of what lay there before it."""
        return peak_memory_mb(lambda: self._timed(self._places), self._bench.rig.device)
