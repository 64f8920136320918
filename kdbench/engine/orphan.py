"""A worker whose parent is gone has nobody to answer, and ends."""

import os
import signal
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread


def end_with_parent() -> None:
    """From now on this process ends when its parent says so or is gone, and by no Ctrl-C.

    A parent that was killed tells nobody, and a worker would train on to the end of its cohort.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:  # in a main process there is none
        Thread(target=_follow, args=(parent,), name="end-with-parent", daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
