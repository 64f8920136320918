"""The board as one flat sheet: a line a row, a column a figure; fractions, not percent."""

from typing import TypeAlias

from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.expenses import NUMBERS
from kdbench.leaderboard.text import stored
from kdbench.record import canonical
from kdbench.statistics import Contrast, Estimate

Value: TypeAlias = str | int | float | None
"""None where a row has none; numbers to ten significant figures."""

_WHO = (
    "dataset", "teacher", "student", "protocol", "split", "table", "row", "method",
    "hyperparameters", "quiz", "rows", "settings", "baseline", "n", "seeds", "rank_low",
    "rank_high", "group", "contender",
)  # fmt: skip
_FIRST = ("accuracy", "agreement", "kl", "ece")
_TESTED = ("_p_holm", "_more_seeds")
_SIZES = (
    "gap_closed", *NUMBERS, "cpu_ms", "latency_ms", "throughput", "parameters", "multiply_adds",
    "hardware",
)  # fmt: skip

TEXTS = frozenset({
    "variant", "dataset", "teacher", "student", "protocol", "split", "table", "row", "method",
    "hyperparameters", "settings", "seeds", "group", "hardware",
})  # fmt: skip
"""The columns of words; all others hold numbers."""


def columns(board: Board) -> tuple[str, ...]:
    """Names of all columns, whatever single rows lack."""
    names = {name for table in board.tables for row in table.rows for name in row.metrics}
    metrics = [*_FIRST, *sorted(names - set(_FIRST))]
    gains = [f"gain_over_{text}" for text in board.spec.baselines]
    intervals = [*metrics, *gains, "overhead", "cpu_overhead"]
    return (
        *(["variant"] if board.spec.variants else []),
        *_WHO,
        *(name + end for name in intervals for end in ("", "_low", "_high")),
        *(name + end for name in gains for end in _TESTED),
        *_SIZES,
    )


def line(table: Table, row: Row) -> dict[str, Value]:
    """What the row has, by column; a column that is not there has nothing."""
    ask, cost, standing, deployed = row.question, row.expense, row.standing, row.deployed
    found: dict[str, Value] = {
        "variant": table.variant, "dataset": ask.dataset, "teacher": ask.teacher,
        "student": ask.student,
        "protocol": table.key[:12], "split": ask.evaluation.split, "table": table.part,
        "row": row.name, "method": ask.method, "hyperparameters": canonical(ask.hyperparameters),
        "quiz": ask.quiz, "rows": row.rows, "settings": row.settings,
        "baseline": int(bool(row.baseline)), "n": len(row.seeds),
        "seeds": " ".join(map(str, row.seeds)), "gap_closed": row.gap_closed,
        "cpu_ms": row.cpu_ms, "latency_ms": row.latency_ms, "throughput": row.throughput,
    }  # fmt: skip
    if standing and standing.rank:
        found["rank_low"], found["rank_high"] = standing.rank
        found |= {"group": standing.letters, "contender": int(bool(standing.contender))}
    for name, estimate in row.metrics.items():
        found |= _interval(name, estimate)
    for text, gain in row.gains.items():
        found |= _interval(f"gain_over_{text}", gain)
    for text, contrast in row.contrasts.items():
        found |= _tested(f"gain_over_{text}", contrast)
    found |= _interval("cpu_overhead", row.cpu_overhead)
    if deployed:
        found |= {"parameters": deployed.parameters, "multiply_adds": deployed.multiply_adds}
    if cost:
        found |= _interval("overhead", cost.overhead)
        found |= {name: getattr(cost, name) for name in NUMBERS}
        found["hardware"] = table.hardware[cost.hardware]
    return {
        name: stored(value) if isinstance(value, float) else value for name, value in found.items()
    }


def _interval(name: str, estimate: Estimate | None) -> dict[str, Value]:
    """Mean and ends; values that are all the same have no interval."""
    if estimate is None:
        return {}
    ends = (None, None) if estimate.identical else (estimate.low, estimate.high)
    return {name: estimate.mean, f"{name}_low": ends[0], f"{name}_high": ends[1]}


def _tested(name: str, contrast: Contrast) -> dict[str, Value]:
    """Holm's p value, and how many more seeds would settle what is not settled."""
    return dict(
        zip((name + end for end in _TESTED), (contrast.adjusted, contrast.more), strict=True)
    )
