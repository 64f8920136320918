"""Every test runs without network, on one thread, and with caches and stores of its own."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Hugging Face reads its switch once, when it is imported, which the collection of tests may do.
os.environ["HF_HUB_OFFLINE"] = "1"

_LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None}


class NetworkUsed(AssertionError):
    """A test tried to reach another machine."""


@pytest.fixture(scope="session")
def kdbench_root() -> Path:
    """The checkout: pyproject.toml, README.md, plugins and leaderboards as they stand in git."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def kdbench_own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches and stores in the session's temporary folder, for the tests and for the processes they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("KDBENCH_STORE", str(tmp_path_factory.mktemp("store")))
        patch.delenv("KDBENCH_PLUGINS", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True)
def kdbench_one_thread() -> None:
    """Torch on one thread, where it is loaded at all: it never is just for this."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def kdbench_no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fails a test that reaches for another machine, even where the code under test catches the error; the hosts."""
    tried: list[str] = []

    def guarded(real: Callable[..., Any], host_of: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            host = host_of(*args, **options)
            if host not in _LOCAL:
                tried.append(str(host))
                raise NetworkUsed(f"a test reached for {host!r}")
            return real(*args, **options)

        return call

    def address_host(sock: socket.socket, address: Any) -> Any:
        return None if sock.family == getattr(socket, "AF_UNIX", None) else address[0]

    def looked_up(host: Any, *_: Any, **__: Any) -> Any:
        return host.decode() if isinstance(host, bytes) else host

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), address_host))
    monkeypatch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, looked_up))
    yield tried
    assert not tried, f"the test reached for {', '.join(tried)}"
