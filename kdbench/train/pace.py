"""When what is in training is put away next."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, final

SHARE: Final = 0.02
"""Of the time, what putting away may take."""


@final
class Pace:
    """Every so many seconds, but never for more than a small share of the time.

    Args:
        seconds: From the end of one to the next.
        now: Seconds that only rise.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._now = seconds, now
        self._next = now() + seconds

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self._now() >= self._next

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A context in which it is put away; the next one waits for its turn."""
        began = self._now()
        yield
        end = self._now()
        self._next = end + max(self._seconds, (end - began) / SHARE)
