"""What papers claim, as data that stands before a run: contrasts, directions, smallest effects."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from kdbench.errors import UsageError
from kdbench.record import Frozen, Pair, Spec
from kdbench.suite.mistakes import meant
from kdbench.suite.parts import Axes

Direction: TypeAlias = Literal["greater", "less", "equal", "not less", "not greater"]
"""Of a contrast against 0; the last three allow for the smallest effect."""


class Where(Frozen):
    """One row of a board; what is left out is the only one there is, or the mean over all.

    Attributes:
        variant: Of the suite.
        method: A method, with the options that tell it from others of its variant.
        pair, dataset: As the suite's axes have them.
    """

    variant: str = ""
    method: str
    pair: str = ""
    dataset: str = ""


class Term(Where):
    """A weighted measure of one row.

    Attributes:
        measure: Of the row by seed: `accuracy`, `ece`, `agreement`, `seen_agreement` and the like;
            behind `teacher_` a quality of its teacher.
        weight: Of the measure in the contrast.
    """

    measure: str
    weight: float = 1.0


class Claim(Frozen):
    """One claim: a contrast of measures, or how two measures go together over rows.

    The contrast of a seed is the constant and the sum of its weighted terms. With `along`, it is
    the rank correlation of the measures `x` and `y` over these rows instead.

    Attributes:
        key: Unique in its suite.
        says: What is claimed, a sentence.
        source: Where the paper says it.
        published: What the paper printed, in words and figures.
        direction: On which side of 0 the claim has the contrast.
        effect: The smallest effect that would matter, in the contrast's unit.
        unit: "points" where the contrast is a difference of fractions, printed in percent.
        terms, constant: Of a contrast.
        along, x, y: Of a correlation.
    """

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    says: str
    source: str
    published: str = ""
    direction: Direction
    effect: float = Field(ge=0)
    unit: Literal["points", "nats", "correlation", ""] = "points"
    terms: tuple[Term, ...] = ()
    constant: float = 0.0
    along: tuple[Where, ...] = ()
    x: str = ""
    y: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> "Claim":
        if bool(self.terms) == bool(self.along):
            raise ValueError("a claim has either terms, or rows along which x and y are correlated")
        if self.along and (len(self.along) < 3 or not (self.x and self.y)):
            raise ValueError("a correlation needs x, y and at least three rows")
        if self.along and self.unit not in ("correlation", ""):
            raise ValueError("a correlation has unit = 'correlation'")
        return self


class Point(Where):
    """One published figure and the row that answers it.

    Attributes:
        label: What the paper calls it.
        published: Its figure, in the series' unit; None where the paper shows none.
    """

    label: str
    published: float | None = None


class Series(Frozen):
    """Published figures of one kind, beside which ours are printed.

    Attributes:
        title: What is shown.
        source: Table or figure of the paper.
        measure: As of a term.
        unit: "percent" for fractions that are printed so, or "" for numbers as they are.
        points: In the paper's order.
    """

    title: str
    source: str
    measure: str
    unit: Literal["percent", ""] = "percent"
    points: tuple[Point, ...] = Field(min_length=1)


class Report(Frozen):
    """What a report says beside the claims.

    Attributes:
        question: The paper's.
        setting: What the paper's networks, data and training were, and how this suite differs.
        papers: Citations, a line each.
        series: Published figures with ours.
    """

    question: str
    setting: str = ""
    papers: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()


def kept(
    report: Report | None, claims: Sequence[Claim], left_out: Sequence[str]
) -> tuple[Report | None, tuple[Claim, ...]]:
    """The report and the claims without what is about variants that are left out."""
    mine = tuple(
        claim
        for claim in claims
        if not any(row.variant in left_out for row in (*claim.terms, *claim.along))
    )
    if report is None:
        return None, mine
    series = []
    for one in report.series:
        points = tuple(point for point in one.points if point.variant not in left_out)
        series += [one.model_copy(update={"points": points})] if points else []
    return report.model_copy(update={"series": tuple(series)}), mine


def check(
    report: Report | None,
    claims: Sequence[Claim],
    asked: Mapping[str, Axes],
    origin: str,
) -> None:
    """Refuse claims and figures about rows that the suite does not ask.

    Args:
        asked: Of each variant, its axes.

    Raises:
        UsageError: As said, or two claims have one key.
    """
    keys = [claim.key for claim in claims]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        what = f"{origin} has two claims {twice[0]!r}"
        raise UsageError(what, "a key names one claim", "rename one")
    for owner, row in _rows(report, claims):
        what = f"{origin}: {owner} is about variant {row.variant!r}, method {row.method!r}"
        if row.variant not in asked:
            raise UsageError(what, "the suite has no such variant", meant(row.variant, [*asked]))
        axes = asked[row.variant]
        names = {Spec.parse(text).name for text in axes.methods}
        if (name := Spec.parse(row.method).name) not in names:
            why = "the variant does not ask that method"
            raise UsageError(what, why, meant(name, sorted(names)))
        if row.pair and Pair.parse(row.pair) not in map(Pair.parse, axes.pairs):
            raise UsageError(what, f"it does not ask pair {row.pair}", meant(row.pair, axes.pairs))
        if row.dataset and Spec.parse(row.dataset) not in map(Spec.parse, axes.datasets):
            why = f"it does not ask data set {row.dataset}"
            raise UsageError(what, why, meant(row.dataset, axes.datasets))


def _rows(report: Report | None, claims: Sequence[Claim]) -> Iterator[tuple[str, Where]]:
    """Every row that is spoken of, and by whom."""
    for claim in claims:
        yield from ((f"claim {claim.key!r}", row) for row in (*claim.terms, *claim.along))
    for series in report.series if report else ():
        yield from ((f"series {series.title!r}", point) for point in series.points)
