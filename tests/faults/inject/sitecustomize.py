"""A fault at a chosen moment of every Python process that has this folder on its PYTHONPATH.

Nothing of kdbench is changed for it: the interpreter tells an audit hook what it is about to do,
and workers inherit the environment. A moment is the n-th matching event, over all processes:

    FAULT_EVENT   which events, a regular expression of the whole name: open (for writing only),
                  tempfile.mkstemp, tempfile.mkdtemp, os.rename (os.replace too), os.mkdir
    FAULT_PATH    what is searched in the path concerned (a rename's: the new one), likewise
    FAULT_AT      n, from 1 on; 0 for never: then events are only written down
    FAULT_LOG     the file where each matching event is a line: process, event, path; its lines are
                  the count, so a new run takes a new file
    FAULT_ACTION  kill: SIGKILL for all processes of the session, before the event happens
                  kill-leader: for the session's first process only, which is `kdbench run` itself
                  if it was started in a session of its own
                  enospc: OSError, no space left, at the n-th event and at every later one
    FAULT_DELAY   seconds from the event to the kill; 0 if it is not given

And `FAULT_WITHOUT`, with or without the others: a module that cannot be imported, as if it were not
installed (altair: then no run spends its time on drawing the board's page).
"""

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator

_WRITING = os.O_WRONLY | os.O_RDWR
_EVENTS, _PATHS = (re.compile(os.environ.get(name, "")) for name in ("FAULT_EVENT", "FAULT_PATH"))
_inside = threading.local()


def _watch(event: str, details: tuple) -> None:
    """What the interpreter calls before whatever it audits; an exception here ends the event."""
    if not _EVENTS.fullmatch(event) or getattr(_inside, "hook", False):
        return
    _inside.hook = True  # what is done here is audited as well
    try:
        path = os.fsdecode(details[1 if event == "os.rename" else 0])
        writes = event != "open" or (details[2] or 0) & _WRITING
        if writes and _PATHS.search(path):
            _met(f"{os.getpid()} {event} {path}\n", path)
    except TypeError:
        return  # a file that has a number and no path
    finally:
        _inside.hook = False


def _met(line: str, path: str) -> None:
    at, count = int(os.environ["FAULT_AT"]), _count(line)
    match os.environ["FAULT_ACTION"]:
        case "enospc" if 0 < at <= count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        case "kill" | "kill-leader" as action if count == at:
            delay = float(os.environ.get("FAULT_DELAY", "0"))
            if delay:
                threading.Thread(target=_kill, args=(action, delay), daemon=True).start()
            else:
                _kill(action)


def _count(line: str) -> int:
    """How many lines there are now with this one, which no other process gets as well."""
    log = os.open(os.environ["FAULT_LOG"], os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        os.write(log, line.encode())
        end = os.lseek(log, 0, os.SEEK_CUR)  # of this line, whatever came behind it meanwhile
        return os.pread(log, end, 0).count(b"\n")
    finally:
        os.close(log)


def _kill(action: str, delay: float = 0.0) -> None:
    time.sleep(delay)
    leader, here = os.getsid(0), os.getpid()
    for process in [*_session(leader), here] if action == "kill" else [leader]:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(process, signal.SIGKILL)


def _session(leader: int) -> Iterator[int]:
    """All other processes of the session, the oldest first."""
    for process in sorted(int(name) for name in filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208 - names alone
        with contextlib.suppress(ProcessLookupError):
            if process != os.getpid() and os.getsid(process) == leader:
                yield process


if "FAULT_WITHOUT" in os.environ:
    sys.modules[os.environ["FAULT_WITHOUT"]] = None  # type: ignore[assignment]
if "FAULT_LOG" in os.environ:
    sys.addaudithook(_watch)
