"""What was run for a report: trials, failures, seeds, machines, versions and code."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from kdbench.leaderboard.board import Board, Table
from kdbench.leaderboard.cells import record_id
from kdbench.leaderboard.claims.lookup import place
from kdbench.leaderboard.text import plain
from kdbench.leaderboard.words import gap as reasons
from kdbench.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The trials behind a report.

    Attributes:
        trials: That count.
        tables: That they are in.
        failures: Rows that count nowhere, with table, seeds and reasons, a line each.
        partial: Trials that spent part of their budget and count nowhere.
        seeds: That any row has.
        hardware: Class of hardware and how many trials ran on it.
        versions: What ran them, a line for each combination.
        environments: Classes of environments whose bits may differ.
        code: By method, fingerprints of the code that answered.
        own_teachers: Whether in all of the tables each seed has a teacher of its own.
        first, last: Days of the first and the last record.
    """

    trials: int
    tables: int
    failures: tuple[str, ...]
    partial: int
    seeds: tuple[int, ...]
    hardware: tuple[tuple[str, int], ...]
    versions: tuple[str, ...]
    environments: int
    code: dict[str, tuple[str, ...]]
    own_teachers: bool
    first: str
    last: str


def run_of(board: Board) -> Run:
    """What was run for this board."""
    records = _records(board.tables)
    hardware = Counter(record.environment.hardware for record in records)
    methods = sorted({record.question.method for record in records})
    trained = [table.question.teacher_protocol for table in board.tables]
    days = sorted(record.created[:10] for record in records)
    return Run(
        trials=len(records),
        tables=sum(table.part == "defaults" for table in board.tables),
        failures=tuple(
            dict.fromkeys(line for table in board.tables for line in _failures(table))
        ),
        partial=len(_records(board.partial)),
        seeds=tuple(sorted({record.question.seed for record in records})),
        hardware=tuple(sorted(hardware.items())),
        versions=tuple(sorted({_versions(record) for record in records})),
        environments=len({record.environment.group for record in records}),
        code={
            method: tuple(
                sorted({r.fingerprints.code for r in records if r.question.method == method})
            )
            for method in methods
        },
        own_teachers=all(one is not None and one.seed == "trial" for one in trained),
        first=days[0] if days else "", last=days[-1] if days else "",
    )  # fmt: skip


def _records(tables: Iterable[Table]) -> list[Record]:
    """Each once, though a baseline may be in two tables."""
    rows = (row for table in tables for row in table.rows)
    return [*{record_id(record): record for row in rows for record in row.records}.values()]


def _failures(table: Table) -> list[str]:
    return [
        plain(f"{place(table)}: {one.name}: {seeds}: {reason}")
        for one in table.gaps
        for seeds, reason in reasons(one)
    ]


def _versions(record: Record) -> str:
    one = record.environment
    return f"kdbench {one.kdbench}, torch {one.torch}, timm {one.timm}, Python {one.python}"
