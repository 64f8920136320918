"""Signals that end a run, kept until it may be left."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kdbench.engine.orphan import ENDING


@contextmanager
def held() -> Iterator[Sequence[int]]:
    """The signals that came so far; the first is let through at the end, a second one at once.

    A handler's exception comes wherever the interpreter is: in a finalizer it is lost, and in the
    midst of a lock or of a file it leaves them half done. Signals that end the process without a
    handler still do, and so they do outside the main thread, where none can be held.
    """
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    came: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            before[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in ENDING}
        before |= {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in before:
        signal.signal(number, keep)
    failed: Exception | None = None
    try:
        yield came
    except Exception as error:  # noqa: BLE001 - told below, unless it is the signal's doing
        failed = error
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is keep:  # the handler itself may have chosen another
                signal.signal(number, handler)
    if came:  # what failed may have failed of it: it came to other processes too
        before[came[0]](came[0], None)
    if failed:
        raise failed
