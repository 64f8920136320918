"""What does it cost to watch over what belongs to all?

    python tests/benchmarks/guard.py --json guard.json

One side is the training loop as a cohort runs it, whose guard looks after every call and step; the
other the same loop of the same runners, whose guard looks at nothing. They take turns in one
process of one thread, A B A B; printed is the median of the rounds' ratios with its 95 % interval,
for a pair of CIFAR's size and for one so small that hardly anything but the host's own work is
left.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import or_
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parent / "targets"))
from rounds import Side, take_turns, timed
from training import rig

import kdbench
from kdbench.statistics import median_interval
from kdbench.teacher.seal import Seal
from kdbench.train import Functions, Guard, Surroundings, lockstep
from kdbench.train.stream import Step

METHODS = ("kd", "dkd", "fitnet", "rkd", "crd", "simkd")
PAIRS = ("resnet20:resnet8", "resnet8:resnet8[width=0.25]")


class Blind(Guard):
    """Looks at nothing."""

    @contextmanager
    def call(self, call: str, shared: Step | None = None) -> Iterator[None]:
        yield

    def step(self, shared: Step, *, last: bool) -> None:
        pass


def sides(pair: str, batch: int, steps: int) -> dict[str, Side]:
    """The loop with the guard and without, on one cohort of all methods."""
    shared = rig(pair, batch, 50_000)
    runners = {name: shared.runner(kdbench.method(name)) for name in METHODS}
    teach = shared.teach(reduce(or_, (runner.needs.maps for runner in runners.values())))
    functions, surroundings = Functions(), Surroundings()
    surroundings.learn()
    guards = {"guarded": Guard((functions, surroundings, Seal(shared.teacher))), "blind": Blind()}

    def side(guard: Guard) -> Side:
        def train() -> None:
            protocol = shared.cohort.protocol
            _, failures = lockstep(runners, shared.views, protocol, steps, teach, guard=guard)
            if failures:
                raise RuntimeError(f"left the loop: {failures}")

        return lambda: timed(train, steps * batch * len(runners))

    return {name: side(guard) for name, guard in guards.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4, help="of a block")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, default=Path("guard.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = dict[str, Any]()
    for pair in PAIRS:
        turns = sides(pair, asked.batch, asked.steps)
        for side in turns.values():
            side()
        found[pair] = take_turns(turns, asked.rounds)
    asked.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    for pair, rounds in found.items():
        told = [one["blocks"] for one in rounds["rounds"]]
        ratios = [one["guarded"]["cpu"] / one["blind"]["cpu"] for one in told]
        ends = ", ".join(f"{end:.3f}" for end in median_interval(ratios) or ())
        print(f"{pair}: {median(ratios):.3f} [{ends}] of processor time (n = {len(ratios)})")


if __name__ == "__main__":
    main()
