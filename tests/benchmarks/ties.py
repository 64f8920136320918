"""Do boards of methods that are all the same say so, and do their intervals hold what they should?

    python tests/benchmarks/ties.py leaderboards/digits --boards 2000 --json ties.json

Draws boards from the residuals of a committed one and lets `kdbench.leaderboard` judge them. A
table's accuracies are taken apart into each method's mean, what a seed does to all methods, and the
rest. A drawn board has other seeds, of drawn effects and drawn rests; its methods are all as good
(they should tie) or as good as in the committed board (intervals should cover the differences).
Some trials fail, so that their methods are not ranked.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from kdbench import engine
from kdbench.leaderboard import Board, Row, Table, build, read
from kdbench.record import Failure, Record, Store

SEEDS = (3, 5, 8)
FAILING = 0.01
"""Share of trials."""

FAILURE = Failure(kind="RuntimeError", message="drawn", where="step 1")
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Parts:
    """A table taken apart.

    Attributes:
        rows: By name, each with its mean and one of its records.
        effects: Of seeds on all methods, as variable as those that they estimate.
        rests: Of single trials, likewise.
    """

    rows: dict[str, tuple[float, Record]]
    effects: Sequence[float]
    rests: Sequence[float]


@lru_cache
def committed(folder: Path) -> tuple[Board, list[Parts]]:
    """A board without what is tuned per pair, and its tables taken apart."""
    board, by_cell = read(folder), dict[str, Record]()
    for record in Store(folder).records():
        if record.status == "ok":
            by_cell.setdefault(record.question.cell, record)
    return board, [_apart(t, by_cell) for t in board.tables if t.part == "defaults"]


def _apart(table: Table, by_cell: dict[str, Record]) -> Parts:
    values = np.array([[row.values[ACCURACY][s] for s in table.seeds] for row in table.rows])
    methods, seeds = values.shape
    means, effects = values.mean(1), values.mean(0) - values.mean()
    rests = values - means[:, None] - effects
    return Parts(
        rows={
            row.name: (float(mean), by_cell[row.question.cell])
            for row, mean in zip(table.rows, means, strict=True)
        },
        effects=(effects * np.sqrt(seeds / (seeds - 1))).tolist(),
        rests=(rests * np.sqrt(rests.size / ((methods - 1) * (seeds - 1)))).ravel().tolist(),
    )


def drawn(folder: Path, seeds: int, same: bool, number: int) -> Counter[str]:
    """What is to be counted of one drawn board."""
    board, tables = committed(folder)
    stream = np.random.default_rng([number, seeds, same])
    records, truth = list[Record](), dict[str, float]()
    for parts in tables:
        level = fmean(mean for mean, _ in parts.rows.values())
        effects = stream.choice(parts.effects, seeds)
        for mean, sample in parts.rows.values():
            truth[sample.question.cell] = level if same else mean
            values = truth[sample.question.cell] + effects + stream.choice(parts.rests, seeds)
            records += [
                _record(sample, seed, float(value), bool(stream.random() < FAILING))
                for seed, value in enumerate(values)
            ]
    spec = board.spec.model_copy(update={"seeds": tuple(range(seeds)), "by_pair": {}})
    return _counted(build(records, spec), truth)


def _record(sample: Record, seed: int, value: float, fails: bool) -> Record:
    question = sample.question.model_copy(update={"seed": seed})
    changed = {"question": question, "quality": {ACCURACY: value}, "fidelity": {}, "cost": None}
    if fails:
        changed |= {"status": "failed", "failure": FAILURE, "quality": {}}
    return sample.model_copy(update=changed)


def _counted(board: Board, truth: dict[str, float]) -> Counter[str]:
    counts = Counter[str]()
    for table in board.tables:
        for row in table.rows:
            for text, one in row.contrasts.items():
                low, high = one.difference.low, one.difference.high
                counts["gains"] += 1
                counts["gains, covered"] += _holds(low, high, _real(table, row, text, truth))
        letters = [set(row.standing.letters) for row in table.rows if row.standing]
        counts["tables"] += 1
        best = max(table.rows, key=lambda row: (truth[row.question.cell], row.name), default=None)
        if best and best.standing:
            counts["bests"] += 1
            counts["bests, contending"] += bool(best.standing.contender)
        counts["tables, tied by letters"] += bool(set.intersection(*letters))
        for text in board.spec.baselines:
            family = [row.contrasts[text] for row in table.rows if text in row.contrasts]
            counts["columns"] += bool(family)
            counts["columns, tied"] += bool(family) and not any(one.differs for one in family)
    tables, first = {table.key: table for table in board.tables}, board.spec.baselines[0]
    for one in board.across:
        if one.standing and one.baseline != first:
            real = fmean(_real(tables[key], row, first, truth) for key, row in one.rows.items())
            counts["means over pairs"] += 1
            counts["means over pairs, covered"] += _holds(one.standing.low, one.standing.high, real)
    return counts


def _real(table: Table, row: Row, baseline: str, truth: dict[str, float]) -> float:
    """What the row's gain really is."""
    (base,) = (
        other for other in table.rows
        if other.baseline == baseline and other.question.quiz == row.question.quiz
    )  # fmt: skip
    return truth[row.question.cell] - truth[base.question.cell]


def _holds(low: float | None, high: float | None, real: float) -> bool:
    return low is not None and high is not None and low <= real <= high


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--boards", type=int, default=2000)
    parser.add_argument("--json", type=Path, default=Path("ties.json"))
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    with ProcessPoolExecutor(engine.cores()) as pool:
        for seeds in SEEDS:
            for same in (True, False):
                one = partial(drawn, asked.folder, seeds, same)
                counts = sum(pool.map(one, range(asked.boards), chunksize=10), Counter[str]())
                found.append({"seeds": seeds, "same": same, "boards": asked.boards} | counts)
                shares = {
                    name: f"{100 * counts[name] / counts[name.partition(',')[0]]:.1f} %"
                    for name in sorted(counts) if "," in name
                }  # fmt: skip
                print(f"n = {seeds}, {'all the same' if same else 'as committed'}:", shares)
    asked.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
