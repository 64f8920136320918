"""What a table says at first sight: which methods differ from the baseline, how far, how surely."""

from dataclasses import dataclass

from kdbench.leaderboard import BoardSpec, Row, Table, words
from kdbench.leaderboard.text import MISSING, fixed, spread
from kdbench.page.trials import anchors
from kdbench.page.verdict import Told, Verdict, bar, cost, kept, methods, reach, shown, verdict
from kdbench.statistics import mean

_STANDS: dict[Told, str] = {
    "below": "better than {}", "above": "worse than {}", "open": "no difference from {} shown",
}  # fmt: skip
"""How a baseline stands to another, by what is told of the other against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A row against the baseline.

    Attributes:
        key: Of its trials in the page.
        against: The baseline of its own kind of stream, where that trains on fewer rows; else "".
        mean: Points, short.
        told: Gain, p value and so on.
        bar: See `kdbench.page.columns.Cell`.
    """

    name: str
    key: str
    against: str
    mean: str
    told: Verdict
    cost: str
    bar: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is compared with.

    Attributes:
        stands: How it stands to the other baselines of its kind of stream; "" where not compared.
    """

    name: str
    accuracy: str
    cost: str
    stands: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The methods of a table by what is told of them; baselines are not counted.

    Attributes:
        facts: What the comparison stands on.
        picture: Heading of the pictures of gains.
        references: The baselines, by kind of stream.
    """

    baseline: str
    count: int
    facts: tuple[str, ...]
    picture: str
    above: tuple[Finding, ...]
    below: tuple[Finding, ...]
    open: tuple[Finding, ...]
    references: tuple[tuple[Reference, ...], ...]


def answer(table: Table, spec: BoardSpec, place: int) -> Answer | None:
    """Of the board's `place`th table; None where nothing is compared."""
    baseline = spec.baselines[-1] if spec.baselines else ""
    if not any(baseline in row.contrasts for row in table.own):
        return None
    keys = anchors(table, place)
    limit = reach([verdict(row, baseline) for row in table.rows])

    def found(told: Told) -> tuple[Finding, ...]:
        return tuple(
            _finding(row, against(row, table, baseline), keys[row.name], verdict(row, baseline),
                     limit)
            for row in kept(table, told, baseline)
        )  # fmt: skip

    return Answer(
        baseline=baseline, count=len(methods(table, baseline)), facts=_facts(table),
        picture=shown(limit), above=found("above"), below=found("below"), open=found("open"),
        references=tuple(
            tuple(_reference(row, table, spec) for row in same) for same in streams(table)
        ),
    )  # fmt: skip


def streams(table: Table) -> list[list[Row]]:
    """The baselines by kind of stream, first those without a quiz split."""
    baselines = [row for row in table.rows if row.baseline]
    kinds = sorted({row.question.quiz for row in baselines})
    return [[row for row in baselines if row.question.quiz == quiz] for quiz in kinds]


def against(row: Row, table: Table, baseline: str) -> str:
    """Name of the baseline that a row with a quiz split is compared with; "" for other rows."""
    if not row.question.quiz:
        return ""
    same = (one for one in table.rows if one.question.quiz == row.question.quiz)
    return next((one.name for one in same if one.baseline == baseline), "")


def _finding(row: Row, against: str, key: str, told: Verdict, limit: float) -> Finding:
    return Finding(
        name=row.name, key=key, against=against, mean=fixed(told.mean, 2, sign=True), told=told,
        cost=cost(row), bar=bar(told, limit),
    )  # fmt: skip


def _reference(row: Row, table: Table, spec: BoardSpec) -> Reference:
    first, last = spec.baselines[0], spec.baselines[-1]
    others = [
        one for one in table.rows
        if one.baseline and one.question.quiz == row.question.quiz and last in one.contrasts
    ]  # fmt: skip
    stands = [_stands(row, one, last) for one in others] if row.baseline == last else []
    return Reference(
        name=row.name, accuracy=spread(row.metrics.get("accuracy"), 2, scale=100),
        cost=MISSING if row.baseline == first else cost(row), stands="; ".join(stands),
    )  # fmt: skip


def _stands(row: Row, other: Row, baseline: str) -> str:
    """Of a baseline to another: by the other's contrast, whose p value the tables print."""
    told, known = verdict(other, baseline), other.contrasts[baseline].adjusted is not None
    gain = spread(row.gains[other.baseline], 2, scale=100, sign=True)
    sure = f", p (Holm) {told.p}" if known else ""
    return f"{_STANDS[told.told].format(other.name)}: {gain} points{sure}"


def _facts(table: Table) -> tuple[str, ...]:
    """Teacher, seeds, rows and machine, in a few words each."""
    known = [card.quality["accuracy"] for card in table.teachers if "accuracy" in card.quality]
    several = f" (mean of {len(known)})" if len(known) > 1 else ""
    facts = [f"Teacher {fixed(100 * mean(known).mean, 2)} %{several}"] if known else []
    count = len(table.seeds)
    facts += [f"{count} seed{'s' * (count != 1)}", words.rows(table)]
    facts += [f"cost measured on {' and '.join(table.hardware)}"] if table.hardware else []
    return tuple(facts)
