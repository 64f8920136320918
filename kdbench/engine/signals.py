"""Signals that end a run, kept until it may be left."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """A function that lets through what came so far; a second signal is let through at once.

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

    def let_through() -> None:
        if came:
            before[came[0]](came[0], None)

    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in ENDING}
        before |= {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in before:
        signal.signal(number, keep)
    try:
        yield let_through
    except Exception:
        let_through()  # what failed may have failed of it: it came to other processes too
        raise
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is keep:  # the handler itself may have chosen another
                signal.signal(number, handler)
    let_through()
