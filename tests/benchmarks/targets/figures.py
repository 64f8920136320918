"""From raw rounds to the table of targets."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

from kdbench.statistics import median_interval


class Row(NamedTuple):
    """One line of the table: how many times as fast one side is as another.

    Attributes:
        work, against: In words.
        group: What is measured together.
        ours, theirs: Names of the sides.
        least: The target; None where the line only tells more.
        seconds: Which of their seconds count.
    """

    work: str
    against: str
    group: str
    ours: str
    theirs: str
    least: float | None = None
    seconds: str = "seconds"


class Reached(NamedTuple):
    """What a row came to: the median of its rounds' ratios, by the clock and, if told, CPU time."""

    ratio: float
    interval: tuple[float, float] | None
    by_cpu: float | None
    rounds: int
    discarded: int


def reached(row: Row, group: Mapping[str, Any]) -> Reached:
    """The row's ratio from its group's raw rounds; from those discarded if no other is left."""
    rounds = group["rounds"] or group["discarded"]
    blocks = [(one["blocks"][row.ours], one["blocks"][row.theirs]) for one in rounds]
    wall = [_per(ours, "seconds") / _per(theirs, row.seconds) for ours, theirs in blocks]
    told = [one for one in blocks if all("cpu" in block for block in one)]
    cpu = [_per(ours, "cpu") / _per(theirs, "cpu") for ours, theirs in told]
    return Reached(
        median(wall), median_interval(wall), median(cpu) if cpu else None, len(group["rounds"]),
        len(group["discarded"]),
    )  # fmt: skip


def _per(block: Mapping[str, float], seconds: str) -> float:
    return block["work"] / block[seconds]


def table(rows: Iterable[Row], groups: Mapping[str, Any]) -> str:
    """The rows that were measured, as Markdown."""
    lines = [
        "| work | against | at least | reached (95 %) | by CPU time | rounds (discarded) | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.group not in groups:
            continue
        found = reached(row, groups[row.group])
        ends = f" ({found.interval[0]:.2f} to {found.interval[1]:.2f})" if found.interval else ""
        cpu = "" if found.by_cpu is None else f"{found.by_cpu:.2f}x"
        least = "" if row.least is None else f"{row.least:.3g}x"
        met = "" if row.least is None else "yes" if found.ratio >= row.least else "no"
        met = met if found.rounds else "not judged"
        quiet = found.rounds or "none quiet"
        lines.append(
            f"| {row.work} | {row.against} | {least} | {found.ratio:.2f}x{ends} | "
            f"{cpu} | {quiet} ({found.discarded}) | {met} |"
        )
    return "\n".join(lines) + "\n"
