"""Child processes of this one."""

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")


def there() -> frozenset[int]:
    """Those that run, where the system tells."""
    try:
        # quick where there are none, as nearly always; what it finds is left for its owner
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, AttributeError):  # none, or not Linux
        return frozenset()
    lines = [path.read_text("ascii") for path in _TASKS.glob("*/children")]
    found = (int(child) for line in lines for child in line.split())
    return frozenset(child for child in found if not _is_over(child))


def ended(spared: Collection[int]) -> int:
    """End all that run but these; how many they were."""
    new = there() - frozenset(spared)
    for child in new:
        os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):  # whoever started it was quicker
            os.waitpid(child, 0)
    return len(new)


def _is_over(child: int) -> bool:
    """Whether it only waits to be asked how it ended."""
    try:
        return Path(f"/proc/{child}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
