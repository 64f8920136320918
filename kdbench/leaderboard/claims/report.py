"""Board -> report: the paper's question, its claims, its figures, and what the records say."""

from dataclasses import dataclass

from kdbench.errors import NothingSelected
from kdbench.leaderboard.board import Board
from kdbench.leaderboard.claims.findings import Finding, Shown, finding, shown
from kdbench.leaderboard.claims.runs import Run, run_of
from kdbench.leaderboard.claims.teachers import TeacherCheck, checks
from kdbench.leaderboard.claims.verdicts import RULES, VERDICTS, WORDS, Verdict
from kdbench.leaderboard.spec import BoardSpec
from kdbench.statistics import LEVEL
from kdbench.suite import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A report with all that the records say.

    Attributes:
        report: What the suite says.
        findings: Of the claims, in the suite's order.
        series: Published figures with ours.
        teachers: Against the first baseline, by table.
    """

    spec: BoardSpec
    report: Report
    findings: tuple[Finding, ...]
    series: tuple[Shown, ...]
    teachers: tuple[TeacherCheck, ...]
    run: Run

    @property
    def title(self) -> str:
        """Heading of the report."""
        return self.spec.title or self.spec.suite or "Report"

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many claims have each verdict."""
        return {one: sum(f.verdict == one for f in self.findings) for one in VERDICTS}

    @property
    def verdict(self) -> str:
        """How many claims have each verdict, a sentence."""
        if not self.findings:
            return "The suite makes no claim."
        counts = self.counts
        told = [f"{counts[v]} {WORDS[v]}" for v in VERDICTS[:3]]
        told += [f"{counts[v]} {WORDS[v]}" for v in VERDICTS[3:] if counts[v]]
        count = len(self.findings)
        return f"Of {count} claim{'s' * (count != 1)}: {', '.join(told)}."

    @property
    def multiplicity(self) -> str:
        """What the number of claims means for their verdicts."""
        judged = sum(f.estimate is not None and f.estimate.low is not None for f in self.findings)
        chance = judged * (1 - LEVEL)
        return (
            f"Each interval is of one claim alone, at 95 %. {judged} of {len(self.findings)} "
            f"claims have one: if no contrast differed from 0 at all, about {chance:.2g} of their "
            "intervals would still lie on one side of 0 by chance, half of them on the claimed "
            "side."
        )

    @property
    def rules(self) -> tuple[tuple[str, str], ...]:
        """What is claimed, and what follows from where the whole interval lies."""
        return tuple(RULES.items())

    def markdown(self) -> str:
        """The report for a forge."""
        from kdbench.leaderboard.claims.markdown import render

        return render(self)

    def json(self) -> str:
        """All numbers, each seed's included."""
        from kdbench.leaderboard.claims.export import to_json

        return to_json(self)


def answered(board: Board) -> Answered:
    """The report of this board's suite, answered from the board.

    Raises:
        NothingSelected: The suite has neither a report nor claims.
        UsageError: A claim means several rows of one table.
    """
    spec = board.spec
    if spec.report is None and not spec.claims:
        raise NothingSelected(
            f"{spec.suite or 'the suite'} has no report",
            "its suite.json names no question and no claims of a paper",
            "write [report] and [[claims]] in the suite (docs/reports.md), then kdbench run",
        )
    report = spec.report or Report(question="")
    return Answered(
        spec=spec, report=report,
        findings=tuple(finding(board, claim) for claim in spec.claims),
        series=tuple(shown(board, series) for series in report.series),
        teachers=checks(board), run=run_of(board),
    )  # fmt: skip
