"""What a leaderboard holds: tables of rows and gaps; every row the mean of the same seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from kdbench.leaderboard.spec import BoardSpec
from kdbench.leaderboard.view import WHOLE, View
from kdbench.record import Card, Deployed, Question, Record, SpeedRecord
from kdbench.statistics import Contrast, Critical, Estimate, Standing

if TYPE_CHECKING:
    import pandas

Part: TypeAlias = Literal["defaults", "tuned per pair"]
"""A pair's rows with the paper's or the suite's hyperparameters, and those with the pair's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expense:
    """What a row costs, medians over its trials with valid times, all of one class of hardware.

    Attributes:
        hardware: Index into the table's `hardware`.
        step_ms, images_per_second, parts_ms, teacher_passes, training_parameters, peak_memory_mb,
        unaccounted, foreign_load, warm_ms, amortised_ms, cells: As in a record.
        discarded: Rounds left out because others used the machine, of all trials together.
        overhead: Geometric mean over trials with its t interval; of one trial, that trial's
            interval over rounds.
    """

    hardware: int
    step_ms: float
    images_per_second: float
    parts_ms: Mapping[str, float]
    overhead: Estimate | None
    teacher_passes: float
    training_parameters: int
    peak_memory_mb: float
    unaccounted: float | None = None
    foreign_load: float | None = None
    discarded: int | None = None
    warm_ms: float | None = None
    amortised_ms: float | None = None
    cells: float | None = None

    @property
    def shared(self) -> tuple[float, float] | None:
        """Milliseconds a step, warm and amortised: never one without the other."""
        if self.warm_ms is None or self.amortised_ms is None:
            return None
        return self.warm_ms, self.amortised_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method with all its seeds.

    Attributes:
        name: As printed; unique in the table.
        records: The trials, one a seed, in the order of `seeds`.
        baseline: Which of the spec's baselines it is, or "".
        values: Every metric of every seed; fidelity on the transfer set is named `transfer_...`.
        metrics: Their means with intervals.
        gains: Difference of accuracy to each baseline of its own kind of stream, paired by seed.
        contrasts: The same, judged together with those of the table's other rows to that baseline.
        standing: Among the table's rows, by accuracy; None where none was measured.
        gap_closed: Gain over the first baseline as a share of the teacher's, from the means; None
            where the teacher is no better than that baseline.
        expense: None where it was not measured, not valid, or not on one class of hardware.
        cpu_ms, cpu_overhead: A step in processor time, and the geometric mean of its ratio to the
            first baseline's with its t interval; there even where times are not valid.
        latency_ms, throughput: Of the deployed network, medians; None as for `expense`.
        remarks: What a reader should know.
    """

    name: str
    question: Question
    records: tuple[Record, ...]
    baseline: str
    rows: int
    settings: str
    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[int, float]]
    metrics: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]
    contrasts: Mapping[str, Contrast]
    standing: Standing | None
    gap_closed: float | None
    expense: Expense | None
    cpu_ms: float | None
    cpu_overhead: Estimate | None
    deployed: Deployed | None
    latency_ms: float | None
    throughput: float | None
    note: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A method that is not ranked, because some of its seeds are missing.

    Attributes:
        missing: Seeds, each with the reason.
        question: Any one of its trials'; None where none was ever tried.
        settings: As of a row.
    """

    name: str
    done: tuple[int, ...]
    missing: tuple[tuple[int, str], ...]
    question: Question | None = None
    settings: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All rows that share data set, pair, teacher, protocols and evaluation; in two parts.

    Attributes:
        key: Fingerprint of what they share.
        variant: Of the suite, or "".
        part: Which rows; those tuned per pair come with the baselines of the defaults.
        apart: Whether there are both parts.
        teachers: Distinct teachers of the ranked rows, by seed of first use.
        hardware: Classes of hardware that costs were measured on.
    """

    key: str
    variant: str = ""
    part: Part
    apart: bool
    question: Question
    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]
    seeds: tuple[int, ...]
    teachers: tuple[Card, ...]
    hardware: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def pair(self) -> str:
        """Teacher and student, as suites write them."""
        return f"{self.question.teacher}:{self.question.student}"

    @property
    def heading(self) -> str:
        """One line that names the table."""
        ask = self.question
        part = f", {self.part}" if self.apart else ""
        return f"{self.place}: {ask.teacher} teaches {ask.student}{part}"

    @property
    def place(self) -> str:
        """Its data set, behind its variant if any."""
        dataset = self.question.dataset
        return f"{self.variant}: {dataset}" if self.variant else dataset

    @property
    def own(self) -> tuple[Row, ...]:
        """The rows less the baselines that are there to compare with, counted in another part."""
        if self.part == "defaults":
            return self.rows
        return tuple(row for row in self.rows if not row.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """A method over all cells of a board.

    Attributes:
        standing: By its gain over the first baseline of its own kind of stream; None where a cell
            is missing.
        rows: Its rows, by key of their table.
        missing: Headings of the tables in which it has no row, or no such baseline.
    """

    name: str
    baseline: str
    rows: Mapping[str, Row]
    standing: Standing | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A leaderboard.

    Attributes:
        tables: Of the full protocol.
        partial: Of trials that spent part of their budget; never mixed with the former.
        across: Methods over all tables; empty where there is one table only.
        absent: Expected data sets, each behind its variant if any, and pairs without any full
            record.
        speeds: What steps cost, measured alone.
        critical: The methods' ranks over all cells; None with too few cells or methods.
        view: What is shown of it.
    """

    spec: BoardSpec
    tables: tuple[Table, ...]
    partial: tuple[Table, ...]
    across: tuple[Overall, ...]
    absent: tuple[tuple[str, str], ...]
    speeds: tuple[SpeedRecord, ...] = ()
    critical: Critical | None = None
    view: View = WHOLE

    def markdown(self) -> str:
        """The board as Markdown."""
        from kdbench.leaderboard.markdown import render

        return render(self)

    def csv(self) -> str:
        """A line a row of the full board; fractions, not percent."""
        from kdbench.leaderboard.export import to_csv

        return to_csv(self)

    def tex(self) -> str:
        """The board as tables of LaTeX's booktabs, to be put into a document."""
        from kdbench.leaderboard.tex import render

        return render(self)

    def frame(self) -> "pandas.DataFrame":
        """The rows and columns of `csv`."""
        from kdbench.leaderboard.export import to_frame

        return to_frame(self)

    def json(self) -> str:
        """All numbers, each seed's included."""
        from kdbench.leaderboard.export import to_json

        return to_json(self)

    def console(self, width: int = 110) -> str:
        """A short plain text, at most `width` columns."""
        from kdbench.leaderboard.console import render

        return render(self, width)
