"""What was tried: methods by data set and pair, with what is done, missing and failed."""

import re
from collections.abc import Mapping, Sequence
from typing import get_args

import altair

from kdbench.leaderboard import Board, Gap, Table
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import fitted
from kdbench.page.palette import BLUE, GREY, INK, ORANGE, QUIET, VERMILLION, Colour
from kdbench.page.plot import Plot
from kdbench.page.plots.listing import Listing
from kdbench.record import Pair, Status

_CELL, _HEAD = 150, 52

_DONE, _PART, _FAILED, _NONE = "all seeds", "some seeds missing", "some seeds failed", "not tried"
_LOOKS: Mapping[str, tuple[Colour, str]] = {
    _DONE: (BLUE, "circle"), _PART: (ORANGE, "triangle-up"), _FAILED: (VERMILLION, "cross"),
    _NONE: (GREY, "square"),
}  # fmt: skip

_FAILURES = frozenset(get_args(Status)) - {"ok"}


def plot(board: Board, key: str) -> Plot | None:
    """The map of a board's full tables; None of a single table without gaps."""
    tables = board.tables
    whole = not board.absent and not any(table.gaps for table in tables)
    if not tables or (len(tables) < 2 and whole):
        return None
    names = methods(tables)
    cells = [
        {"line": line, "column": column, **_cell(table, name)}
        for column, table in enumerate(tables)
        for line, name in enumerate(names)
    ]
    cells += [
        {"line": line, "column": len(tables) + column, "state": _NONE, "text": "0"}
        for column in range(len(board.absent))
        for line in range(len(names))
    ]
    columns = [_heading(table) for table in tables]
    columns += [[dataset, *_networks(pair)] for dataset, pair in board.absent]
    baselines = {_shared(row.name) for table in tables for row in table.rows if row.baseline}
    lines = Listing(tuple(names), tuple(name in baselines for name in names))
    title = "Coverage"
    caption = (
        "Seeds done of those expected, by method and pair. "
        "A method with a hole is listed apart and never ranked."
    )
    about = board.spec.title or board.spec.suite
    chart = _chart(lines, cells, columns)
    return plotted(chart, key=key, title=title, caption=caption, about=about)


def methods(tables: Sequence[Table]) -> list[str]:
    """Names over all tables, the best of the first table first, those with gaps last."""
    ranked = dict.fromkeys(_shared(row.name) for table in tables for row in table.rows)
    gaps = dict.fromkeys(_shared(gap.name) for table in tables for gap in table.gaps)
    return [*ranked, *(name for name in gaps if name not in ranked)]


def _cell(table: Table, name: str) -> dict[str, object]:
    """State and count of one method in one table."""
    wanted = len(table.seeds)
    if any(_shared(row.name) == name for row in table.rows):
        return {"state": _DONE, "text": str(wanted)}
    gap = next((gap for gap in table.gaps if _shared(gap.name) == name), None)
    if gap is None:
        return {"state": _NONE, "text": "–"}
    done, failed = len(gap.done), _failed(gap)
    text = f"{done} of {wanted}" + (f", {failed} failed" if failed else "")
    if failed:
        return {"state": _FAILED, "text": text}
    return {"state": _PART if done else _NONE, "text": text}


def _failed(gap: Gap) -> int:
    """Seeds whose reason begins with the status of an attempt."""
    return sum(reason.partition(" ")[0] in _FAILURES for _, reason in gap.missing)


def _shared(name: str) -> str:
    """Without the number of rows, which differs between data sets."""
    return re.sub(r" \(\d+ rows\)", " (quiz split)", name)


def _heading(table: Table) -> list[str]:
    ask = table.question
    return [table.place, ask.teacher, ask.student + ", tuned" * (table.part != "defaults")]


def _networks(pair: str) -> tuple[str, str]:
    found = Pair.parse(pair)
    return str(found.teacher), str(found.student)


def _chart(
    lines: Listing, cells: Sequence[Mapping[str, object]], columns: Sequence[Sequence[str]]
) -> altair.LayerChart:
    """Symbols by state, with the count beside each."""
    x = altair.X(
        "column:Q", axis=None,
        scale=altair.Scale(domain=[-0.5, len(columns) - 0.5], nice=False, zero=False),
    )  # fmt: skip
    states = [state for state in _LOOKS if any(cell["state"] == state for cell in cells)]
    color = altair.Scale(domain=states, range=[_LOOKS[state][0].light for state in states])
    shape = altair.Scale(domain=states, range=[_LOOKS[state][1] for state in states])
    heads = [
        {"column": i, "text": [fitted(part, _CELL - 10) for part in head]}
        for i, head in enumerate(columns)
    ]
    legend = altair.Legend(orient="top", offset=_HEAD, title=None)
    marks = over(cells).mark_point(filled=True, size=70, opacity=1, xOffset=-14)
    counts = over(cells).mark_text(align="left", color=QUIET.light)
    titles = over(heads).mark_text(lineHeight=14, color=INK.light, dy=-36, baseline="bottom")
    return layered(
        lines.stripes(),
        marks.encode(
            x=x, y=lines.y(), color=altair.Color("state:N", scale=color, legend=legend),
            shape=altair.Shape("state:N", scale=shape, legend=legend),
        ),
        counts.encode(x=x, y=lines.y(), text="text:N"),
        titles.encode(x=x, y=altair.value(0), text="text:N"),
        lines.labels(),
    ).properties(width=_CELL * len(columns), height=lines.height)  # fmt: skip
