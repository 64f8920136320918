"""Records -> board: rows with all seeds are ranked, the others listed with what is missing."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

from kdbench.leaderboard.across import across, ranked
from kdbench.leaderboard.board import Board, Gap, Row, Table
from kdbench.leaderboard.cells import Cell, select
from kdbench.leaderboard.metrics import Later
from kdbench.leaderboard.parts import Share, baselines, shares
from kdbench.leaderboard.rows import row
from kdbench.leaderboard.spec import BoardSpec
from kdbench.record import Record, SpeedRecord
from kdbench.statistics import contrasts, standings


def build(
    records: Iterable[Record],
    spec: BoardSpec | None = None,
    *,
    stale: Collection[str] = (),
    speeds: Sequence[SpeedRecord] = (),
    later: Later = MappingProxyType({}),
) -> Board:
    """The leaderboard of these records.

    Args:
        records: All attempts, in any order; only ok ones feed means, all feed coverage.
        spec: What the suite says; without one nothing is compared and nothing is expected.
        stale: Identities (`record_id`) of records that other code made; they are left out and
            named.
        speeds: What steps cost, measured alone.
        later: Metrics that were invented after the records.
    """
    spec = spec or BoardSpec()
    grouped: dict[str, list[Cell]] = defaultdict(list)
    for cell in select(records, stale):
        grouped[cell.table].append(cell)
    tables = [
        _table(key, share, spec, later)
        for key, cells in grouped.items()
        for share in shares(cells, spec)
    ]
    tables.sort(key=lambda table: _place(table, spec))  # stable: the defaults first
    full = tuple(table for table in tables if table.question.full)
    over = () if spec.variants else across(full, spec)  # a variant is no cell like others
    return Board(
        spec=spec,
        tables=full,
        partial=tuple(table for table in tables if not table.question.full),
        across=over,
        critical=ranked(over, spec),
        absent=tuple(_absent(full, spec)),
        speeds=tuple(speeds),
    )


def _place(table: Table, spec: BoardSpec) -> tuple[int, int, str, str, str]:
    """In the suite's order, then by name."""
    where = (table.question.dataset, table.pair)
    place = spec.wanted.index(where) if where in spec.wanted else len(spec.wanted)
    keys = [table.key in one.tables.values() for one in spec.variants.values()]
    return (keys.index(True) if True in keys else len(keys), place, *where, table.key)


def _absent(tables: Iterable[Table], spec: BoardSpec) -> Iterator[tuple[str, str]]:
    """Expected data sets, each behind its variant, and pairs without a table."""
    if not spec.variants:
        have = {(table.question.dataset, table.pair) for table in tables}
        yield from (place for place in spec.wanted if place not in have)
    keys = {table.key for table in tables}
    for name, one in spec.variants.items():
        for place, key in one.tables.items():
            if key not in keys:
                dataset, _, pair = place.partition(" ")
                yield f"{name}: {dataset}", pair


def _table(key: str, share: Share, spec: BoardSpec, later: Later) -> Table:
    question, cells, names = share.question, share.cells, share.names
    tried = frozenset[int]().union(*(cell.seeds for cell in cells))
    seeds = tuple(sorted(set(spec.seeds) if spec.seeds and question.full else tried))
    complete = [cell for cell in cells if set(seeds) <= set(cell.answers)]
    roles = {
        cell: text
        for quiz in {c.question.quiz for c in cells}
        for text, cell in baselines(cells, quiz, spec)
    }
    used = [cell.answers[seed] for cell in complete for seed in seeds]
    timed = (record for record in used if record.cost or record.deployed)
    hardware = tuple(sorted({record.environment.hardware for record in timed}))
    rows = []
    for cell in complete:
        theirs = {
            text: other
            for text, other in baselines(cells, cell.question.quiz, spec)
            if other in complete
        }
        role = roles.get(cell, "")
        rows.append(row(names[cell], role, cell, seeds, theirs, hardware, spec, later))
    rows = _judged(rows, spec)
    rows.sort(
        key=lambda row: (
            -row.metrics["accuracy"].mean if "accuracy" in row.metrics else 1.0,
            row.name,
        )
    )
    gaps = [_gap(names[cell], cell, seeds) for cell in cells if cell not in complete]
    gaps += [
        Gap(name=name, done=(), missing=tuple((s, "no record") for s in seeds))
        for name in share.missing
    ]
    teachers = {
        r.teacher.weights: r.teacher
        for r in sorted(used, key=lambda r: r.question.seed)
        if r.teacher
    }
    remarks = [*share.remarks]
    remarks += [f"{names[cell]}: {remark}" for cell in cells for remark in cell.remarks]
    if tried - set(seeds):
        remarks.append(f"seeds {_list(tried - set(seeds))} are not the suite's and are left out")
    fixed = question.teacher_protocol is None or question.teacher_protocol.seed != "trial"
    if fixed and len(teachers) > 1:
        remarks.append(
            f"{len(teachers)} trainings of the same teacher taught these students: "
            "fidelity and gains mix them"
        )
    return Table(
        key=key, variant=spec.variant(key), part=share.part, apart=share.apart,
        question=question, rows=tuple(rows),
        gaps=tuple(sorted(gaps, key=lambda gap: gap.name)), seeds=seeds,
        teachers=tuple(teachers.values()), hardware=hardware, remarks=tuple(sorted(remarks)),
    )  # fmt: skip


def _judged(rows: Sequence[Row], spec: BoardSpec) -> list[Row]:
    """The rows, judged together: their gains over each baseline, and where they stand."""
    judged = {
        text: contrasts({row.name: row.gains[text] for row in rows if text in row.gains})
        for text in spec.baselines
    }
    measured = {row.name: {"": row.values["accuracy"]} for row in rows if "accuracy" in row.values}
    stand = standings(measured)
    return [
        replace(
            row,
            contrasts={text: judged[text][row.name] for text in row.gains},
            standing=stand.get(row.name),
        )
        for row in rows
    ]


def _gap(name: str, cell: Cell, seeds: Sequence[int]) -> Gap:
    missing = [(seed, cell.reason(seed)) for seed in seeds if seed not in cell.answers]
    return Gap(
        name=name,
        done=tuple(seed for seed in seeds if seed in cell.answers),
        missing=tuple(missing),
        question=cell.question,
        settings=cell.settings,
    )


def _list(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
