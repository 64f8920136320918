"""What a report says around its numbers, the same on a page and in Markdown."""

from collections import defaultdict
from typing import Final

from kdbench.leaderboard.claims import teachers as teacher_checks
from kdbench.leaderboard.claims.findings import Figure, Finding, Shown
from kdbench.leaderboard.claims.report import Answered
from kdbench.leaderboard.claims.teachers import STATES
from kdbench.leaderboard.claims.units import CONTRASTS, FIGURES, Unit
from kdbench.leaderboard.text import MISSING, fixed
from kdbench.leaderboard.words import listed

CLAIMS: Final = (
    "Ours: mean over n seeds with its 95 % t interval, differences paired by seed, each value the "
    "mean over the tables that the claim is about; points are percentage points. What is claimed, "
    "and from which effect on it matters, stands in the suite."
)

_HOW: Final = (
    "The suite states each claim as a contrast of measured quantities, the side of 0 on which it "
    "has to lie, and e, the smallest effect that would matter. The verdict follows from where the "
    "whole 95 % t interval over seeds lies, as listed for each kind of claim. Where it allows none "
    "of these, where there is one seed, or where a contrast is the same in all seeds, the claim is "
    "not testable at this size; where rows or seeds are missing, it is not answered."
)


def how(report: Answered) -> str:
    """How verdicts are made, and for what they hold."""
    varied, held = "the student, not the teacher or the data", "teachers"
    if report.run.own_teachers:
        varied, held = "teacher and student, not the data", "networks"
    return f"{_HOW} Seeds vary {varied}: a verdict holds for these {held}, data and settings."


def published(one: Finding) -> str:
    """Where the paper says it, and what it printed."""
    return ": ".join(part for part in (one.claim.source, one.claim.published) if part)


def claimed(one: Finding) -> str:
    """Where the contrast has to lie, and the smallest effect that would matter."""
    size = one.unit.size(one.claim.effect)
    side = {
        "greater": "above 0", "less": "below 0", "equal": f"within ±{size}",
        "not less": f"above −{size}", "not greater": f"below +{size}",
    }[one.claim.direction]  # fmt: skip
    if one.claim.effect and one.claim.direction in ("greater", "less"):
        return f"{side}; matters from {size}"
    return side


def extent(one: Finding) -> str:
    """What the contrast is the mean over."""
    if one.estimate is None:
        return ""
    return f"n = {one.estimate.n}" + f"; mean over {one.tables} tables" * (one.tables > 1)


def unit(one: Shown) -> Unit:
    """Of the series' figures."""
    return FIGURES[one.series.unit]


def printed(one: Shown, figure: Figure) -> str:
    """The published figure, as the paper has it."""
    value = figure.point.published
    return MISSING if value is None else f"{value:g} {unit(one).name}".rstrip().replace("-", "−")


def caption(one: Shown) -> str:
    """Where the published figures are from, and what ours are."""
    return f"Published: {one.series.source}. Ours: mean over n seeds with its 95 % t interval."


def teachers(report: Answered) -> str:
    """In how many tables the teacher is better than the first baseline."""
    baseline = report.spec.baselines[0] if report.spec.baselines else ""
    return teacher_checks.told(report.teachers, baseline)


def doubtful(report: Answered) -> list[str]:
    """Tables whose teacher is not surely better, with the numbers; like variants in one line."""
    alike = defaultdict[str, list[str]](list)
    for one in report.teachers:
        if one.state != "better":
            lead = f" ({CONTRASTS['points'].span(one.lead)}, n = {one.lead.n})" if one.lead else ""
            why = f"; {one.why}" if one.why else ""
            where = one.place.removeprefix(f"{one.variant}: ")
            alike[f"{where}: {STATES[one.state]}{lead}{why}"] += [one.variant] * bool(one.variant)
    return [f"{', '.join(names)}: {told}" if names else told for told, names in alike.items()]


def run(report: Answered) -> list[tuple[str, str]]:
    """What was run, a name and a line each."""
    one = report.run
    days = one.first if one.first == one.last else f"{one.first} to {one.last}"
    trials = f"{one.trials:,} that count, in {one.tables} table{'s' * (one.tables != 1)}"
    if one.failures:
        trials += f"; {len(one.failures)} incomplete row{'s' * (len(one.failures) != 1)}"
    if one.partial:
        trials += f"; {one.partial} with part of the budget, left out"
    lines = [
        ("Suite", f"{report.spec.suite or MISSING}, {days}"),
        ("Trials", trials),
        ("Seeds", listed(list(one.seeds)).removeprefix("seeds ").removeprefix("seed ")),
    ]
    several = len(one.hardware) > 1
    for name, count in one.hardware:
        share = f" ({count} trials, {fixed(100 * count / one.trials, 0)} %)" if several else ""
        lines.append(("Hardware", f"{name}{share}"))
    lines += [("Versions", line) for line in one.versions]
    lines.append(("Code", _code(report)))
    return lines


def _code(report: Answered) -> str:
    found = report.run.code.items()
    told = ", ".join(f"{method} {'/'.join(c[:12] for c in codes)}" for method, codes in found)
    count = report.run.environments
    return f"{told}; {count} class{'es' * (count != 1)} of environment (see the records)"
