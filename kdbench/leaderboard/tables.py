"""Records -> board: rows with all seeds are ranked, the others listed with what is missing."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from kdbench.leaderboard.board import Board, Gap, Table
from kdbench.leaderboard.cells import Cell, select
from kdbench.leaderboard.rows import hardware_of, row
from kdbench.leaderboard.spec import BoardSpec
from kdbench.record import Record, Spec, frozen


def build(
    records: Iterable[Record], spec: BoardSpec | None = None, *, stale: Collection[str] = ()
) -> Board:
    """The leaderboard of these records.

    Args:
        records: All attempts, in any order; only ok ones feed means, all feed coverage.
        spec: What the suite says; without one nothing is compared and nothing is expected.
        stale: Identities (`record_id`) of records that other code made; they are left out and
            named.
    """
    spec = spec or BoardSpec()
    grouped: dict[str, list[Cell]] = defaultdict(list)
    for cell in select(records, stale):
        grouped[cell.table].append(cell)
    tables = [_table(key, cells, spec) for key, cells in grouped.items()]
    tables.sort(key=lambda table: _place(table, spec))
    full = tuple(table for table in tables if table.question.full)
    have = {(table.question.dataset, table.pair) for table in full}
    return Board(
        spec=spec,
        tables=full,
        partial=tuple(table for table in tables if not table.question.full),
        absent=tuple(place for place in spec.wanted if place not in have),
    )


def _place(table: Table, spec: BoardSpec) -> tuple[int, str, str, str]:
    """In the suite's order, then by name."""
    where = (table.question.dataset, table.pair)
    place = spec.wanted.index(where) if where in spec.wanted else len(spec.wanted)
    return (place, *where, table.key)


def _table(key: str, cells: Sequence[Cell], spec: BoardSpec) -> Table:
    names = _names(cells)
    question = cells[0].question
    tried = frozenset[int]().union(*(cell.seeds for cell in cells))
    seeds = tuple(sorted(set(spec.seeds) if spec.seeds and question.full else tried))
    complete = [cell for cell in cells if set(seeds) <= set(cell.answers)]
    roles = {
        cell: text
        for quiz in {c.question.quiz for c in cells}
        for text, cell in _baselines(cells, quiz, spec)
    }
    used = [cell.answers[seed] for cell in complete for seed in seeds]
    timed = (record for record in used if record.cost or record.deployed)
    hardware = tuple(sorted({hardware_of(record) for record in timed}))
    rows = []
    for cell in complete:
        theirs = {
            text: other
            for text, other in _baselines(cells, cell.question.quiz, spec)
            if other in complete
        }
        rows.append(row(names[cell], roles.get(cell, ""), cell, seeds, theirs, hardware, spec))
    rows.sort(
        key=lambda row: (
            -row.metrics["accuracy"].mean if "accuracy" in row.metrics else 1.0,
            row.name,
        )
    )
    gaps = [_gap(names[cell], cell, seeds) for cell in cells if cell not in complete]
    if question.full:
        gaps += [
            Gap(name=name, done=(), missing=tuple((s, "no record") for s in seeds))
            for name in _holes(cells, spec)
        ]
    teachers = {
        r.teacher.weights: r.teacher
        for r in sorted(used, key=lambda r: r.question.seed)
        if r.teacher
    }
    remarks = [f"{names[cell]}: {remark}" for cell in cells for remark in cell.remarks]
    if tried - set(seeds):
        remarks.append(f"seeds {_list(tried - set(seeds))} are not the suite's and are left out")
    fixed = question.teacher_protocol is None or question.teacher_protocol.seed != "trial"
    if fixed and len(teachers) > 1:
        remarks.append(
            f"{len(teachers)} trainings of the same teacher taught these students: "
            "fidelity and gains mix them"
        )
    return Table(
        key=key, question=question, rows=tuple(rows),
        gaps=tuple(sorted(gaps, key=lambda gap: gap.name)), seeds=seeds,
        teachers=tuple(teachers.values()), hardware=hardware, remarks=tuple(sorted(remarks)),
    )  # fmt: skip


def _names(cells: Sequence[Cell]) -> dict[Cell, str]:
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


def _baselines(cells: Sequence[Cell], quiz: float, spec: BoardSpec) -> list[tuple[str, Cell]]:
    """The cells of this kind of stream that the baselines mean; an ambiguous one means none."""
    found = []
    for text in spec.baselines:
        same = [cell for cell in cells if cell.question.quiz == quiz and cell.matches(text)]
        if len(same) > 1:
            # the suite's own, not one asked for with other hyperparameters beside it
            same = [cell for cell in same if cell.settings != "set by hand"]
        if len(same) == 1:
            found.append((text, same[0]))
    return found


def _holes(cells: Sequence[Cell], spec: BoardSpec) -> list[str]:
    """Expected methods, and baselines of each quiz split, of which no trial was ever tried."""
    question = cells[0].question
    if (
        spec.wanted
        and (question.dataset, f"{question.teacher}:{question.student}") not in spec.wanted
    ):
        return []
    holes = [text for text in spec.methods if not any(cell.matches(text) for cell in cells)]
    for quiz in sorted({cell.question.quiz for cell in cells} - {0.0}):
        kind = [cell for cell in cells if cell.question.quiz == quiz]
        missing = (text for text in spec.baselines if not any(cell.matches(text) for cell in kind))
        holes += [f"{text} (quiz split {quiz:g})" for text in missing]
    return holes


def _gap(name: str, cell: Cell, seeds: Sequence[int]) -> Gap:
    missing = [(seed, _reason(cell, seed)) for seed in seeds if seed not in cell.answers]
    return Gap(
        name=name,
        done=tuple(seed for seed in seeds if seed in cell.answers),
        missing=tuple(missing),
    )


def _reason(cell: Cell, seed: int) -> str:
    record = cell.failures.get(seed)
    if record is None:
        return "stale, made by other code" if seed in cell.stale else "no record"
    failure = record.failure
    return (
        record.status
        if failure is None
        else f"{record.status} in {failure.where}: {failure.message}"
    )


def _list(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
