"""What does pairing by seed save? The paired difference's variance, over an unpaired one's.

    python tests/benchmarks/pairing.py leaderboards/digits leaderboards/fashion-mini

Of every method against every baseline of a committed board's tables: the variance of the difference
within a seed, over the sum of both variances, which is that of a difference of seeds that have
nothing to do with each other. 1 says that pairing is worth nothing; 0.5, that it is worth as much
as twice the seeds. A table's figure is the ratio of the sums over its methods.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles, variance

from kdbench.leaderboard import Row, Table, read


def shares(table: Table, baseline: str, metric: str) -> tuple[list[float], float] | None:
    """Each method's ratio, and the table's; None where the table has no such baseline."""
    pairs = [
        (row, base) for row in table.rows for base in table.rows
        if base.baseline == baseline and row is not base and metric in row.values
        and row.question.quiz == base.question.quiz
    ]  # fmt: skip
    parts = [_variances(row, base, metric) for row, base in pairs]
    if len(parts) < 2:
        return None
    found = [within / apart for within, apart in parts if apart > 0]
    return found, sum(within for within, _ in parts) / sum(apart for _, apart in parts)


def _variances(row: Row, base: Row, metric: str) -> tuple[float, float]:
    ours, theirs = row.values[metric], base.values[metric]
    apart = variance(ours.values()) + variance(theirs.values())
    return variance([ours[seed] - theirs[seed] for seed in ours]), apart


def _line(words: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, words))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--metric", default="accuracy")
    asked = parser.parse_args()
    print(_line(("board", "pair", "against", "methods", "seeds", "ratio", "quartiles of methods")))
    print(_line(["---"] * 7))
    for folder in asked.folders:
        board = read(folder)
        for table in board.tables:
            for baseline in board.spec.baselines:
                if found := shares(table, baseline, asked.metric):
                    each, whole = found
                    low, middle, high = quantiles(each, n=4)
                    spread = f"{low:.2f}, {middle:.2f}, {high:.2f}"
                    print(_line((board.spec.suite, table.pair, baseline, len(each),
                                 len(table.seeds), f"{whole:.2f}", spread)))  # fmt: skip


if __name__ == "__main__":
    main()
