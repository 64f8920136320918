"""A row that a claim speaks of -> a measure of it by seed, or why the records do not say."""

import math
from collections.abc import Iterator
from statistics import fmean

from kdbench.errors import UsageError
from kdbench.leaderboard.board import Board, Gap, Row, Table
from kdbench.leaderboard.cells import BY_HAND, means
from kdbench.leaderboard.text import plain
from kdbench.leaderboard.words import gap as reasons
from kdbench.record import Pair, Spec
from kdbench.suite import Where
from kdbench.suite.mistakes import meant

TEACHER = "teacher_"
"""Before a quality of a row's teacher."""


class Unanswered(Exception):
    """Why the records do not say, a line."""


def values(board: Board, where: Where, measure: str) -> dict[int, float]:
    """The measure by seed: the mean over the tables that are meant, of the seeds that all have.

    Raises:
        Unanswered: A table, the row of a table, or its measure is missing.
        UsageError: Several rows of one table are meant.
    """
    found = []
    for table in tables(board, where):
        named = f"{plain(where.method)!r} in {place(table)}"
        found.append(_measured(_row(table, where, named, own=_own(board, where)), measure, named))
    seeds = set(found[0]).intersection(*found)
    return {seed: fmean(one[seed] for one in found) for seed in sorted(seeds)}


def tables(board: Board, where: Where) -> list[Table]:
    """The tables that a row is in, of the settings by default; at least one.

    Raises:
        Unanswered: None is meant, one has no record, or the suite's own cannot be told.
    """
    found = []
    for asked, theirs in _places(board, where):
        if not _meant(where, asked):
            continue
        said = f"{where.variant}: {asked}" if where.variant else asked
        if not theirs:
            raise Unanswered(plain(f"no record of the full protocol of {said}"))
        if len(theirs) > 1:
            raise Unanswered(plain(f"{len(theirs)} protocols, not one, were run of {said}"))
        found += theirs
    if not found:
        raise Unanswered(f"the suite has no table for {name(where)}")
    return found


def place(table: Table) -> str:
    """What a table is called: its variant, data set and pair."""
    key = f"{table.question.dataset} {table.pair}"
    return plain(f"{table.variant}: {key}" if table.variant else key)


def name(where: Where) -> str:
    """What a row is called, as the suite says it."""
    rest = " ".join(part for part in (where.dataset, where.pair) if part)
    parts = (f"{where.variant}:" if where.variant else "", where.method, rest and f"({rest})")
    return plain(" ".join(part for part in parts if part))


def _places(board: Board, where: Where) -> Iterator[tuple[str, list[Table]]]:
    """Data set and pair of every table that is expected, with what there is of it."""
    spec = board.spec
    known = [table for table in board.tables if table.part == "defaults"]
    if not spec.variants:
        there = dict.fromkeys((table.question.dataset, table.pair) for table in known)
        for dataset, pair in spec.wanted or there:
            same = [t for t in known if (t.question.dataset, t.pair) == (dataset, pair)]
            yield f"{dataset} {pair}", same
        return
    if where.variant not in spec.variants:
        names = meant(where.variant, [*spec.variants])
        raise Unanswered(plain(f"the suite has no variant {where.variant!r}; {names}"))
    for asked, key in spec.variants[where.variant].tables.items():
        yield asked, [table for table in known if table.key == key]


def _meant(where: Where, asked: str) -> bool:
    """Whether a table, by data set and pair, is one of those that a row is looked up in."""
    start = f"{Spec.parse(where.dataset)} " if where.dataset else ""
    end = f" {Pair.parse(where.pair)}" if where.pair else ""
    return asked.startswith(start) and asked.endswith(end)


def _own(board: Board, where: Where) -> bool:
    """Whether the suite asks the method just so, with its own settings."""
    variant = board.spec.variants.get(where.variant)
    asked = map(Spec.parse, variant.methods if variant else board.spec.methods)
    method = Spec.parse(where.method)
    return not method.options and method in asked


def _row(table: Table, where: Where, named: str, *, own: bool) -> Row:
    """The one row of the table that is meant.

    What is incomplete counts among those that may be meant, so that no other stands in for it.
    Rows of the whole transfer set go before those that leave out a quiz split, and what the suite
    asks before what was set by hand.

    Args:
        own: Whether nothing that was set by hand can be meant.
    """
    rows = [row for row in table.rows if means(where.method, row.question)]
    gaps = [gap for gap in table.gaps if _is(gap, where.method)]
    same: list[Row | Gap] = [*rows, *gaps]
    same = [one for one in same if not _quiz(one)] or same
    asked = [one for one in same if one.settings != BY_HAND]
    same = asked if own else asked or same
    if len(same) > 1:
        names = "; ".join(sorted(one.name for one in same))
        raise UsageError(
            f"{named} means {len(same)} rows", plain(names), "add the options that tell them apart"
        )
    if not same:
        raise Unanswered(f"there is no row of {named}")
    if isinstance(found := same[0], Row):
        return found
    missing = "; ".join(f"{seeds}: {why}" for seeds, why in reasons(found))
    raise Unanswered(plain(f"{named} is not complete: {missing}"))


def _is(gap: Gap, method: str) -> bool:
    """Whether what is missing is the method, as a suite writes both."""
    if gap.question is not None:
        return means(method, gap.question)
    asked, own = Spec.parse(method), Spec.parse(gap.name.partition(" (")[0])
    options = dict(own.options)
    return asked.name == own.name and all(options.get(k, v) == v for k, v in asked.options)


def _quiz(one: Row | Gap) -> bool:
    """Whether rows of the transfer set are left out."""
    return one.question.quiz > 0 if one.question else " (quiz split" in one.name


def _measured(row: Row, measure: str, named: str) -> dict[int, float]:
    if measure in row.values:
        found = dict(row.values[measure])
    elif measure.startswith(TEACHER):
        key = measure.removeprefix(TEACHER)
        cards = {r.question.seed: r.teacher for r in row.records if r.teacher}
        found = {seed: c.quality[key] for seed, c in cards.items() if key in c.quality}
        if set(found) != set(row.seeds):
            raise Unanswered(plain(f"not every seed has {measure} of {named}"))
    else:
        known = meant(measure, [*row.values])
        raise Unanswered(plain(f"not every seed has {measure} of {named}; {known}"))
    for seed, value in found.items():
        if not math.isfinite(value):
            raise Unanswered(plain(f"{measure} of {named} is {value} in seed {seed}"))
    return found
