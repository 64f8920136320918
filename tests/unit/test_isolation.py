"""What tests/conftest.py promises of every test."""

import os
import socket
from pathlib import Path

import pytest
import torch


@pytest.mark.parametrize("host", ["192.0.2.1", "kdbench.invalid"])
def test_another_machine_cannot_be_reached(host: str, kdbench_no_network: list[str]) -> None:
    with pytest.raises(AssertionError, match=host):
        socket.create_connection((host, 9), timeout=1)
    assert kdbench_no_network == [host]
    kdbench_no_network.clear()  # else this very test fails in its teardown


def test_this_machine_can_be_reached() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
        server.accept()[0] as accepted,
    ):
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"


def test_caches_and_stores_are_the_session_s_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    own = tmp_path_factory.getbasetemp()
    assert all(own in Path(os.environ[name]).parents for name in ("KDBENCH_CACHE", "KDBENCH_STORE"))


def test_torch_computes_on_one_thread() -> None:
    assert torch.get_num_threads() == 1
