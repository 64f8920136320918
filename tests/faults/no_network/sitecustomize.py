"""Every Python process of a run, forked ones too, says that it is watched and may reach nobody.

Found by being on PYTHONPATH. What a process tries is written to the file that
KDBENCH_NETWORK_LOG names, and raises there; the sockets of multiprocessing are of this machine.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

_LOG = Path(os.environ["KDBENCH_NETWORK_LOG"])
_ADDRESSED = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_ASKED = {
    "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo",
}  # fmt: skip


def _write(line: str) -> None:
    with _LOG.open("a") as file:
        file.write(f"{line}\n")


def _watch(event: str, args: tuple[Any, ...]) -> None:
    reaches = event in _ADDRESSED and args[0].family != socket.AF_UNIX
    if reaches or event in _ASKED:
        _write(f"used {os.getpid()} {event} {args[1 if reaches else 0]!r}")
        raise PermissionError(f"{event}: no network but in `kdbench prepare`")


sys.addaudithook(_watch)
_write(f"watched {os.getpid()} {' '.join(sys.orig_argv[1:4])!r}")
os.register_at_fork(after_in_child=lambda: _write(f"watched {os.getpid()} forked"))
