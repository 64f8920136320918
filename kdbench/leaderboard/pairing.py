"""Trials of two sides that share all but what differs, and why the others have no partner."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kdbench.errors import UsageError
from kdbench.leaderboard.cells import Cell
from kdbench.leaderboard.parts import unique_names
from kdbench.leaderboard.text import plain
from kdbench.record import Record, Spec, canonical, fingerprint

_MAY_DIFFER = ("method", "hyperparameters", "protocol", "teacher_protocol", "protocol_version")
"""Of a question. Data, networks, stream, evaluation and seed are what pairs two trials."""

_Key: TypeAlias = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Two trials of one seed.

    Attributes:
        place: Data set and pair of networks, in one line.
        name: Of the method; of both, where it is what differs.
    """

    place: str
    name: str
    seed: int
    first: Record
    second: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Which trials are compared.

    Attributes:
        differing: Fields of the question in which no trial of one side is like one of the other.
        matched: By place, name and seed.
        unpaired: What has no partner and why, a line each.
    """

    differing: tuple[str, ...]
    matched: tuple[Matched, ...]
    unpaired: tuple[str, ...]


def pair(first: Sequence[Cell], second: Sequence[Cell], names: tuple[str, str]) -> Pairing:
    """The trials of two sides, paired by everything that a question holds but what differs.

    Args:
        names: Of the sides, for reasons.

    Raises:
        UsageError: Several trials of one side fit one of the other.
    """
    differing = tuple(key for key in _MAY_DIFFER if not _said(first, key) & _said(second, key))
    if "method" in differing:  # another method's hyperparameters are other things
        differing = tuple(dict.fromkeys(("method", "hyperparameters", *differing)))
    ours, theirs = (
        _by_key(side, differing, name) for side, name in zip((first, second), names, strict=True)
    )
    places = _places(second) | _places(first)
    called = _called(first) | _called(second)
    matched, reasons = list[Matched](), defaultdict[tuple[str, str], list[str]](list)
    for key in ours | theirs:
        one, other = ours.get(key), theirs.get(key)
        if one is None or other is None:
            alone, absent = (one, names[1]) if one else (other, names[0])
            assert alone is not None
            why = f"no such trials in {absent}"
            reasons[places[alone.table], why].append(called[alone])
            continue
        name = " -> ".join(dict.fromkeys((called[one], called[other])))
        place = places[one.table]
        for seed in sorted(set(one.answers) & set(other.answers)):
            answers = one.answers[seed], other.answers[seed]
            found = Matched(place=place, name=name, seed=seed, first=answers[0], second=answers[1])
            matched.append(found)
        for seed, why in _alone(one, other, names):
            reasons[place, why].append(f"{name} seed {seed}")
    unpaired = [_line(place, why, who) for (place, why), who in reasons.items()]
    whole = [one for one in matched if one.first.question.full]
    if whole and (left := len(matched) - len(whole)):
        unpaired.append(
            f"{left} pair{'s' * (left != 1)} of trials with part of their budget: left out"
        )
    matched = sorted(whole or matched, key=lambda one: (one.place, one.name, one.seed))
    return Pairing(differing=differing, matched=tuple(matched), unpaired=tuple(sorted(unpaired)))


def _alone(one: Cell, other: Cell, names: tuple[str, str]) -> Iterator[tuple[int, str]]:
    """Seeds that a side has no answer of, and why."""
    for seed in sorted(one.seeds | other.seeds):
        lacking = [
            f"{name}: {cell.reason(seed)}"
            for name, cell in zip(names, (one, other), strict=True)
            if seed not in cell.answers
        ]
        if lacking:
            yield seed, "; ".join(lacking)


def of_method(cells: Iterable[Cell], text: str) -> list[Cell]:
    """The cells that a method means, one for each table and stream.

    Where options are left out, what the suite asks goes before what was set by hand or tuned.

    Raises:
        UsageError: Several are left.
    """
    grouped = defaultdict[tuple[str, float], list[Cell]](list)
    for cell in cells:
        if cell.matches(text):
            grouped[cell.table, cell.question.quiz].append(cell)
    return [_one(same, text) for same in grouped.values()]


def _one(same: Sequence[Cell], text: str) -> Cell:
    same = [cell for cell in same if not cell.tuned] or same
    same = [cell for cell in same if not cell.by_hand] or same
    if len(same) > 1:
        specs = sorted(str(Spec.of(c.question.method, c.question.hyperparameters)) for c in same)
        raise UsageError(
            f"{text} means {len(same)} settings of {_place(same[0])}",
            plain("; ".join(specs)),
            "add the options that tell them apart",
        )
    return same[0]


def _said(cells: Iterable[Cell], key: str) -> set[str]:
    """All that a side's questions say in one field."""
    return {canonical(cell.question.model_dump(mode="json", include={key})) for cell in cells}


def _by_key(cells: Iterable[Cell], differing: Sequence[str], name: str) -> dict[_Key, Cell]:
    found = dict[_Key, Cell]()
    for cell in cells:
        asked = cell.question.model_dump(mode="json", exclude={"seed", *differing})
        # part of a budget is never compared with the whole
        key = fingerprint([asked, cell.question.full])
        if key in found:
            raise UsageError(
                f"two trials of {name} fit one of the other side: {plain(cell.question.method)}, "
                f"{_place(cell)}",
                f"they are told apart only by what differs: {', '.join(differing)}",
                "compare records, or stores that hold one of them",
            )
        found[key] = cell
    return found


def _place(cell: Cell) -> str:
    ask = cell.question
    return plain(f"{ask.dataset}: {ask.teacher} teaches {ask.student}")


def _places(cells: Iterable[Cell]) -> dict[str, str]:
    """Each table's place; of several with the same data and networks, with its fingerprint."""
    found = {cell.table: _place(cell) for cell in cells}
    counts = Counter(found.values())
    return {
        table: f"{place}, protocol {table[:12]}" if counts[place] > 1 else place
        for table, place in found.items()
    }


def _called(cells: Iterable[Cell]) -> dict[Cell, str]:
    """Each cell's method, as the boards name it."""
    tables = defaultdict[str, list[Cell]](list)
    for cell in cells:
        tables[cell.table].append(cell)
    return {
        cell: plain(name) for same in tables.values() for cell, name in unique_names(same).items()
    }


def _line(place: str, why: str, who: Sequence[str]) -> str:
    return plain(f"{place}: {', '.join(sorted(who))}: {why}", 1000)
