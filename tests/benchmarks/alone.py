"""Does a cohort's cost pass say what a method costs alone?

    python tests/benchmarks/alone.py --json alone.json

Runs four methods in one cohort, then each of them in a run of its own that asks its teacher at
every step, seed after seed; compares the step of the cost pass (`step_ms`, the comparison column of
boards) with what a step of the training alone took: the seconds of its loop over its steps.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from kdbench.record import Record, Store

METHODS = ("kd", "dkd", "fitnet", "rkd")
LOOP = ("data", "teacher", "student", "loss", "backward", "update", "loop")
SUITE = """
name = "alone"

[axes]
datasets = ["cifar100"]
pairs = ["{pair}"]
methods = {methods}
seeds = 1

[train]
epochs = 1
steps = {steps}
batch_size = 64
rows = 12800
shift = 4
flip = true
learning_rate = 0.05
weight_decay = 5e-4

[teacher]
steps = 20
rows = 12800

[scoring]
baselines = ["scratch"]

[limits]
answers_gb = 0
"""


def run(suite: Path, store: Path, seed: int, method: str = "") -> dict[str, Record]:
    """The records of a seed, by method: of all, or of one alone."""
    chosen = ["-m", method] if method else []
    line = [sys.executable, "-m", "kdbench", "run", str(suite), "--store", str(store),
            "--seeds", str(seed), "--workers", "1", *chosen]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    found = [one for one in Store(store).records() if one.question.seed == seed]
    return {one.question.method: one for one in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pair", default="resnet20:resnet8")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("alone.json"))
    asked = parser.parse_args()
    raw: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "alone.toml"
        methods = json.dumps(["scratch", *METHODS])
        suite.write_text(SUITE.format(pair=asked.pair, steps=asked.steps, methods=methods))
        for seed in range(asked.seeds):
            together = run(suite, Path(folder) / "together", seed)
            for method in METHODS:
                alone = run(suite, Path(folder) / f"alone-{method}", seed, method)[method]
                cost, spent = together[method].cost, alone.seconds
                assert cost is not None
                step = 1e3 * sum(spent.get(phase, 0.0) for phase in LOOP) / asked.steps
                raw.append({
                    "seed": seed, "method": method, "cohort_ms": cost.step_ms, "alone_ms": step,
                    "ratio": cost.step_ms / step, "discarded": cost.discarded,
                    "valid": cost.valid, "unaccounted": spent["unaccounted"] / spent["wall"],
                })  # fmt: skip
                print(raw[-1], flush=True)
    asked.json.write_text(json.dumps(raw, indent=1) + "\n")
    for method in METHODS:
        ratios = [one["ratio"] for one in raw if one["method"] == method]
        print(f"{method}: {median(ratios):.3f} (n = {len(ratios)})")


if __name__ == "__main__":
    main()
