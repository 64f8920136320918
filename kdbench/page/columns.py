"""What the columns of a table are: accuracy, fidelity and cost, every figure with what sorts it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from kdbench.leaderboard import BoardSpec, Expense, Row, Table
from kdbench.leaderboard.text import MISSING, figures, span, spread
from kdbench.page.verdict import SIGNS, Told, Verdict, bar, reach, shown, verdict
from kdbench.statistics import MOST_SEEDS, Estimate

Group: TypeAlias = Literal["Accuracy", "Fidelity", "Cost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one column shows.

    Attributes:
        key: Names it in the address of the page.
        overview: Whether the short view has it.
        hint: What the figure is.
    """

    key: str
    title: str
    group: Group
    hint: str
    overview: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure.

    Attributes:
        order: What sorts it; None where it is missing.
        told: What colours it and gives it its sign.
        bar: Start, middle and end of an interval in hundredths of the column's width, 50 being 0.
    """

    text: str
    order: float | None
    told: Told = "none"
    bar: tuple[float, float, float] | None = None


Made: TypeAlias = tuple[Column, Callable[[Row], Cell]]
"""A column, and what it says of a row."""


def accuracy(table: Table, spec: BoardSpec, baseline: str) -> list[Made]:
    """How good the students are, and how that stands to each baseline."""
    split = table.question.evaluation.split
    found: list[Made] = [
        _metric("accuracy", "Accuracy %", "Accuracy", f"On the {split} split", overview=True)
    ]
    for text in spec.baselines:
        hint = f"Points of accuracy above {text}, paired by seed"
        column = Column(
            key=f"gain-{text}", title=f"Gain over {text}", group="Accuracy", hint=hint,
            overview=text == baseline,
        )  # fmt: skip
        found.append((column, lambda row, text=text: _gain(verdict(row, text))))  # type: ignore[misc]  # a default binds the loop's name
    if baseline:
        found += _judged(table, baseline)
    found += [
        (
            Column(key="rank", title="Rank", group="Accuracy",
                   hint="By accuracy, in 95 % of resamples of the seeds"),
            _rank,
        ),
        (
            Column(key="contender", title="Contender", group="Accuracy",
                   hint="Whether it may be the best: the set of these holds it with 95 %"),
            _contender,
        ),
        (
            Column(key="group", title="Group", group="Accuracy",
                   hint="No difference is shown between rows that share a letter"),
            _letters,
        ),
        (
            Column(key="n", title="n", group="Accuracy", hint="Seeds", overview=True),
            lambda row: Cell(text=str(len(row.seeds)), order=len(row.seeds)),
        ),
    ]  # fmt: skip
    return found


def _judged(table: Table, baseline: str) -> list[Made]:
    """The gain over the baseline as a picture, its p value, and the seeds that would show it."""
    limit = reach([verdict(row, baseline) for row in table.rows])

    def picture(row: Row) -> Cell:
        told = verdict(row, baseline)
        if row.contrasts.get(baseline) is None:
            return Cell(text="", order=None)
        return Cell(text="", order=told.mean, told=told.told, bar=bar(told, limit))

    def p(row: Row) -> Cell:
        told, contrast = verdict(row, baseline), row.contrasts.get(baseline)
        order = contrast.adjusted if contrast else None
        return Cell(text=f"{SIGNS[told.told]}{told.p}", order=order, told=told.told)

    def more(row: Row) -> Cell:
        told, contrast = verdict(row, baseline), row.contrasts.get(baseline)
        if contrast is None or told.more == MISSING:
            return Cell(text=MISSING, order=None)
        return Cell(text=told.more, order=contrast.more or MOST_SEEDS + 1)

    return [
        (
            Column(key="interval", title=shown(limit), group="Accuracy", overview=True,
                   hint=f"Gain over {baseline} with its 95 % interval; a ring: no difference"),
            picture,
        ),
        (
            Column(key="p", title="p (Holm)", group="Accuracy", overview=True,
                   hint=f"Of the paired t test against {baseline}, for all rows together"),
            p,
        ),
        (
            Column(key="more", title="More seeds", group="Accuracy", overview=True,
                   hint="That would show a difference as large as the one seen with "
                        "probability 0.8"),
            more,
        ),
    ]  # fmt: skip


def fidelity() -> list[Made]:
    """How like their teacher they are."""
    return [
        _metric("agreement", "Agreement %", "Fidelity", "Same class as the teacher", overview=True),
        _metric("agreement_teacher_wrong", "Where teacher is wrong %", "Fidelity",
                "Agreement on the rows that the teacher gets wrong"),
        _metric("transfer_agreement", "On transfer set %", "Fidelity",
                "Agreement on the rows that the student learnt from"),
        _metric("kl", "KL", "Fidelity", "KL(teacher‖student) at temperature 1; 0 is best"),
        _metric("cka", "CKA", "Fidelity", "Likeness of the pooled features; 1 is best"),
        _metric("ece", "ECE", "Fidelity", "Expected calibration error, 15 bins; 0 is best"),
        _metric("nll", "NLL", "Fidelity", "Negative log likelihood of the labels"),
    ]  # fmt: skip


def cost(table: Table) -> list[Made]:
    """What training takes, and the network that is shipped."""
    several = len(table.hardware) > 1

    def spent(key: str, title: str, hint: str, value: Callable[[Expense], float | None]) -> Made:
        return (
            Column(key=key, title=title, group="Cost", hint=hint),
            lambda row: _figure(value(row.expense) if row.expense else None),
        )

    found: list[Made] = [
        (
            Column(key="overhead", title="Cost ×", group="Cost", overview=True,
                   hint="Wall time of a training step, the live teacher's pass included, over "
                        "the first baseline's, with its 95 % interval"),
            lambda row: _ratio(row.expense.overhead if row.expense else None),
        ),
        (
            Column(key="cpu-overhead", title="CPU cost ×", group="Cost",
                   hint="The same in processor time, which others hardly move"),
            lambda row: _ratio(row.cpu_overhead),
        ),
        spent("step", "Step ms", "A training step, with a live teacher", lambda e: e.step_ms),
        spent("warm", "Warm ms", "A step that reads the teacher's kept answer",
              lambda e: e.shared and e.shared[0]),
        spent("amortised", "Amortised ms", "A step in which a cohort shares its teacher's time",
              lambda e: e.shared and e.shared[1]),
        spent("images", "Images/s", "In training", lambda e: e.images_per_second),
        spent("passes", "Teacher passes", "An image", lambda e: e.teacher_passes),
        spent("extra", "Extra parameters", "Trained and not shipped",
              lambda e: e.training_parameters),
        spent("memory", "Peak MiB", "Tensors of a step", lambda e: e.peak_memory_mb),
        (
            Column(key="latency", title="Latency ms", group="Cost",
                   hint="The deployed student, batch 1"),
            lambda row: _figure(row.latency_ms),
        ),
        (
            Column(key="throughput", title="Throughput /s", group="Cost",
                   hint="The deployed student, batch 256"),
            lambda row: _figure(row.throughput),
        ),
        (
            Column(key="parameters", title="Parameters", group="Cost",
                   hint="Of the deployed student"),
            lambda row: _whole(row.deployed.parameters if row.deployed else None),
        ),
    ]  # fmt: skip
    if several:
        column = Column(key="hardware", title="Hardware", group="Cost", hint="See above the table")
        found.append(
            (column, lambda row: _whole(1 + row.expense.hardware if row.expense else None))
        )
    return found


def _metric(key: str, title: str, group: Group, hint: str, *, overview: bool = False) -> Made:
    percent = title.endswith("%")
    scale, digits = (100.0, 2) if percent else (1.0, 4)

    def cell(row: Row) -> Cell:
        estimate = row.metrics.get(key)
        text = spread(estimate, digits, scale=scale)
        return Cell(text=text, order=estimate.mean if estimate else None)

    return Column(key=key, title=title, group=group, hint=hint, overview=overview), cell


def _gain(told: Verdict) -> Cell:
    compared = told.told in ("above", "below", "open")
    return Cell(text=told.gain, order=told.mean if compared else None, told=told.told)


def _rank(row: Row) -> Cell:
    if row.standing is None or row.standing.rank is None:
        return Cell(text=MISSING, order=None)
    first, last = row.standing.rank
    text = str(first) if first == last else f"{first} to {last}"
    return Cell(text=text, order=first + last / 1e6)


def _contender(row: Row) -> Cell:
    known = row.standing and row.standing.contender
    return Cell(text="yes" if known else MISSING, order=int(bool(known)))


def _letters(row: Row) -> Cell:
    letters = row.standing.letters if row.standing else ""
    return Cell(text=letters or MISSING, order=ord(letters[0]) if letters else None)


def _ratio(estimate: Estimate | None) -> Cell:
    return Cell(text=span(estimate, 2), order=estimate.mean if estimate else None)


def _figure(value: float | None) -> Cell:
    return Cell(text=MISSING if value is None else figures(value), order=value)


def _whole(value: int | None) -> Cell:
    return Cell(text=MISSING if value is None else f"{value:,}", order=value)
