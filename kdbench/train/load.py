"""How many cores other processes use meanwhile."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, final

_STAT = Path("/proc/stat")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

TELLING = 0.2
"""Seconds that a reading takes at least: the system counts in ticks of 10 ms a core."""

LOUD = 0.3
"""Cores of others above which times are not compared."""


class Sample(NamedTuple):
    """Seconds: of the clock, that the CPUs have worked (None: not told), and this process's."""

    wall: float
    busy: float | None
    own: float


@final
class LoadMeter:
    """Reads the foreign load since it was last asked.

    Args:
        read: Gives the counters.
    """

    def __init__(self, read: "Callable[[], Sample]" = lambda: sample()) -> None:
        self._read, self._last = read, read()

    @property
    def tells(self) -> bool:
        """Whether the system counts what its CPUs do."""
        return self._last.busy is not None

    def start(self) -> None:
        """Forget what was until now."""
        self._last = self._read()

    def foreign(self) -> float | None:
        """Cores that others used since the start or the last reading; None where nobody tells."""
        before, self._last = self._last, self._read()
        return foreign_load(before, self._last)


def foreign_load(before: Sample, after: Sample) -> float | None:
    """Cores that others used between two samples; None where nobody tells."""
    if before.busy is None or after.busy is None or after.wall <= before.wall:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others / (after.wall - before.wall))


def sample() -> Sample:
    """The counters now, of the CPUs that this process may use."""
    try:
        lines = _STAT.read_text("ascii").splitlines()
        allowed = os.sched_getaffinity(0)
    except (OSError, AttributeError):  # not Linux
        return Sample(time.perf_counter(), None, time.process_time())
    return Sample(time.perf_counter(), busy(lines, allowed), time.process_time())


def busy(lines: list[str], cpus: set[int]) -> float | None:
    """Seconds that these CPUs have worked by the lines of /proc/stat; None if they do not say.

    What the hypervisor gave to other guests counts: it was not ours either.

    Example:
        >>> busy(["cpu  9 9 9 9", "cpu0 100 0 50 900 7 0 0 50 0 0", "cpu1 1 1 1 1 1 1 1 1"], {0})
        2.0
    """
    names = {f"cpu{number}" for number in cpus}
    rows = [line.split() for line in lines]
    ticks = [
        sum(int(row[place]) for place in (1, 2, 3, 6, 7, 8))
        for row in rows
        if row and row[0] in names and len(row) > 8
    ]
    return sum(ticks) / _TICKS if len(ticks) == len(cpus) and any(ticks) else None
