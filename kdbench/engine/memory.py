"""How much memory a worker and what it started take, seen from outside."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

SHARE: Final = 0.8
"""Of the machine's memory, what the workers of a run may take together if nothing else is said."""

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def taken(leader: int) -> int:
    """Bytes that a process and its descendants hold for themselves; files they map do not count.

    0 where the system does not tell, and of a process that is gone.
    """
    return sum(map(_own, [leader, *_descendants(leader)]))


def tells() -> bool:
    """Whether this system tells what a process takes."""
    return _own(os.getpid()) > 0


def share(workers: int) -> int | None:
    """Bytes that each of so many workers may take; None where the system does not tell."""
    if not tells():
        return None
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no such file, or "max"
        whole = min(whole, int(_CGROUP.read_text("ascii")))
    return int(SHARE * whole / workers)


def _own(process: int) -> int:
    found = 0
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssShmem"):
                found += 1024 * int(value.split()[0])
    return found


def _descendants(process: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in map(int, (task / "children").read_text("ascii").split()):
                found += [child, *_descendants(child)]
    return found
