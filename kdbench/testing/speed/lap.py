"""A block of steps, timed by phase, and what others used of the machine meanwhile."""

import math
import os
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch
from torch.profiler import ProfilerActivity, profile

from kdbench.api import Batch, Losses, Method
from kdbench.api.method import Loop
from kdbench.testing.bench import Bench
from kdbench.testing.speed.peak import Operations
from kdbench.train import PHASES, Clock, Step, guarded

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_STAT = Path("/proc/stat")


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
        size = min(bench.rig.cohort.protocol.batch_size, len(bench.rig.views))
        self._rows = bench.rig.views.order(0)[:size]
        if not isinstance(bench.runner.method, _Clocked):
            bench.runner.method = cast(Method, _Clocked(bench.runner.method, bench.runner.clock))

    def lap(self) -> Lap:
        """The whole block once."""
        clock = self._bench.runner.clock
        clock.spent, clock.running = dict.fromkeys(PHASES, 0.0), True
        busy, cpu, start = _busy(), time.process_time(), clock.now()
        with guarded("step()"):
            for point in range(self.points):
                self._step(point)
        wall = clock.now() - start
        own = 1e3 * (time.process_time() - cpu)
        # each core's counter is behind by up to a tick
        others = _busy() - busy - (os.cpu_count() or 1) / _TICK
        foreign = max(0.0, (1e3 * others - own) / wall)
        clock.running = False
        parts = {phase: spent / self.points for phase, spent in clock.spent.items()}
        return Lap(
            wall_ms=wall / self.points, cpu_ms=own / self.points, parts_ms=parts, foreign=foreign
        )

    def _step(self, point: int) -> None:
        """The step at one point of the budget."""
        runner = self._bench.runner
        runner.done = int((point + 0.5) / self.points * runner.total)
        with runner.clock.phase("data"):
            step = Step(self._bench.rig.views, self._rows, 0, runner.progress, self._teach)
            if runner.needs.second:
                _ = step.second  # made when first asked for, which no phase would have
        runner.step(step)

    def operations(self) -> list[int]:
        """Operations of the step at each point."""
        counts = []
        for point in range(self.points):
            with guarded("step()"), Operations() as counter:
                self._step(point)
            counts.append(counter.total)
        return counts

    def peak_memory_mb(self) -> float:
        """MiB that the block's tensors take at most, on top of what lay there before it.

        Counted by torch's allocators, so that neither the allocators' caches nor what ran before in
        this process show; scratch space inside of a library's kernels does not either.
        """
        device = self._bench.rig.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            self.lap()
            return (torch.cuda.max_memory_allocated(device) - before) / 2**20
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            self.lap()
        assert seen.profiler is not None
        events = seen.profiler.kineto_results.events()
        moves = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
        return float(max(accumulate((size for _, size in moves), initial=0))) / 2**20


class _Clocked:
    """A method whose own code is charged to "loss": its `step` less the phases inside of it."""

    def __init__(self, method: Method, clock: Clock) -> None:
        self._method, self._clock = method, clock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the method has
        return getattr(self._method, name)

    def step(self, loop: Loop, batch: Batch, state: Any) -> Losses:  # noqa: ANN401 - the method's
        """As the method's."""
        clock = self._clock
        if not clock.running:
            return self._method.step(loop, batch, state)
        inside, start = math.fsum(clock.spent.values()), clock.now()
        losses = self._method.step(loop, batch, state)
        inside = math.fsum(clock.spent.values()) - inside
        clock.spent["loss"] += clock.now() - start - inside
        return losses


def _busy() -> float:
    """Seconds that all cores have worked since the machine started; 0 where nobody tells."""
    try:
        user, nice, system, _, _, irq, soft, steal, *_ = (
            int(word) for word in _STAT.read_text("ascii").partition("\n")[0].split()[1:]
        )
    except OSError:
        return 0.0
    return (user + nice + system + irq + soft + steal) / _TICK
