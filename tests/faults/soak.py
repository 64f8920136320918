"""Whether memory, file handles and threads stay flat while one run trains cohort after cohort.

    python tests/faults/soak.py [--minutes 30] [--workers 2]

One `kdbench run` of very short cohorts, watched from outside by /proc once a second. Prints a table
of what each process has at the quarters of the run, and ends with 1 if one of them grows in its
second half: in the first, caches fill.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

METHODS = ("scratch", "kd", "fitnet", "ickd")
WARM = 60.0
"""Seconds that are not looked at: processes start."""
ALONE = 3
"""Processes where there are no workers: the run, their server and the tracker of resources."""
FEWEST = 100
"""Cohorts without which a slope says nothing."""
MOST = {"MB": 32.0, "handles": 2.0, "threads": 1.0}
"""What a process may gain in 1,000 cohorts: a night of the shortest ones is some 10,000."""
HELD = 0.03
"""MB that the run itself may gain a record: it holds those that it has written."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process, when so many cohorts were done."""

    cohorts: float
    values: dict[str, float]


def look(pid: int) -> dict[str, float] | None:
    """Anonymous memory, open files and threads of a process; None of one that has ended."""
    place = Path(f"/proc/{pid}")
    status = (place / "status").read_text()
    anonymous = re.search(r"^RssAnon:\s+(\d+)", status, re.MULTILINE)
    threads = re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE)
    if anonymous is None or threads is None:
        return None
    handles = len(os.listdir(place / "fd"))  # noqa: PTH208 - names alone
    return {"MB": int(anonymous[1]) / 1024, "handles": handles, "threads": int(threads[1])}


def family(parent: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield parent
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def watch(process: "subprocess.Popen[bytes]", records: Path) -> dict[int, list[Sample]]:
    """Samples of each process, a second apart, until the run is over."""
    found: dict[int, list[Sample]] = defaultdict(list)
    began = time.monotonic()
    while process.poll() is None:
        time.sleep(1)
        done = sum(1 for _ in records.glob("*/*/*.json")) / len(METHODS)
        try:
            there = list(family(process.pid))
            if len(there) <= ALONE:
                continue  # it draws the board, which is no cohort
            for pid in there:
                values = look(pid)
                if values and time.monotonic() - began > WARM:
                    found[pid].append(Sample(done, values))
        except OSError:  # it ended while it was looked at
            continue
    return found


def slope(samples: Sequence[Sample], name: str) -> float:
    """Growth in 1,000 cohorts, from half of those that were watched on."""
    samples = samples[len(samples) // 2 :]
    x, y = [s.cohorts for s in samples], [s.values[name] for s in samples]
    return 1_000 * linear_regression(x, y).slope if len(set(x)) > 1 else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a process grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        store, log = Path(folder) / "store", Path(folder) / "log"
        seeds = max(1, round(60 * asked.workers * asked.minutes))
        command = [sys.executable, "-m", "kdbench", "run", "--store", str(store)]
        command += [part for name in METHODS for part in ("-m", name)]
        command += ["--pair", "resnet8:resnet8[width=0.25]", "--steps", "4", "--seeds", str(seeds)]
        command += ["--workers", str(asked.workers), "--time-budget", f"{60 * asked.minutes:.0f}s"]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
            found = watch(process, store / "records")
        done = sum(1 for _ in (store / "records").glob("*/*/*.json")) / len(METHODS)
        if process.returncode or done < FEWEST:
            print(f"{done:.0f} cohorts, {FEWEST} are needed\n{log.read_text()[-2_000:]}")
            return 1
    told = f"{asked.workers} workers, {done:.0f} cohorts of {len(METHODS)}"
    print(f"{asked.minutes:g} minutes, {told}\n")
    print("| process | MB | more MB in 1,000 cohorts | handles | threads | flat |")
    print("|---|---|---|---|---|---|")
    flat = True
    for pid, samples in found.items():
        if len(samples) < 0.5 * max(map(len, found.values())):
            continue  # a child of a moment
        run = pid == process.pid
        allowed = MOST | ({"MB": 1_000 * len(METHODS) * HELD} if run else {})
        grows = {name: slope(samples, name) for name in MOST}
        steady = all(grows[name] <= allowed[name] for name in MOST)
        flat &= steady
        marks = [samples[round(part / 4 * (len(samples) - 1))].values for part in range(5)]
        row = [
            "the run" if run else f"process {pid}",
            ", ".join(f"{mark['MB']:.1f}" for mark in marks),
            f"{grows['MB']:+.2f}",
            *(", ".join(f"{mark[n]:.0f}" for mark in marks) for n in ("handles", "threads")),
            "yes" if steady else "no",
        ]
        print(f"| {' | '.join(row)} |")
    return int(not flat)


if __name__ == "__main__":
    sys.exit(main())
