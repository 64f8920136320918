"""What a process has about it: environment, where modules are found, signals, `random`'s state."""

import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any, final

from kdbench.train.guard import Thing


@final
class Surroundings(Thing):
    """As they are now."""

    def __init__(self) -> None:
        self.take()

    def take(self) -> None:
        """Keep what they are now: what moved since they were compared was the host's own doing."""
        self._kept = {name: read() for name, (read, _) in _PARTS.items()}

    def learn(self) -> None:
        """Take what an import may add: places where modules are found, which stay, and variables of
        the environment, which many libraries set; they are taken back.
        """
        places, variables = self._kept["sys.path"], self._kept["environment variables"]
        if [place for place in sys.path if place in places] == places:
            self._kept["sys.path"] = list(sys.path)
        for name in os.environ.keys() - variables:
            del os.environ[name]

    def glance(self) -> str:
        """What has moved, signals aside."""
        return self._said(_QUICK)

    def moved(self) -> str:
        """What has moved."""
        return self._said(tuple(_PARTS))

    def put_back(self) -> None:
        """Undo all that has moved."""
        for name, (read, put) in _PARTS.items():
            if read() != self._kept[name]:
                put(self._kept[name])

    def _said(self, names: tuple[str, ...]) -> str:
        return ", ".join(name for name in names if _PARTS[name][0]() != self._kept[name])


def _variables(kept: dict[str, str]) -> None:
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update(kept)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _handle(kept: dict[int, Any]) -> None:
    for number, handler in kept.items():
        if signal.getsignal(number) != handler and handler is not None:  # None: not Python's
            signal.signal(number, handler)


_PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "the state of random": (random.getstate, random.setstate),
    "environment variables": (lambda: dict(os.environ), _variables),
    "sys.path": (lambda: list(sys.path), lambda kept: sys.path.__setitem__(slice(None), kept)),
    "what signals do": (_handlers, _handle),
}
_QUICK = ("the state of random", "sys.path")
