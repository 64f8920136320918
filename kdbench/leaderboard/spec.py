"""What a suite says about its board: plain data beside the records, so no plugin is needed."""

from typing import Any

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer

from kdbench.record import Frozen, Pair, Question, Spec
from kdbench.suite import Claim, Report


class About(Frozen):
    """What a method's plugin says of it, for readers of a board without that plugin.

    Attributes:
        summary: A line.
        family: See `kdbench.api.Method`; "" where none is named.
        authors, title, year, venue, arxiv, doi: Of its paper, as `kdbench.api.Paper` has them;
            without a title it names none.
    """

    summary: str = ""
    family: str = ""
    authors: str = ""
    title: str = ""
    year: int | None = None
    venue: str = ""
    arxiv: str = ""
    doi: str = ""


class Variation(Frozen):
    """One variant of a suite.

    Attributes:
        about: What it changes.
        methods: That are expected in its tables.
        tables: Keys of its tables, by data set and pair: `DATASET TEACHER:STUDENT`.
        place: Among the suite's variants, which a file's sorted keys would forget.
    """

    about: str = ""
    methods: tuple[str, ...] = ()
    tables: dict[str, str] = {}
    place: int = 0


class BoardSpec(Frozen):
    """Title, baselines, and what ought to be there.

    Attributes:
        variants: Of the suite, by name; then only their tables are expected.
        report, claims: What a report tells of the records.
        suite: Name of the suite.
        title: Heading of the board.
        about: A paragraph under it.
        baselines: Methods that gains are taken over; the first is also what a bad accuracy is
            measured by.
        datasets, pairs, methods, seeds: Axes whose product is expected, with given weights named as
            in questions; what is missing is named. Without seeds, every row is expected to have all
            seeds of its table.
        by_pair: Methods with the options that they are tuned to, by pair; such rows are expected in
            a table of their own.
        notes: Explanations printed under the tables, by method or by row name.
        described: Every method, members of sums too, by its name without options.
    """

    suite: str = ""
    title: str = ""
    about: str = ""
    baselines: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    by_pair: dict[str, tuple[str, ...]] = {}
    notes: dict[str, str] = {}
    described: dict[str, About] = {}
    variants: dict[str, Variation] = {}
    report: Report | None = None
    claims: tuple[Claim, ...] = ()

    @field_validator("variants")
    @classmethod
    def _ordered(cls, value: dict[str, Variation]) -> dict[str, Variation]:
        return dict(sorted(value.items(), key=lambda item: item[1].place))

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Nothing is said of what a suite does not have: older files keep their bytes."""
        found: dict[str, Any] = dump(self)
        return {k: v for k, v in found.items() if v or k not in ("variants", "report", "claims")}

    def variant(self, table: str) -> str:
        """Names of the variants whose table has this key, or nothing."""
        return ", ".join(self._asking(table))

    def changes(self, table: str) -> str:
        """What the variants whose table has this key say of themselves, or nothing."""
        asking = self._asking(table).values()
        return "; ".join(dict.fromkeys(one.about for one in asking if one.about))

    def expected(self, question: Question) -> tuple[str, ...] | None:
        """The methods that this question's table ought to have; None where none is expected."""
        if not question.full:
            return None
        if self.variants:
            asking = self._asking(question.table).values()
            return tuple(dict.fromkeys(m for one in asking for m in one.methods)) or None
        pair = f"{question.teacher}:{question.student}"
        known = not self.wanted or (question.dataset, pair) in self.wanted
        return self.methods if known else None

    def _asking(self, table: str) -> dict[str, Variation]:
        """The variants whose table has this key."""
        return {name: one for name, one in self.variants.items() if table in one.tables.values()}

    def note(self, name: str, method: str) -> str:
        """The explanation for this row, or nothing."""
        return self.notes.get(name) or self.notes.get(method, "")

    @property
    def wanted(self) -> tuple[tuple[str, str], ...]:
        """Every expected data set and pair, as questions write them."""
        return tuple(
            (str(Spec.parse(d)), str(Pair.parse(pair)))
            for d in self.datasets
            for pair in self.pairs
        )
