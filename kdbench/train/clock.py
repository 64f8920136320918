"""Where the milliseconds of a step go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PHASES = ("data", "teacher", "student", "loss", "backward", "update")


class Clock:
    """Milliseconds by phase; does nothing until `running`."""

    def __init__(self, device: torch.device) -> None:
        self.running, self.device, self.spent = False, device, dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what happens inside to `name`."""
        if not self.running:
            yield
            return
        start = self.now()
        yield
        self.spent[name] += self.now() - start

    def now(self) -> float:
        """Milliseconds of a clock that has waited for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() * 1e3
