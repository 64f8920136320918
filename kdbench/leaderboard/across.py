"""Methods over all cells of a board, a cell being a data set, a pair and their protocol."""

from collections.abc import Sequence

from kdbench.leaderboard.board import Overall, Row, Table
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.text import stored
from kdbench.record import canonical
from kdbench.statistics import Critical, Standing, critical, standings

_Key = tuple[str, str, float]
"""Method, hyperparameters and quiz split: what makes rows of two tables the same method."""


def across(tables: Sequence[Table], spec: BoardSpec) -> tuple[Overall, ...]:
    """Gains over the first baseline, best first; methods with holes come last, without a standing.

    What is tuned for a pair is no method of other pairs and has no place here.
    """
    cells = [table for table in tables if table.part == "defaults"]
    if len(cells) < 2 or not spec.baselines:
        return ()
    gains = {table.key: _gains(table, spec.baselines[0]) for table in cells}
    keys = {_key(row): row for table in reversed(cells) for row in table.rows}
    whole = [key for key in keys if all(key in found for found in gains.values())]
    stand = standings({key: {cell: found[key] for cell, found in gains.items()} for key in whole})
    rows = [
        Overall(
            name=_name(row), baseline=row.baseline, standing=stand.get(key),
            rows={t.key: one for t in cells for one in t.rows if _key(one) == key},
            missing=tuple(t.heading for t in cells if key not in gains[t.key]),
        )
        for key, row in keys.items()
    ]  # fmt: skip
    return tuple(sorted(rows, key=_place))


def ranked(methods: Sequence[Overall], spec: BoardSpec) -> Critical | None:
    """Ranks of the methods without holes over all cells, by gain over the first baseline.

    Baselines that run again beside a quiz split are not ranked twice.
    """
    gains = {
        one.name: {cell: _gain(one, row, spec.baselines[0]) for cell, row in one.rows.items()}
        for one in methods
        if one.standing
        and not (one.baseline and any(row.question.quiz for row in one.rows.values()))
    }
    return critical(gains)


def _gain(one: Overall, row: Row, baseline: str) -> float:
    # rounded, so that a last bit of a mean breaks no tie
    return 0.0 if one.baseline == baseline else stored(row.gains[baseline].mean)


def _gains(table: Table, baseline: str) -> dict[_Key, dict[int, float]]:
    """By seed, of each row over the baseline of its own kind of stream, where there is one."""
    theirs = {row.question.quiz: row.values for row in table.rows if row.baseline == baseline}
    found = {}
    for row in table.rows:
        base = theirs.get(row.question.quiz, {})
        if "accuracy" in base and "accuracy" in row.values:
            ours, other = row.values["accuracy"], base["accuracy"]
            found[_key(row)] = {seed: ours[seed] - other[seed] for seed in table.seeds}
    return found


def _key(row: Row) -> _Key:
    return row.question.method, canonical(row.question.hyperparameters), row.question.quiz


def _name(row: Row) -> str:
    """Without the rows of its data set."""
    return row.name.partition(" (")[0] + (
        f" (quiz split {row.question.quiz:g})" if row.question.quiz else ""
    )


def _place(one: Overall) -> tuple[bool, float, str]:
    stand: Standing | None = one.standing
    return stand is None, -stand.mean if stand else 0.0, one.name
