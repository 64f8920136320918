"""How long a store takes to load, plan and render, and how much memory, by its number of records.

    python tests/faults/scale.py [--records 100 1000 10000] [--profile STAGE]

Records are made from a real one: the plan of a suite of twenty methods says which questions there
are, and each gets the real one's figures, moved a little. Prints a table; each size has a process
of its own, since the peak of memory is a process's.
"""

import argparse
import cProfile
import gc
import json
import pstats
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kdbench import plan
from kdbench.cli import page
from kdbench.cli.expecting import expected
from kdbench.cli.outcome import outcomes
from kdbench.cli.selection import Selection
from kdbench.leaderboard import read, write
from kdbench.leaderboard.claims import answered
from kdbench.leaderboard.claims import write as write_report
from kdbench.leaderboard.folder import write_spec
from kdbench.page import report
from kdbench.record import Record, Store, content
from kdbench.registry import Registry, scan
from kdbench.suite import Suite, load

REAL = "leaderboards/digits-all/records/digits/resnet8--resnet8_width=0.25_"
METHODS = ["scratch", "kd", *(f"kd[temperature={t}]" for t in range(5, 23))]
CLAIMS = [
    {
        "key": f"claim-{i}", "says": "Softer targets teach better.", "source": "here",
        "direction": "greater", "effect": 0.01,
        "terms": [
            {"method": METHODS[i + 2], "measure": "accuracy"},
            {"method": "scratch", "measure": "accuracy", "weight": -1.0},
        ],
    }
    for i in range(8)
]  # fmt: skip


def asked(records: int) -> Suite:
    """A suite of so many trials: with more of them, both pairs and seeds become more."""
    cells = max(1, records // len(METHODS))
    pairs = max(1, round((cells / 5) ** 0.5))
    axes = {
        "datasets": ["digits"],
        "pairs": [f"resnet8:resnet8[width={(i + 1) / 64}]" for i in range(pairs)],
        "methods": METHODS,
        "seeds": list(range(cells // pairs)),
    }
    whole = load("digits").model_dump() | {"name": "many", "axes": axes, "claims": CLAIMS}
    return Suite.model_validate(whole)


def made(suite: Suite, registry: Registry, root: Path) -> Iterator[Record]:
    """A record for each trial of the suite."""
    real = next(iter(sorted((Path(__file__).parents[2] / REAL).glob("kd-s0-*.json"))))
    like = Record.model_validate_json(real.read_bytes())
    fields = {
        name: getattr(like, name)
        for name in (
            "rows",
            "per_class",
            "losses",
            "curve",
            "teacher",
            "deployed",
            "cost",
            "seconds",
        )
    }
    draw = random.Random(0)
    for trial in plan.make(suite, registry, (), str(root)).trials:
        moved = {
            "quality": {name: value * draw.uniform(0.9, 1) for name, value in like.quality.items()},
            "fidelity": {
                split: {name: value * draw.uniform(0.9, 1) for name, value in values.items()}
                for split, values in like.fidelity.items()
            },
        }
        yield trial.record(suite.name, "ok", like.environment, **fields, **moved)


def stages(suite: Suite, registry: Registry, store: Store) -> dict[str, Callable[[], Any]]:
    """What a user waits for, in the order of `kdbench run`; each may use what came before it."""
    have: dict[str, Any] = {}

    def loaded() -> None:
        have["records"] = store.records()

    def planned() -> None:
        made = plan.make(suite, registry, have["records"], "")
        made.work()
        made.minutes(have["records"], 2)
        assert {one.status for one in outcomes(made, have["records"], store)} == {"ok"}

    def boarded() -> None:
        have["board"] = read(store.root)
        write(have["board"], store.root)

    return {
        "load": loaded,
        "plan": planned,
        "board": boarded,
        "page": lambda: page.write(have["board"], store.root, store.root),
        "report": lambda: (
            write_report(answered(have["board"]), store.root),
            report.write(answered(have["board"]), store.root),
        ),
    }


def timed(records: int, profile: str = "") -> dict[str, float]:
    """Seconds of each stage, and MB at the peak before the first and after the last."""
    registry = scan()
    suite = asked(records)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for record in made(suite, registry, store.root):
            path = store.path(record)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(record))
        spec, _ = expected(Selection(suite.name, suite, suite, registry, store))
        write_spec(spec, store.root)
        gc.collect()
        found: dict[str, float] = {"records": len(list(store.root.rglob("records/*/*/*.json")))}
        for name, stage in stages(suite, registry, store).items():
            start = time.process_time()
            if name == profile:
                watch = cProfile.Profile()
                watch.runcall(stage)
                pstats.Stats(watch).sort_stats("cumtime").print_stats(45)
            else:
                stage()
            found[name] = round(time.process_time() - start, 2)
        found["MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        found["page MB"] = round((store.root / "index.html").stat().st_size / 1e6, 1)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--profile", default="", metavar="STAGE")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(timed(given.one, given.profile)))
        return 0
    head: list[str] = []
    for records in given.records:
        command = [sys.executable, __file__, "--one", str(records), "--profile", given.profile]
        *told, last = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        found = json.loads(last)
        if not head:
            head = [*found]
            print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        print(f"| {' | '.join(f'{found[name]:g}' for name in head)} |", flush=True)
        print("\n".join(told), end="\n" if told else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
