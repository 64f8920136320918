"""Does a cohort's cost pass say what a method costs alone?

    python tests/benchmarks/alone.py --json alone.json

One side is a block of the cost pass, as a cohort of all methods takes it after training: what
boards show as a step. The other is the training loop of a cohort in which the method is alone and
its teacher answers at every step: its seconds over its steps. All take turns in one process of one
thread, A B A B; printed is the median of the rounds' ratios with its 95 % interval.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parent / "targets"))
from rounds import Block, Side, take_turns, timed
from training import rig

import kdbench
from kdbench.statistics import median_interval
from kdbench.train import block, lockstep
from kdbench.train.timing import spread

METHODS = ("kd", "dkd", "fitnet", "rkd")
PASS, ALONE = "pass, ", "alone, "


def passes(pair: str, steps: int) -> dict[str, Side]:
    """Blocks of the cost pass of one cohort, by method."""
    shared = rig(pair, 64, 50_000)
    runners = {name: shared.runner(kdbench.method(name)) for name in METHODS}

    def side(name: str) -> Side:
        runner = runners[name]
        teach = shared.teach(runner.needs.maps)

        def once() -> Block:
            found = block(runner, shared.views, teach, spread(runner.total, steps))
            return {"work": steps, "seconds": steps * found.wall_ms / 1e3}

        return once

    return {PASS + name: side(name) for name in METHODS}


def alone(pair: str, steps: int, name: str) -> Side:
    """The training loop of a cohort of this method alone."""
    shared = rig(pair, 64, 50_000)
    runner = shared.runner(kdbench.method(name))
    teach = shared.teach(runner.needs.maps)

    def train() -> None:
        _, failures = lockstep({name: runner}, shared.views, shared.cohort.protocol, steps, teach)
        if failures:
            raise RuntimeError(f"left the loop: {failures}")

    return lambda: timed(train, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pair", default="resnet20:resnet8")
    parser.add_argument("--steps", type=int, default=4, help="of a block")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, default=Path("alone.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sides = passes(asked.pair, asked.steps)
    sides |= {ALONE + name: alone(asked.pair, asked.steps, name) for name in METHODS}
    for side in sides.values():
        side()
    found: dict[str, Any] = take_turns(sides, asked.rounds)
    asked.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    for name in METHODS:
        turns = [one["blocks"] for one in found["rounds"]]
        ratios = [one[PASS + name]["seconds"] / one[ALONE + name]["seconds"] for one in turns]
        ends = ", ".join(f"{end:.3f}" for end in median_interval(ratios) or ())
        print(f"{name}: {median(ratios):.3f} [{ends}] (n = {len(ratios)})")


if __name__ == "__main__":
    main()
