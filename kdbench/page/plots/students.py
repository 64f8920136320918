"""Students of several sizes: what accuracy a deployed network of some speed has."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import altair

from kdbench.leaderboard import BoardSpec, Row, Table
from kdbench.page.drawing import layered, over, plotted
from kdbench.page.lettering import fitted
from kdbench.page.palette import PAPER, QUIET
from kdbench.page.plot import Plot
from kdbench.page.plots.looks import kind, looks
from kdbench.page.plots.scatter import HEIGHT, WIDTH

_HEAD = 26
"""Pixels for the students' names, between frame and legend."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a deployed student is measured by, in words with the unit, and how."""

    title: str
    of: Callable[[Row], float | None]


MEASURES = (
    Measure("latency of the deployed student at batch 1, ms", lambda row: row.latency_ms),
    Measure(
        "multiply-adds of the deployed student, millions",
        lambda row: row.deployed.multiply_adds / 1e6 if row.deployed else None,
    ),
)
"""The first one that all rows have is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The rows of one kind (a family, or one baseline) with one student.

    Attributes:
        size: Median over rows, each with the median of its network, in the measure's unit.
        accuracy: Mean over rows of their means, in %.
        count: Rows.
    """

    student: str
    kind: str
    size: float
    accuracy: float
    count: int


def plot(tables: Sequence[Table], spec: BoardSpec, key: str) -> Plot | None:
    """Accuracy against speed; None of fewer than two students, or where nothing is known of them.

    Args:
        tables: Of one data set, variant and teacher, with hyperparameters by default.
    """
    rows = [(table, row) for table in tables for row in table.rows if "accuracy" in row.metrics]
    rows = [(table, row) for table, row in rows if not row.question.quiz]
    measure = next((m for m in MEASURES if all(m.of(row) is not None for _, row in rows)), None)
    if measure is None or len({table.question.student for table, _ in rows}) < 2:
        return None
    found = groups(rows, spec, measure)
    ask = tables[0].question
    title = f"Students of {fitted(ask.teacher, 300)} on {fitted(tables[0].place, 200)}"
    caption = (
        "One point for each baseline and each family of methods with each student: the mean "
        f"accuracy of its methods ({_counts(found)}) against the median {measure.title}. "
        "Lines join the same family; methods that hold out a quiz split are left out."
    )
    chart = _chart(found, spec.baselines, measure)
    about = spec.title or spec.suite
    return plotted(chart, key=key, title=title, caption=caption, about=about)


def groups(rows: Sequence[tuple[Table, Row]], spec: BoardSpec, measure: Measure) -> list[Group]:
    """By student and kind; a baseline is a kind of its own."""
    found: Mapping[tuple[str, str], list[float]] = defaultdict(list)
    same: Mapping[tuple[str, int], list[float]] = defaultdict(list)
    accuracies: Mapping[tuple[str, str], list[float]] = defaultdict(list)
    for table, row in rows:
        same[_network(table, row)].append(measure.of(row) or 0.0)
    for table, row in rows:
        key = table.question.student, row.baseline or kind(row, spec)
        # one network has one speed, whoever trained it: what differs is noise
        found[key].append(median(same[_network(table, row)]))
        accuracies[key].append(100 * row.metrics["accuracy"].mean)
    return [
        Group(
            student=student, kind=one, count=len(sizes), size=median(sizes),
            accuracy=fmean(accuracies[student, one]),
        )
        for (student, one), sizes in sorted(found.items())
    ]  # fmt: skip


def _network(table: Table, row: Row) -> tuple[str, int]:
    """What is deployed: of one student some methods deploy a larger network."""
    return table.question.student, row.deployed.multiply_adds if row.deployed else 0


def _counts(found: Sequence[Group]) -> str:
    """How many methods each family has, at most."""
    most: dict[str, int] = {}
    for one in found:
        most[one.kind] = max(most.get(one.kind, 0), one.count)
    return ", ".join(f"{name} {count}" for name, count in most.items())


def _chart(found: Sequence[Group], baselines: Sequence[str], measure: Measure) -> altair.LayerChart:
    """Points, lines between students, and the students' names at the top."""
    look = looks((one.kind for one in found), baselines)
    legend = altair.Legend(orient="top", title=None, offset=_HEAD)
    rows = [
        {"kind": fitted(one.kind, 90), "size": one.size, "accuracy": one.accuracy} for one in found
    ]
    domain = [fitted(name, 90) for name in look]
    color = altair.Color(
        "kind:N",
        scale=altair.Scale(domain=domain, range=[c.light for c, _ in look.values()]),
        legend=legend,
    )
    shape = altair.Scale(domain=domain, range=[symbol for _, symbol in look.values()])
    sizes = [one.size for one in found]
    low, high = min(sizes), max(sizes)
    margin = 0.12 * (high - low) or 0.1 * high or 1.0
    scale = altair.Scale(domain=[max(0.0, low - margin), high + margin], nice=False, zero=False)
    x = altair.X("size:Q", scale=scale, axis=altair.Axis(title=measure.title, tickCount=6))
    ups = [one.accuracy for one in found]
    room = 0.06 * (max(ups) - min(ups)) or 1.0
    y = altair.Y(
        "accuracy:Q", axis=altair.Axis(title="accuracy, %", tickCount=6),
        scale=altair.Scale(domain=[min(ups) - room, max(ups) + room], nice=False, zero=False),
    )  # fmt: skip
    by_student: Mapping[str, list[float]] = defaultdict(list)
    for one in found:
        by_student[one.student].append(one.size)
    names = [{"text": fitted(name, 200), "at": median(some)} for name, some in by_student.items()]
    heads = over(names).mark_text(baseline="bottom", color=QUIET.light, dy=-8)
    return layered(
        over(rows).mark_line(strokeWidth=1.2, opacity=0.6).encode(x=x, y=y, color=color),
        over(rows).mark_point(filled=True, size=80, opacity=1, stroke=PAPER.light, strokeWidth=0.8)
        .encode(x=x, y=y, color=color, shape=altair.Shape("kind:N", scale=shape, legend=legend)),
        heads.encode(x=altair.X("at:Q", scale=scale), y=altair.value(0), text="text:N"),
    ).properties(width=WIDTH, height=HEIGHT)  # fmt: skip
