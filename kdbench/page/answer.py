"""What a table says at first sight: which methods differ from the baseline, how far, how surely."""

import re
from dataclasses import dataclass

from kdbench.leaderboard import BoardSpec, Row, Table
from kdbench.leaderboard.text import fixed, spread
from kdbench.page.trials import anchors
from kdbench.page.verdict import Told, bar, kept, overhead, reach, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A row against the baseline.

    Attributes:
        key: Of its trials in the page.
        mean: Points, short.
        gain: The same with its interval.
        sure: How sure that is.
        bar: See `kdbench.page.columns.Cell`.
    """

    name: str
    key: str
    told: Told
    mean: str
    gain: str
    sure: str
    overhead: str
    bar: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is compared with: a baseline's accuracy and cost."""

    name: str
    accuracy: str
    overhead: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The methods of a table by what is told of them, the largest difference first.

    Attributes:
        limit: Points on either side of 0 that the pictures of gains show.
        seeds: On how many it stands.
    """

    baseline: str
    count: int
    seeds: int
    limit: str
    above: tuple[Finding, ...]
    below: tuple[Finding, ...]
    open: tuple[Finding, ...]
    references: tuple[Reference, ...]


def answer(table: Table, spec: BoardSpec, place: int) -> Answer | None:
    """Of the board's `place`th table; None where nothing is compared."""
    baseline = spec.baselines[-1] if spec.baselines else ""
    compared = [row for row in table.own if baseline in row.contrasts]
    if not compared:
        return None
    keys = anchors(table, place)
    baselines = [row for row in table.rows if row.baseline]
    limit = reach([verdict(row, baseline) for row in compared])

    def found(told: Told) -> tuple[Finding, ...]:
        rows = kept(table, told, baseline)
        return tuple(_finding(row, baseline, keys[row.name], limit) for row in rows)

    return Answer(
        baseline=baseline, count=len(compared), seeds=len(table.seeds), limit=fixed(limit, 1),
        above=found("above"), below=found("below"), open=found("open"),
        references=tuple(map(_reference, sorted(baselines, key=lambda row: row.question.quiz))),
    )  # fmt: skip


def _finding(row: Row, baseline: str, key: str, limit: float) -> Finding:
    told = verdict(row, baseline)
    return Finding(
        name=row.name, key=key, told=told.told, mean=fixed(told.mean, 2, sign=True),
        gain=told.gain, sure=_short(told.sure), overhead=overhead(row), bar=bar(told, limit),
    )  # fmt: skip


def _short(sure: str) -> str:
    """Without the words that the heading of a column says."""
    return re.sub(r"needs (.*) more seeds?", r"\1", sure)


def _reference(row: Row) -> Reference:
    return Reference(
        name=row.name, accuracy=spread(row.metrics.get("accuracy"), 2, scale=100),
        overhead=overhead(row),
    )  # fmt: skip
