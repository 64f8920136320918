"""What a process takes is seen from outside, with all that it started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.engine import memory

HOLDS = "x = b'1' * {}; print('ready', flush=True); input()"


def test_what_a_process_and_its_children_hold_counts_and_a_file_that_they_map_does_not(
    tmp_path: Path,
) -> None:
    before = memory.taken(os.getpid())
    assert before > 10e6
    asked = [sys.executable, "-c", HOLDS.format(200_000_000)]
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdin
        child.stdout.readline()
        assert 200e6 < memory.taken(child.pid) < 400e6
        assert memory.taken(os.getpid()) > before + 190e6
        child.stdin.write(b"\n")
    assert memory.taken(child.pid) == 0
    file = tmp_path / "file"
    file.write_bytes(bytes(100_000_000))
    mapped = f"m = mmap.mmap(open({str(file)!r}, 'r+b').fileno(), 0)"
    read = "sum(m[::4096]); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", f"import mmap; {mapped}; {read}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        assert child.stdin
        child.stdout.readline()
        assert memory.taken(child.pid) < 90e6
        child.stdin.write(b"\n")


def test_workers_share_four_fifths_of_what_the_machine_or_its_container_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = memory.share(1)
    assert whole
    assert memory.share(4) == pytest.approx(whole / 4, abs=1)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.share(1) >= whole
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory.share(1) == 800_000
    monkeypatch.setattr(memory, "_own", lambda process: 0)  # a system that does not tell
    assert memory.share(1) is None
