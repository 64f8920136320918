"""What a worker says: what is printed in it, plugins included, and where it was when it died.

All that is printed comes through a pipe and is passed on as lines, within bounds, so that no plugin
floods a terminal, a disk or the JSON of a command. Through another one Python's fault handler tells
the file and the line at which a signal ended the worker.
"""

import faulthandler
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NoReturn, final

from kdbench.registry import Source

MOST: Final = 64 * 2**10
"""Bytes a task that are passed on."""

_READ: Final = 2**16
_TURN: Final = 64
_FRAME: Final = re.compile(r'File "([^"\n]+)", line (\d+)')


@final
class Said:
    """What one worker says; made before it is started, which is given `mouth`."""

    def __init__(self) -> None:
        self.pipe, printed = Pipe(duplex=False)
        self._trace, trace = Pipe(duplex=False)
        self.mouth = (printed, trace)
        for pipe in (self.pipe, self._trace):
            os.set_blocking(pipe.fileno(), False)
        self._line, self._passed = b"", 0

    def started(self) -> None:
        """The worker has its ends of the pipes."""
        for pipe in self.mouth:
            pipe.close()

    def begin(self) -> None:
        """A new task: its output is its own."""
        self._line, self._passed = b"", 0

    def hear(self, tell: Callable[[str], None]) -> None:
        """Read what is there, a few MB at most, and tell its lines, until they are too many."""
        for _ in range(_TURN):
            if not (read := _read(self.pipe)):
                return
            self._tell(read, tell)

    def _tell(self, read: bytes, tell: Callable[[str], None]) -> None:
        if self._passed > MOST:
            return
        self._passed += len(read)
        if self._passed > MOST:
            tell(f"(more than {MOST >> 10} KiB of output: the rest is not shown)")
            return
        *lines, self._line = (self._line + read).split(b"\n")
        for line in lines:
            if text := line.decode("utf-8", "replace").rstrip():
                tell(text)

    def blamed(self, sources: Sequence[Source]) -> str:
        """Which of these plugins the dead worker was in, with file, and line if it said so.

        Without a line of theirs, the first plugin is named.
        """
        of = {Path(source.path).resolve(): source for source in sources}
        frames = _FRAME.findall(_read(self._trace).decode("utf-8", "replace"))
        places = [(of.get(Path(file).resolve()), f", line {line}") for file, line in frames]
        source, line = next(((one, at) for one, at in places if one), (sources[0], ""))
        return f"{source.name} ({Path(source.path).name}{line})"


def _read(pipe: Connection) -> bytes:
    """What is there; nothing if nothing is, or nobody is left to write."""
    try:
        return os.read(pipe.fileno(), _READ)
    except BlockingIOError:
        return b""


def speak_into(mouth: tuple[Connection, Connection]) -> None:
    """Have all that this process prints go there, and where it is when it dies."""
    printed, trace = mouth
    for number in (1, 2):
        os.dup2(printed.fileno(), number)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # it is a pipe: Python would wait for 8 KiB
    printed.close()
    faulthandler.enable(trace.fileno(), all_threads=False)
    own, leave = os.getpid(), os._exit

    def leave_saying_where(status: int) -> NoReturn:
        if os.getpid() == own:
            faulthandler.dump_traceback(trace.fileno(), all_threads=False)
        leave(status)

    os._exit = leave_saying_where  # no exception and no signal tells of it
