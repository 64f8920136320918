"""The three boards of a table, accuracy, fidelity and cost, as entries of plain text."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kdbench.leaderboard.board import Board, Overall, Row, Table
from kdbench.leaderboard.sheet import Value, line
from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.text import IDENTICAL, MISSING, figures, fixed, span, spread
from kdbench.statistics import Critical, Standing


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands under a header.

    Attributes:
        text: Not escaped.
        strong: Whether it is set in bold.
        figure: Whether it is made of digits and our own signs, so that Markdown shows it as it is.
    """

    text: str
    strong: bool = False
    figure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """One board of a table.

    Attributes:
        name: "Accuracy", "Fidelity" or "Cost"; "" where columns were asked for.
        header: Not escaped.
        lines: An entry for each header.
    """

    name: str
    header: tuple[str, ...]
    lines: tuple[tuple[Entry, ...], ...]

    @property
    def align(self) -> tuple[str, ...]:
        """Of each column: figures to the right, words to the left."""
        figure = [all(cell.figure for cell in column) for column in zip(*self.lines, strict=True)]
        return tuple("right" if one else "left" for one in figure)


_Entries: TypeAlias = dict[str, Entry]
_NO_FIGURES = {"Method", "n", "Settings"}
"""Headers of which alone no board is made."""

_Order: TypeAlias = Callable[[Row], float | None]


def aspects(table: Table, board: Board) -> tuple[Aspect, ...]:
    """What is shown of a table; no column that no row has, and no board without figures."""
    if not table.rows:
        return ()
    if names := board.view.columns:
        lines = [line(table, row) for row in table.rows]
        cells = tuple(tuple(_plain(found.get(name)) for name in names) for found in lines)
        return (Aspect(name="", header=names, lines=cells),)
    own = not board.view.sort
    parts: tuple[tuple[str, Callable[[Row, Table, BoardSpec], _Entries], _Order], ...] = (
        ("Accuracy", _accuracy, lambda row: _mean(row, "accuracy")),
        ("Fidelity", _fidelity, lambda row: _mean(row, "agreement")),
        ("Cost", _cost, _dear),
    )
    found = (
        _aspect(name, [entries(row, table, board.spec) for row in _sorted(table.rows, order, own)])
        for name, entries, order in parts
    )
    return tuple(aspect for aspect in found if set(aspect.header) - _NO_FIGURES)


def over(methods: Sequence[Overall], spec: BoardSpec, critical: Critical | None) -> Aspect | None:
    """Methods over all tables; None without any that is in every table."""
    lines = []
    for one in methods:
        if one.standing is None:
            continue
        gain = {f"Mean gain over {spec.baselines[0]}": Entry(_ends(one.standing), figure=True)}
        rank = critical.ranks.get(one.name) if critical else None
        mean = Entry(MISSING if rank is None else fixed(rank, 2), figure=True)
        lines.append(
            _named(one.name, one.baseline) | gain | _place(one.standing) | {"Mean rank": mean}
        )
    return _aspect("", lines) if lines else None


def _aspect(name: str, lines: Sequence[_Entries]) -> Aspect:
    """Less the columns in which no line has anything."""
    empty = {key for key in lines[0] if all(cells[key].text in ("", MISSING) for cells in lines)}
    header = tuple(key for key in lines[0] if key not in empty)
    return Aspect(
        name=name, header=header, lines=tuple(tuple(cells[k] for k in header) for cells in lines)
    )


def _sorted(rows: Iterable[Row], order: _Order, own: bool) -> list[Row]:
    """By what the board is about, where nothing else was asked; those without it last."""
    if not own:
        return list(rows)

    def key(row: Row) -> tuple[bool, float, str]:
        value = order(row)
        return value is None, -(value or 0.0), row.name

    return sorted(rows, key=key)


def _mean(row: Row, metric: str) -> float | None:
    return row.metrics[metric].mean if metric in row.metrics else None


def _dear(row: Row) -> float | None:
    """The cheapest first."""
    over = row.expense.overhead if row.expense else None
    return -over.mean if over else None


def _accuracy(row: Row, table: Table, spec: BoardSpec) -> _Entries:
    cells = _named(row.name, row.baseline) | {"Accuracy %": _percent(row, "accuracy")}
    cells |= _place(row.standing)
    for text in spec.baselines:
        contrast = row.contrasts.get(text)
        told = spread(contrast.difference if contrast else None, 2, scale=100, sign=True)
        strong = contrast is not None and contrast.differs
        cells[f"Gain over {text}"] = Entry(told, strong, figure=True)
    closed = MISSING if row.gap_closed is None else fixed(100 * row.gap_closed, 0)
    cells["Gap closed %"] = Entry(closed, figure=True)
    return cells | {"n": _count(row), "Settings": Entry(row.settings)}


def _fidelity(row: Row, table: Table, spec: BoardSpec) -> _Entries:
    return _named(row.name, row.baseline) | {
        "Agreement %": _percent(row, "agreement"),
        "Where it errs %": _percent(row, "agreement_teacher_wrong"),
        "KL": _metric(row, "kl"),
        "Transfer agreement %": _percent(row, "transfer_agreement"),
        "Transfer KL": _metric(row, "transfer_kl"),
        "NLL": _metric(row, "nll", 3),
        "ECE": _metric(row, "ece"),
        "n": _count(row),
    }


def _cost(row: Row, table: Table, spec: BoardSpec) -> _Entries:
    cost, deployed = row.expense, row.deployed
    mark = f" {letter(cost.hardware)}" if len(table.hardware) > 1 and cost else ""
    warm, amortised = (cost and cost.shared) or (None, None)

    def timed(value: float | None) -> Entry:
        return Entry(MISSING if value is None else figures(value) + mark, figure=True)

    def counted(value: int | None) -> Entry:
        return Entry(MISSING if value is None else f"{value:,}", figure=True)

    return _named(row.name, row.baseline) | {
        "Overhead ×": Entry(span(cost.overhead, 2) if cost else MISSING, figure=True),
        "CPU overhead ×": Entry(span(row.cpu_overhead, 2), figure=True),
        "Step ms": timed(cost.step_ms if cost else None),
        "Warm ms": timed(warm),
        "Amortised ms": timed(amortised),
        "Images/s": timed(cost.images_per_second if cost else None),
        "Teacher passes": Entry(f"{cost.teacher_passes:g}" if cost else MISSING, figure=True),
        "Extra parameters": counted(cost.training_parameters if cost else None),
        "Peak MiB": Entry(figures(cost.peak_memory_mb) if cost else MISSING, figure=True),
        "Latency ms": timed(row.latency_ms),
        "Throughput /s": timed(row.throughput),
        "Parameters": counted(deployed.parameters if deployed else None),
        "n": Entry(str(cost.overhead.n) if cost and cost.overhead else MISSING, figure=True),
    }


def _named(name: str, baseline: str) -> _Entries:
    return {"Method": Entry(name, strong=bool(baseline))}


def _percent(row: Row, metric: str) -> Entry:
    return Entry(spread(row.metrics.get(metric), 2, scale=100), figure=True)


def _metric(row: Row, metric: str, digits: int = 4) -> Entry:
    return Entry(spread(row.metrics.get(metric), digits), figure=True)


def _count(row: Row) -> Entry:
    return Entry(str(len(row.seeds)), figure=True)


def _plain(value: Value) -> Entry:
    if isinstance(value, str):
        return Entry(value)
    text = MISSING if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return Entry(text, figure=True)


def _ends(standing: Standing) -> str:
    text = fixed(100 * standing.mean, 2, sign=True)
    if standing.low is None or standing.high is None:
        return text
    if standing.low == standing.high:
        return text + IDENTICAL
    low, high = (fixed(100 * end, 2, sign=True) for end in (standing.low, standing.high))
    return f"{text} [{low}, {high}]"


def _place(standing: Standing | None) -> _Entries:
    first, last = (standing and standing.rank) or (0, 0)
    rank = f"{first} to {last}" if last > first else str(first or MISSING)
    contends = "yes" if standing and standing.contender else ""
    return {
        "Rank": Entry(rank, figure=True),
        "Group": Entry(standing.letters if standing else "", figure=True),
        "Contender": Entry(contends, figure=True),
    }


def letter(index: int) -> str:
    """A, B, ... Z, AA: names a class of hardware."""
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)
