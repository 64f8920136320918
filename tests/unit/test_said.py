"""What a worker prints is passed on within bounds, and where it died is known by file and line."""

import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.engine.said import MOST, Said
from kdbench.registry import Source

DYING = """
import ctypes, os, sys
from multiprocessing.connection import Connection
from kdbench.engine.said import speak_into

speak_into((Connection(int(sys.argv[1])), Connection(int(sys.argv[2]))))
print("one\\ntwo")
print("three", file=sys.stderr, flush=True)
sys.stdout.flush()
how = sys.argv[3]
if how == "reads nothing":
    ctypes.string_at(0)
elif how == "exits":
    os._exit(7)
elif how == "child exits":
    if not os.fork():
        os._exit(7)
    os.wait()
"""
LINES = DYING.splitlines()


def said(how: str, file: Path) -> tuple[Said, int]:
    """What a process of this file said, and its exit code."""
    file.write_text(DYING, "utf-8")
    found = Said()
    numbers = [pipe.fileno() for pipe in found.mouth]
    told = [sys.executable, str(file), *map(str, numbers), how]
    done = subprocess.run(told, pass_fds=numbers, check=False, timeout=60)
    found.started()
    return found, done.returncode


def source(path: Path) -> Source:
    return Source(path.stem, "file", "m", str(path), path.name, "1", "")


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [("reads nothing", -11, "string_at"), ("exits", 7, "    os._exit(7)"), ("child exits", 0, "")],
)
def test_it_is_heard_to_its_last_word_and_its_last_line_is_known(
    how: str, code: int, line: str, tmp_path: Path
) -> None:
    file, lines = tmp_path / "dying.py", list[str]()
    words, ended = said(how, file)
    assert ended == code
    words.hear(lines.append)
    assert sorted(lines) == ["one", "three", "two"]
    number = next((i for i, text in enumerate(LINES, 1) if line and line in text), None)
    where = f", line {number}" if number else ""
    other = source(tmp_path / "other.py")
    assert words.blamed([source(file), other]) == f"dying (dying.py{where})"


def test_nobody_is_known_by_name_alone_but_the_first(tmp_path: Path) -> None:
    words, _ = said("exits", tmp_path / "dying.py")
    others = [source(tmp_path / name) for name in ("one.py", "two.py")]
    assert words.blamed(others) == "one (one.py)"


def test_lines_are_passed_on_whole_until_they_are_too_many_and_the_next_task_begins_anew() -> None:
    words, lines = Said(), list[str]()
    printed = words.mouth[0].fileno()
    write = Path(f"/proc/self/fd/{printed}").open("wb", buffering=0)  # noqa: SIM115
    words.hear(lines.append)
    assert lines == []
    write.write(b"half a ")
    words.hear(lines.append)
    write.write(b"line\n\nand \xff more\nrest")
    words.hear(lines.append)
    assert lines == ["half a line", "and � more"]
    for _ in range(MOST // 1000 + 20):
        write.write(b"x" * 999 + b"\n")
        words.hear(lines.append)
    assert lines[-1] == "(more than 64 KiB of output: the rest is not shown)"
    assert sum(map(len, lines)) < MOST + 2000
    words.begin()
    write.write(b"again\n")
    words.hear(lines.append)
    assert lines[-1] == "again"
    write.close()
    words.started()
    words.hear(lines.append)  # nobody is left to write
    assert lines[-1] == "again"
