"""A disk that is full at every write point: what is said, what stays, and that the run goes on.

    python tests/faults/full_disk.py [--only NAME ...] [--tmpfs]

Without options, every kind of file that a run writes is refused once with "no space left" (the
audit hook in `inject/`), from its first write on. With `--tmpfs`, which takes the right to mount,
store and cache lie in a file system that is mounted read-only, and in one of so many kB that is
really full. After each, there is room again and the same command is run once more. Prints a table,
and ends with 1 if a row is amiss.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.record import Store

INJECT = Path(__file__).parent / "inject"
RUN = (
    "-m",
    "scratch",
    "-m",
    "kd",
    "--pair",
    "resnet8:resnet8[width=0.25]",
    "--steps",
    "4",
    "--workers",
    "1",
)
POINTS = {
    "the index of plugins": ("tempfile.mkstemp", "/cache/registry/"),
    "the suite's questions": ("os.rename", "/store/suite.json"),
    "a teacher's folder": ("os.mkdir", "/cache/teachers/"),
    "a teacher's lock": ("open", "/cache/teachers/.*/lock"),
    "pixels: the folder": ("tempfile.mkdtemp", "/cache/pixels/"),
    "pixels: the lock": ("open", "/cache/pixels/.*lock"),
    "pixels: the file": ("open", "/cache/pixels/.*npy"),
    "pixels: whole": ("os.rename", "/cache/pixels/"),
    "a teacher's anchor": ("tempfile.mkstemp", "/cache/teachers/"),
    "a teacher's card": ("os.rename", "/cache/teachers/.*/card.json"),
    "a claim": ("open", "/store/claims/[0-9a-f]{64}.lock"),
    "the turn to measure": ("open", "/store/claims/turn"),
    "kept answers: the folder": ("os.mkdir", "/cache/answers/"),
    "kept answers: the index": ("open", "/cache/answers/.*/index"),
    "kept answers: whose turn": ("open", "/cache/answers/.*/stretch"),
    "kept answers: the rows": ("open", "/cache/answers/.*/rows"),
    "logits and weights": ("tempfile.mkstemp", "/store/artifacts/"),
    "a record": ("tempfile.mkstemp", "/store/records/"),
    "a record: whole": ("os.rename", "/store/records/"),
    "the board": ("os.rename", "/store/README.md"),
    "the agreements": ("os.rename", "/store/agreements.json"),
    "the page": ("os.rename", "/store/index.html"),
}
"""What is refused: the event, and the path below the folder of store and cache."""

READ_ONLY = "the mount"
SIZES = (200, 330, 1500, 2600, 2960, 2980, 3000, 3200, 3500, 3700)
"""kB of the file system: full in the index, pixels, teacher, answers, artifacts, records, board."""

TIMED = dict.fromkeys(("created", "seconds", "cost", "attempt", "answers"), True)


@dataclass(frozen=True)
class Outcome:
    """Of one run that met a full disk, and of the one after it.

    Attributes:
        code, error: Of the first run.
        kept: Records that it left.
        amiss: What is not as it should be.
    """

    code: int
    error: str
    kept: int
    amiss: tuple[str, ...]


def run(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command with store and cache in this folder."""
    own = {"KDBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kdbench", "run", *RUN, "--seeds", "1"]
    return subprocess.run(
        [*command, "--store", str(folder / "store")],
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def bits(folder: Path) -> dict[str, dict[str, Any]]:
    """All that may not depend on the hour of each record in the folder's store, by method."""
    timed = TIMED | {"deployed": {"latency_ms", "throughput"}}
    found = {
        r.question.method: r.model_dump(exclude=timed) for r in Store(folder / "store").records()
    }
    assert all(record["status"] == "ok" for record in found.values())
    return found


def judged(
    folder: Path, full: "subprocess.CompletedProcess[str]", expected: dict[str, dict[str, Any]]
) -> Outcome:
    """What the full disk left behind, and whether the same command completes it."""
    said = re.search(r"^error: (.*(?:\n  .*)*)", full.stderr, re.MULTILINE)
    error = said[1].splitlines() if said else []
    kept, litter = bits(folder), [*folder.rglob("*.part"), *folder.rglob(".part-*")]
    again = run(folder)
    whole = bits(folder)
    wrong = {
        f"exit code {full.returncode}": full.returncode != 4,
        f"an error of {len(error)} lines": len(error) != 3,
        "it does not say what to do": not error or not re.search("free space|another", error[-1]),
        "a traceback": "Traceback" in full.stderr,
        "a record that is not whole": any(expected[name] != one for name, one in kept.items()),
        f"{len(litter)} torn files": bool(litter),
        f"the next run leaves with {again.returncode}": again.returncode != 0,
        "the next run's records differ": whole != expected,
    }
    amiss = tuple(text for text, is_so in wrong.items() if is_so)
    return Outcome(full.returncode, error[0] if error else "", len(kept), amiss)


def refused(name: str, reference: Path, expected: dict[str, dict[str, Any]]) -> Outcome:
    """Every write of this kind is refused."""
    event, path = POINTS[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in ("pixels", "teachers", "registry"):  # what is there already is not written
            if f"/cache/{part}" not in path and not ("pixels" in path and part == "teachers"):
                shutil.copytree(reference / "cache" / part, folder / "cache" / part)
        before = {"PYTHONPATH": os.pathsep.join([str(INJECT), os.environ.get("PYTHONPATH", "")])}
        full = run(
            folder, FAULT_EVENT=event, FAULT_PATH=re.escape(str(folder)) + path, FAULT_AT="1",
            FAULT_LOG=str(folder / "log"), FAULT_ACTION="enospc", **before,
        )  # fmt: skip
        if not (folder / "log").exists():
            return Outcome(full.returncode, "", 0, ("never written",))
        return judged(folder, full, expected)


@contextmanager
def mounted(kilobytes: int) -> Iterator[Path]:
    """A file system of this size in memory."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "kd", folder], check=True
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def filled(kilobytes: int, expected: dict[str, dict[str, Any]]) -> Outcome:
    """Store and cache share a file system that becomes full."""
    with mounted(kilobytes) as folder:
        full = run(folder)
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        return judged(folder, full, expected)


def read_only(expected: dict[str, dict[str, Any]]) -> Outcome:
    """Store and cache lie in a file system that takes no writes."""
    with mounted(65_536) as folder:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        full = run(folder)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        return judged(folder, full, expected)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a row is amiss."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=POINTS, default=[*POINTS], metavar="NAME")
    parser.add_argument("--tmpfs", type=int, nargs="*", metavar="KB")
    asked = parser.parse_args(arguments)
    bad = 0
    with tempfile.TemporaryDirectory() as temporary:
        reference = Path(temporary)
        first = run(reference)
        assert first.returncode == 0, first.stderr
        expected = bits(reference)
        print("| full from | exit code | error | records kept | amiss |\n|---|---|---|---|---|")
        sizes = asked.tmpfs if asked.tmpfs is None else asked.tmpfs or SIZES
        for point in asked.only if sizes is None else (READ_ONLY, *sizes):
            if point == READ_ONLY:
                name, found = READ_ONLY, read_only(expected)
            elif isinstance(point, str):
                name, found = point, refused(point, reference, expected)
            else:
                name, found = f"{point} kB", filled(point, expected)
            error = re.sub(r"(/[^/\s]+)+/", "", found.error)
            amiss = "; ".join(found.amiss) or "nothing"
            print(f"| {name} | {found.code} | {error} | {found.kept} | {amiss} |", flush=True)
            bad += bool(found.amiss)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
