"""Kills runs with SIGKILL at random moments and resumes them: nothing lost, doubled or torn.

    python tests/faults/kills.py --kills 100 --seed 0

A run that nobody disturbs is the reference. Then chains: a fresh store is run and killed, again and
again, until a run comes to its end; its records must be the reference's, bit for bit but for the
fields of the clock (`runs.CLOCK`), its artifacts and teachers too. After every kill all files that
are there must be whole, and every process of the run must be gone. Linux only: it reads /proc.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic as now

from tabulate import tabulate

sys.path.append(str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
from runs import Fault, Place, same, sound

SUITE = """
name = "kills"

[axes]
datasets = ["digits"]
pairs = ["resnet8:resnet8[width=0.25]"]
methods = {methods}
seeds = {seeds}

[train]
epochs = {epochs}
batch_size = 32
rows = 96
shift = 1
learning_rate = 0.05
nesterov = true
weight_decay = 5e-4

[teacher]
epochs = {teacher_epochs}
rows = 800
batch_size = 64

[evaluation]
validation_rows = 64
curve = 10

[scoring]
baselines = ["scratch"]

[limits]
checkpoint_seconds = {checkpoint_seconds}
"""
METHODS = ("kd", "crd", "rco", "metadistil")
"""Without state, with a memory bank, taught by anchors, with a step and a quiz split of its own."""


def suite(
    path: Path, *, methods: tuple[str, ...] = METHODS, seeds: int = 1, epochs: int = 24,
    teacher_epochs: int = 4, checkpoint_seconds: float = 0.2,
) -> Path:  # fmt: skip
    """The file of a small suite that trains for a few seconds."""
    listed = str(["scratch", *methods]).replace("'", '"')
    settings = {
        "methods": listed, "seeds": seeds, "epochs": epochs, "teacher_epochs": teacher_epochs,
        "checkpoint_seconds": checkpoint_seconds,
    }  # fmt: skip
    path.write_text(SUITE.format_map(settings))
    return path


@dataclass(frozen=True, slots=True)
class Moment:
    """When and whom a kill hits.

    Attributes:
        kind: Of the moment, as the table names it.
        fault: By which the run kills itself; None where it is killed from here.
        seconds: After its start, where it is killed from here.
        alone: Whether `kdbench run` is hit alone: its workers must end by themselves.
    """

    kind: str
    fault: Fault | None
    seconds: float
    alone: bool


_WRITE = r"open|os\.rename|tempfile\.mkstemp"


def _write(path: str, most: int, event: str = _WRITE) -> Callable[[random.Random], Fault]:
    """At one of the first events of writing there: at once, in the midst of it, or soon after."""

    def drawn(rng: random.Random) -> Fault:
        delay = rng.choice([0.0, 0.0, rng.uniform(0, 0.002), rng.uniform(0, 0.02)])
        return Fault(event, path, rng.randint(1, most), delay=delay)

    return drawn


def _step(path: str, most: int, seconds: float) -> Callable[[random.Random], Fault]:
    """Some time after a file was put there."""
    return lambda rng: Fault(
        r"os\.rename", path, rng.randint(1, most), delay=rng.uniform(0.01, seconds)
    )


KINDS: dict[str, Callable[[random.Random], Fault]] = {
    "decoding data": _write(r"/pixels/.*(\.part-|/\d+-\d+$)", 6, _WRITE + r"|tempfile\.mkdtemp"),
    "a teacher's file": _write(r"/teachers/\w+/(\.|anchor|card|checkpoint)", 12),
    "a teacher's step": _step(r"/teachers/\w+/(anchor|checkpoint)", 4, 0.2),
    "a checkpoint": _write(r"/checkpoints/", 15),
    "a step": _step(r"/checkpoints/", 6, 0.3),
    "an artifact": _write(r"/artifacts/", 6),
    "a record": _write(r"/records/.*\.(part|json)$", 5),
}
TEACHER = ("a teacher's file", "a teacher's step")
ANY = "any time"
ENOUGH = 4


def possible(place: Place, before: list[str]) -> list[str]:
    """Kinds of moments that the next run here has; those that come once a chain are first.

    Args:
        before: Kinds of the kills that hit here: some in the teacher's training are enough.
    """
    if not [*place.cache.glob("pixels/*/*/about.json")]:
        return ["decoding data"]
    taught = bool([*place.cache.glob("teachers/*/card.json")])
    if not taught and sum(kind in TEACHER for kind in before) < ENOUGH:
        return [*TEACHER]
    return [ANY, *(kind for kind in KINDS if kind not in ("decoding data", *TEACHER))]


def draw(rng: random.Random, kinds: list[str], longest: float) -> Moment:
    """One of these moments; `longest` is what an undisturbed run takes, in seconds."""
    kind, alone = rng.choice(kinds), rng.random() < 0.5
    if kind == ANY:
        return Moment(kind, None, rng.uniform(0, longest), alone)
    fault = KINDS[kind](rng)
    action = "kill-leader" if alone else "kill"
    return Moment(kind, Fault(fault.event, fault.path, fault.at, action, fault.delay), 0.0, alone)


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill that hit.

    Attributes:
        outlived: Seconds until the last process was gone.
    """

    moment: Moment
    outlived: float


def struck(place: Place, name: str, moment: Moment | None, longest: float) -> Kill | None:
    """The kill that hit a run; None if the run came to its end.

    Args:
        name: Of the run.
        moment: None for a run that nobody disturbs.
        longest: Seconds after which a run hangs.

    Raises:
        AssertionError: It failed, hung or left processes or torn files.
    """
    with place.start(name, fault=moment.fault if moment else None) as run:
        timed = moment is not None and not moment.fault
        code = run.wait(moment.seconds if moment and timed else longest)
        if moment and timed and code is None:
            run.kill(alone=moment.alone)
            code = run.wait(longest)
        assert code is not None, f"a run hangs:\n{run.said()}"
        assert code in (0, -signal.SIGKILL), f"it ended with {code}:\n{run.said()}"
        outlived = run.gone()
    sound(place)
    return Kill(moment, outlived) if moment and code else None


def place(root: Path, asked: Path, workers: int, cache: Path | None = None) -> Place:
    """A fresh place; what is known of the plugins is copied: it takes long and is not at stake."""
    made = Place(root, (str(asked), "--workers", str(workers)))
    if cache:
        shutil.copytree(cache / "registry", made.cache / "registry")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="from which the moments are drawn")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--keep", type=Path, help="a new folder, where a chain that went wrong is left"
    )
    asked = parser.parse_args()
    if asked.keep:
        asked.keep.mkdir()
        hit(asked.keep, asked.kills, asked.seed, asked.workers)
        return
    with tempfile.TemporaryDirectory() as folder:
        hit(Path(folder), asked.kills, asked.seed, asked.workers)


def hit(folder: Path, kills: int, seed: int, workers: int) -> None:
    """Kills so often in this folder, and prints what came of it as a table in Markdown."""
    rng, began = random.Random(seed), now()
    toml = suite(folder / "kills.toml")
    assert not struck(place(folder / "first", toml, workers), "run", None, 1200)
    reference, start = place(folder / "whole", toml, workers, folder / "first" / "cache"), now()
    assert not struck(reference, "run", None, 1200)
    longest = now() - start
    done: list[Kill] = []
    chains = records = 0
    while len(done) < kills:
        here = place(folder / str(chains), toml, workers, folder / "first" / "cache")
        first = len(done)
        for number in count():
            kinds = possible(here, [kill.moment.kind for kill in done[first:]])
            moment = draw(rng, kinds, longest) if len(done) < kills else None
            kill = struck(here, f"run-{number}", moment, 20 * longest + 60)
            if not kill:
                break
            done.append(kill)
            print(f"{len(done)}: {moment}", file=sys.stderr, flush=True)
        records += same(here, reference)
        chains += 1
        print(f"chain {chains} is as the reference", file=sys.stderr, flush=True)
        shutil.rmtree(here.root)
    print(table(done))
    print(
        f"\n{len(done)} kills in {chains} chains, all survived; {records} records compared, "
        f"{records // chains} a chain. The last process was gone at most "
        f"{max(kill.outlived for kill in done):.1f} s after its run. It took "
        f"{now() - began:.0f} s; a run without kills takes {longest:.0f} s."
    )


def table(done: list[Kill]) -> str:
    """How many kills hit at which moments, and whom, in Markdown."""
    counts = Counter((kill.moment.kind, kill.moment.alone) for kill in done)
    rows = [
        (kind, counts[kind, False] + counts[kind, True], counts[kind, False], counts[kind, True])
        for kind in (ANY, *KINDS)
    ]
    total = ("together", *(sum(row[i] for row in rows) for i in (1, 2, 3)))
    heads = ("moment", "kills survived", "of all processes", "of `kdbench run` alone")
    return tabulate([*rows, total], heads, tablefmt="github")


if __name__ == "__main__":
    main()
