"""A pair's cells in two parts that no mean, rank or gap mixes: defaults, and tuned per pair."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.leaderboard.board import Part
from kdbench.leaderboard.cells import Cell
from kdbench.leaderboard.spec import BoardSpec
from kdbench.record import Question, Spec, frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one table is made of.

    Attributes:
        part, apart: As of the table.
        question: Any one of the pair's.
        cells: All rows and gaps; in the part tuned per pair the baselines again.
        names: Of the cells, as printed.
        missing: Expected methods of which no trial was ever tried.
        remarks: What a reader should know about the choice.
    """

    part: Part
    apart: bool
    question: Question
    cells: Sequence[Cell]
    names: dict[Cell, str]
    missing: Sequence[str]
    remarks: Sequence[str] = ()


def shares(cells: Sequence[Cell], spec: BoardSpec) -> list[Share]:
    """The parts of a pair's cells, all of one protocol; those that hold or miss something."""
    question = cells[0].question
    pair = f"{question.teacher}:{question.student}"
    wanted = spec.expected(question)
    expected = wanted is not None
    entries = [Spec.parse(text) for text in spec.by_pair.get(pair, ())]
    tuned = [cell for cell in cells if cell.tuned or _tuned_by_hand(cell, cells, entries)]
    rest = [cell for cell in cells if cell not in tuned]
    names = unique_names(rest)

    missing: list[str] = []
    for text in wanted or ():
        # with options it is itself, in whichever part it came to be asked
        among = cells if Spec.parse(text).options else rest
        missing += [] if any(cell.matches(text) for cell in among) else [text]
    open_entries, remarks = [], []
    for text in map(str, entries):
        if any(cell.matches(text) for cell in tuned):
            continue
        defaults = [cell for cell in rest if cell.matches(text) and not cell.by_hand]
        remarks += [
            f"{names[cell]} has by default what is tuned for this pair: see the defaults"
            for cell in defaults
        ]
        open_entries += [text] if expected and not defaults else []

    apart = bool(tuned or open_entries)
    kinds = sorted({cell.question.quiz for cell in tuned} or {0.0})
    again = dict.fromkeys(cell for quiz in kinds for _, cell in baselines(rest, quiz, spec))
    found = [
        Share(
            part="defaults", apart=apart, question=question, cells=rest, names=names,
            missing=[*missing, *(_without_baselines(rest, spec) if expected else ())],
        ),
        Share(
            part="tuned per pair", apart=apart, question=question, cells=[*again, *tuned],
            # named beside the defaults, so that a name says what is tuned
            names=unique_names(cells) | {cell: names[cell] for cell in again},
            missing=[
                *open_entries,
                *(_without_baselines([*again, *tuned], spec) if expected else ()),
            ],
            remarks=remarks,
        ),
    ]  # fmt: skip
    return [share for share in found[: 1 + apart] if share.cells or share.missing]


def baselines(cells: Iterable[Cell], quiz: float, spec: BoardSpec) -> list[tuple[str, Cell]]:
    """The cells of this kind of stream that the baselines mean; an ambiguous one means none."""
    found = []
    kind = [cell for cell in cells if cell.question.quiz == quiz and not cell.tuned]
    for text in spec.baselines:
        same = [cell for cell in kind if cell.matches(text)]
        if len(same) > 1:
            # the suite's own, not one asked for with other hyperparameters beside it
            same = [cell for cell in same if not cell.by_hand]
        if len(same) == 1:
            found.append((text, same[0]))
    return found


def _tuned_by_hand(cell: Cell, cells: Iterable[Cell], entries: Iterable[Spec]) -> bool:
    """Whether a caller asked for just what the suite tunes for the pair."""
    if not cell.by_hand:
        return False
    have = _frozen(cell)
    defaults = [
        _frozen(other)
        for other in cells
        if other.question.method == cell.question.method and not (other.by_hand or other.tuned)
    ]
    return any(
        entry.name == cell.question.method and have == default | dict(entry.options) != default
        for entry in entries
        for default in defaults
    )


def _frozen(cell: Cell) -> dict[str, Any]:
    return {key: frozen(value) for key, value in cell.question.hyperparameters.items()}


def unique_names(cells: Sequence[Cell]) -> dict[Cell, str]:
    """A unique name for each cell: with the hyperparameters that tell it from its like."""
    rows: dict[float, int] = defaultdict(int)
    for cell in cells:
        rows[cell.question.quiz] = max(rows[cell.question.quiz], cell.rows)
    kind = {
        quiz: f"{count} rows" if count else f"quiz split {quiz:g}" for quiz, count in rows.items()
    }
    kinds: dict[tuple[str, float], list[Cell]] = defaultdict(list)
    for cell in cells:
        kinds[cell.question.method, cell.question.quiz].append(cell)
    names: dict[Cell, str] = {}
    for (method, quiz), same in kinds.items():
        keys = {key for cell in same for key in cell.question.hyperparameters}
        differ = sorted(
            k for k in keys if len({repr(c.question.hyperparameters.get(k, ...)) for c in same}) > 1
        )
        for cell in same:
            have: dict[str, Any] = cell.question.hyperparameters
            options = tuple((key, frozen(have[key])) for key in differ if key in have)
            name = str(Spec(method, options))
            names[cell] = f"{name} ({kind[quiz]})" if quiz else name
    return names


def _without_baselines(cells: Sequence[Cell], spec: BoardSpec) -> list[str]:
    """Baselines of each quiz split of which no trial was ever tried."""
    holes = []
    for quiz in sorted({cell.question.quiz for cell in cells} - {0.0}):
        kind = [cell for cell in cells if cell.question.quiz == quiz and not cell.tuned]
        missing = (text for text in spec.baselines if not any(cell.matches(text) for cell in kind))
        holes += [f"{text} (quiz split {quiz:g})" for text in missing]
    return holes
