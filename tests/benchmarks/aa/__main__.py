"""A/A: does a board tell KD from KD?

    python tests/benchmarks/aa digits --seeds 20 --store aa-digits

KD's first half of the seeds against its second half, unpaired (Welch), and against KD from initial
weights that are a millionth off, paired by seed, through the board itself. All contrasts of a kind
are judged together (Holm); each should come out as a tie.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import fmean

from scipy.stats import ttest_ind

from kdbench.leaderboard import Row, Table, read
from kdbench.statistics.contrasts import holm

METRICS = ("accuracy", "agreement", "kl")
NUDGED = Path(__file__).with_name("nudged.py")


def halves(table: Table) -> dict[tuple[str, str], tuple[float, float]]:
    """KD's second half of the seeds less its first, by table and metric: difference and p value."""
    found = {}
    for metric in METRICS:
        values = [_row(table, "kd").values[metric][seed] for seed in table.seeds]
        first, second = values[: len(values) // 2], values[len(values) // 2 :]
        p = float(ttest_ind(second, first, equal_var=False).pvalue)
        found[table.pair, metric] = (fmean(second) - fmean(first), p)
    return found


def _row(table: Table, method: str) -> Row:
    (row,) = (row for row in table.rows if row.question.method == method)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--store", type=Path, required=True)
    asked = parser.parse_args()
    chosen = ("-m", "kd", "-m", str(NUDGED), "--seeds", str(asked.seeds))
    command = [sys.executable, "-m", "kdbench", "run", asked.suite, *chosen]
    subprocess.run([*command, "--store", str(asked.store)], check=True, stdout=subprocess.DEVNULL)
    board = read(asked.store)
    found = {key: one for table in board.tables for key, one in halves(table).items()}
    adjusted = holm({key: p for key, (_, p) in found.items()})
    print("unpaired, second half of the seeds less the first:")
    for (pair, metric), (difference, p) in found.items():
        tie = "tie" if adjusted[pair, metric] >= 0.05 else "TOLD APART"
        print(f"  {pair} {metric}: {difference:+.4f}, p {p:.2f}, {tie}")
    print("paired, nudged less kd:")
    for table in board.tables:
        one = _row(table, "nudged").contrasts["kd"]
        gain, tie = one.difference, "TOLD APART" if one.differs else "tie"
        print(f"  {table.pair}: {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], "
              f"n {gain.n}, p {one.p:.2f}, {tie}")  # fmt: skip


if __name__ == "__main__":
    main()
