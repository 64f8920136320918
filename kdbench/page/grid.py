"""A table of a board as rows of cells under their columns."""

from dataclasses import dataclass

from kdbench.leaderboard import BoardSpec, Table
from kdbench.page.columns import Cell, Column, Group, accuracy, cost, fidelity
from kdbench.page.papers import families
from kdbench.page.trials import anchors
from kdbench.page.verdict import Told, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row with its cells, in the order of the columns.

    Attributes:
        key: Of the row's trials in the page; "" where it is a mean over tables.
        strong: Whether it is a baseline.
        families: Of its methods.
        told: Against the baseline.
    """

    name: str
    key: str
    strong: bool
    families: tuple[str, ...]
    told: Told
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table, its columns in groups."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    @property
    def groups(self) -> tuple[tuple[Group, int], ...]:
        """Names of the groups, with how many columns each has."""
        names = [column.group for column in self.columns]
        return tuple((name, names.count(name)) for name in dict.fromkeys(names))


def grid(table: Table, spec: BoardSpec, place: int) -> Grid:
    """All rows of the board's `place`th table; without columns that no row has anything for."""
    baseline = spec.baselines[-1] if spec.baselines else ""
    every = [*accuracy(table, spec, baseline), *fidelity(), *cost(table)]
    keys = anchors(table, place)
    made = [(column, [cell(row) for row in table.rows]) for column, cell in every]
    held = [(column, cells) for column, cells in made if any(c.order is not None for c in cells)]
    return Grid(
        columns=tuple(column for column, _ in held),
        lines=tuple(
            Line(
                name=row.name,
                key=keys[row.name],
                strong=bool(row.baseline),
                families=families(row.question.method, spec),
                told=verdict(row, baseline).told,
                cells=tuple(cells[index] for _, cells in held),
            )
            for index, row in enumerate(table.rows)
        ),
    )
