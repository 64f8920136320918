"""A worker is alone: it ends with its parent, by no signal of a terminal, and its children with it.

It leads a process group of its own, so that what plugins start can be ended with it; the signals
that end a run are its parent's, who has it put away what is in training.
"""

import os
import signal
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread

ENDING = (signal.SIGINT, signal.SIGTERM)
"""The signals that end a run."""


def end_with_parent() -> None:
    """From now on this process ends when its parent says so or is gone, and by no Ctrl-C.

    A parent that was killed tells nobody, and a worker would train on to the end of its cohort.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:  # in a main process there is none
        os.setpgid(0, 0)
        Thread(target=_follow, args=(parent,), name="end-with-parent", daemon=True).start()


def end_group(leader: int) -> None:
    """End what is left of a worker's group: itself, and what its plugins started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _follow(parent: BaseProcess) -> None:
    parent.join()
    end_group(os.getpid())
