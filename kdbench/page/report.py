"""A report's page: one HTML file without script that opens from disk, written and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbench.leaderboard.claims import CONTRASTS, WORDS, Answered, Finding, Shown, Unit, words
from kdbench.page import palette
from kdbench.page.axis import Axis, Mark, axis
from kdbench.page.plots.window import CUT
from kdbench.page.whole import DIGEST, FOLDER, digest, environment, sealed
from kdbench.record import write_atomically

NAME = "report.html"
_BOARD = "index.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a picture.

    Attributes:
        band: Ends of the smallest effect in percent, where there is one.
    """

    finding: Finding
    mark: Mark
    band: tuple[float, float] | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """All contrasts of one unit.

    Attributes:
        zero: Place of 0 in percent.
        cut: What to say of those that leave the picture; "" where none does.
    """

    title: str
    axis: Axis
    zero: float
    lines: tuple[Line, ...]
    cut: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One line of a series: texts, and places in percent; None for what there is not."""

    label: str
    published: str
    ours: str
    n: int
    hollow: float | None
    mark: Mark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A series, published and ours; without an axis where there is no figure at all."""

    title: str
    caption: str
    axis: Axis | None
    points: tuple[Point, ...]


def render(report: Answered, *, board: bool = False) -> str:
    """The page; ends in one newline.

    Args:
        board: Whether the board's page lies beside it.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
    """
    css = "".join((FOLDER / name).read_text("utf-8") for name in ("page.css", "report.css"))
    text = environment().get_template("report.html").render(
        report=report, said=report.report, words=words, verdicts=WORDS, panels=panels(report),
        pictures=[picture(one) for one in report.series], board=_BOARD if board else "",
        style=palette.style() + css, digest=DIGEST,
    )  # fmt: skip
    return sealed(text)


def write(report: Answered, folder: Path) -> Path:
    """Write the page into `folder`; its path.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
        StoreError: The file system refuses.
    """
    page = render(report, board=(folder / _BOARD).is_file())
    write_atomically(folder / NAME, page.encode())
    return folder / NAME


def check(report: Answered, folder: Path) -> list[str]:
    """What is wrong with the page in `folder`, a line; styles do not count.

    Raises:
        MissingExtra: A package of the extra `page` is not installed.
    """
    path, expected = folder / NAME, digest(render(report))
    if not path.is_file():
        return [f"{NAME} is missing"]
    same = digest(path.read_bytes().decode(errors="replace")) == expected
    return [] if same else [f"{NAME} differs from what the records give"]


def panels(report: Answered) -> list[Panel]:
    """A picture of the contrasts of each unit that any has."""
    found = []
    for key, unit in CONTRASTS.items():
        known = [f for f in report.findings if f.claim.unit == key and f.estimate]
        if known:
            found.append(_panel(known, key, unit))
    return found


def _panel(findings: Sequence[Finding], key: str, unit: Unit) -> Panel:
    estimates = [one.estimate for one in findings if one.estimate]
    effects = [sign * one.claim.effect for one in findings for sign in (-1, 1)]
    shown = axis(estimates, [0.0, *effects], unit.scale)
    lines, cut = [], ""
    for one, estimate in zip(findings, estimates, strict=True):
        size = unit.scale * one.claim.effect
        band = (shown.at(-size), shown.at(size)) if size else None
        mark = shown.mark(estimate, unit.scale)
        lines.append(Line(finding=one, mark=mark, band=band, text=unit.span(estimate)))
        ends = [
            unit.scale * v for v in (estimate.low, estimate.mean, estimate.high) if v is not None
        ]
        cut = cut if all(map(shown.shown.holds, ends)) else CUT.strip()
    title = {"points": "Percentage points", "nats": "Nats", "correlation": "Rank correlations"}
    return Panel(
        title=title.get(key, "Contrasts"), axis=shown, zero=shown.at(0.0), lines=tuple(lines),
        cut=cut,
    )  # fmt: skip


def picture(one: Shown) -> Picture:
    """The series as its table and its picture show it."""
    unit = words.unit(one)
    ours = [figure.ours for figure in one.figures if figure.ours]
    theirs = [f.point.published for f in one.figures if f.point.published is not None]
    shown = (
        axis(ours, [value / unit.scale for value in theirs], unit.scale) if ours or theirs else None
    )
    return Picture(
        title=one.series.title, caption=words.caption(one), axis=shown,
        points=tuple(
            Point(
                label=figure.point.label, published=words.printed(one, figure),
                ours=unit.span(figure.ours) if figure.ours else figure.why,
                n=figure.ours.n if figure.ours else 0,
                hollow=(
                    None if shown is None or figure.point.published is None
                    else shown.at(figure.point.published)
                ),
                mark=shown.mark(figure.ours, unit.scale) if shown and figure.ours else None,
            )
            for figure in one.figures
        ),
    )  # fmt: skip
