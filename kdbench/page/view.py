"""A board as the page shows it: sections with their text, tables and trials."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.leaderboard import Board, BoardSpec, Row, Table, words
from kdbench.page.answer import Answer, answer
from kdbench.page.grid import Grid, grid
from kdbench.page.papers import Described, described
from kdbench.page.trials import Shared, Trial, anchors, data, trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What is behind one row.

    Attributes:
        anchor: Its place in the page.
        settings: Index into the page's hyperparameters.
        environments: Indices into the page's environments, each once.
        source: Where they are from.
        notes: The suite's explanation, and what a reader should know.
    """

    name: str
    anchor: str
    described: tuple[Described, ...]
    settings: int
    environments: tuple[int, ...]
    source: str
    notes: tuple[str, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table of the board with everything around it.

    Attributes:
        short: Why it is not of the full protocol; "" where it is.
        facts: Label and text of the lines about it.
        notes: Lines under it.
        apart: Names of the baselines that rows with a quiz split are compared with.
        gaps: Methods that are not ranked: name, how many seeds are there, what is missing and why.
    """

    place: int
    heading: str
    short: str
    facts: tuple[tuple[str, str], ...]
    grid: Grid
    answer: Answer | None
    notes: tuple[str, ...]
    apart: tuple[str, ...]
    gaps: tuple[tuple[str, str, str], ...]
    details: tuple[Detail, ...]


def sections(board: Board, every: Shared) -> tuple[Section, ...]:
    """All tables: those of the full protocol, then the others."""
    tables = (*board.tables, *board.partial)
    return tuple(_section(t, board.spec, place, every) for place, t in enumerate(tables))


def island(board: Board, every: Shared) -> Mapping[str, Any]:
    """Every trial of every row, by the row's place in the page, as plain JSON."""
    return {
        anchor: data(row, every)
        for place, table in enumerate((*board.tables, *board.partial))
        for anchor, row in zip(anchors(table, place).values(), table.rows, strict=True)
    }


def options(text: str) -> tuple[tuple[str, str], ...]:
    """Names and values of a JSON object.

    Example:
        >>> options('{"alpha":0.9,"stages":[1,2]}')
        (('alpha', '0.9'), ('stages', '[1, 2]'))
    """
    return tuple(
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in json.loads(text).items()
    )


def _section(table: Table, spec: BoardSpec, place: int, every: Shared) -> Section:
    return Section(
        place=place, heading=table.heading, short=words.share(table.question),
        facts=_facts(table, spec), grid=grid(table, spec, place), answer=answer(table, spec, place),
        notes=table.remarks,
        apart=tuple(row.name for row in table.rows if row.baseline and row.question.quiz),
        gaps=tuple(
            (gap.name, f"{len(gap.done)} of {len(table.seeds)} seeds",
             "; ".join(f"{seeds} {reason}" for seeds, reason in words.gap(gap)))
            for gap in table.gaps
        ),
        details=tuple(
            _detail(row, spec, anchor, every)
            for anchor, row in zip(anchors(table, place).values(), table.rows, strict=True)
        ),
    )  # fmt: skip


def _facts(table: Table, spec: BoardSpec) -> tuple[tuple[str, str], ...]:
    student = f"{words.training(table.question.protocol)}; {words.rows(table)}"
    several = len(table.hardware) > 1
    changes = spec.changes(table.key)
    facts = [("Variant", f"{changes}.")] if changes else []
    facts += [
        ("Teacher", words.teacher(table)),
        ("Student", f"{student}; {words.seeds(table)}; protocol {table.key[:12]}."),
    ]
    if table.part != "defaults":
        facts.append(("Settings", "Of each method those that the suite has for this pair."))
    for index, name in enumerate(table.hardware, 1):
        facts.append((f"Hardware {index}" if several else "Hardware", f"{name}."))
    if disturbed := words.disturbed(table):
        facts.append(("Times", disturbed.removeprefix("Times: ")))
    return tuple(facts)


def _detail(row: Row, spec: BoardSpec, anchor: str, every: Shared) -> Detail:
    said = dict.fromkeys(note for record in row.records for note in record.notes)
    return Detail(
        name=row.name, anchor=anchor, described=described(row.question.method, spec),
        settings=every.setting(row), source=row.settings,
        environments=tuple(sorted({every.environment(record) for record in row.records})),
        notes=tuple(note for note in (row.note, *row.remarks, *said) if note),
        trials=trials(row),
    )  # fmt: skip
