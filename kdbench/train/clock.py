"""Where the milliseconds go."""

import time
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import final

import torch

PHASES = ("data", "teacher", "student", "loss", "backward", "update")
"""Of a step, in order."""


@final
class Clock:
    """Exclusive milliseconds by phase: entering a phase pauses the one around it.

    In training it never waits for a device: there the phases are the host's, and what a GPU still
    has to do then shows where the host next waits for it.

    Args:
        device: To be waited for whenever the clock is read; None for none.
        now: Milliseconds that only rise.

    Attributes:
        spent: By phase, of the phases that have been left or paused.
    """

    def __init__(
        self,
        device: torch.device | None = None,
        now: Callable[[], float] = lambda: time.perf_counter() * 1e3,
    ) -> None:
        self._device = device if device is not None and device.type == "cuda" else None
        self._now, self._since = now, 0.0
        self._open, self._phases = list[str](), dict[str, _Phase]()
        self.spent: dict[str, float] = defaultdict(float)

    def phase(self, name: str) -> "_Phase":
        """A context in which time is charged to `name`, but for the phases inside of it."""
        if name not in self._phases:
            self._phases[name] = _Phase(self, name)
        return self._phases[name]

    def now(self) -> float:
        """Milliseconds, when the device has done what it was given."""
        if self._device is not None:
            torch.cuda.synchronize(self._device)
        return self._now()

    def enter(self, name: str) -> None:
        """Pause what is open, and charge to `name` from now on."""
        now = self.now()
        if self._open:
            self.spent[self._open[-1]] += now - self._since
        self._open.append(name)
        self._since = now

    def leave(self) -> None:
        """Charge again to what was open before."""
        now = self.now()
        self.spent[self._open.pop()] += now - self._since
        self._since = now


@final
class _Phase:
    """A phase as a context; one object a name serves every entry, nested ones too."""

    __slots__ = ("_clock", "_name")

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock, self._name = clock, name

    def __enter__(self) -> None:
        self._clock.enter(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._clock.leave()
