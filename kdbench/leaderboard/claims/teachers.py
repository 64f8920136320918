"""Whether each teacher is better than the first baseline, without which it has little to teach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Literal, TypeAlias

from kdbench.leaderboard.board import Board, Row, Table
from kdbench.leaderboard.cells import means
from kdbench.leaderboard.claims.lookup import place
from kdbench.statistics import Estimate, paired

State: TypeAlias = Literal["better", "not told", "not better", "unknown"]

_ROUNDING = 1e-12

STATES: Final[dict[State, str]] = {
    "better": "better",
    "not told": "better on the mean, but not told from it",
    "not better": "not better",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherCheck:
    """One table's teacher against the first baseline.

    Attributes:
        place: The table's name.
        variant: Of the suite, or "".
        lead: Accuracy of the teacher less that of the baseline, paired by seed.
        why: Why it is unknown, or whose baseline it is where the table has none of its own.
    """

    place: str
    variant: str = ""
    state: State
    lead: Estimate | None = None
    why: str = ""


def checks(board: Board) -> tuple[TeacherCheck, ...]:
    """Of every table of the settings by default, in the board's order; none without a baseline."""
    if not board.spec.baselines:
        return ()
    known = [table for table in board.tables if table.part == "defaults"]
    return tuple(_check(board, table, known) for table in known)


def told(found: Sequence[TeacherCheck], baseline: str) -> str:
    """In how many tables the teacher is better, a sentence or two."""
    if not found:
        return "There is no baseline to compare the teachers with."
    counts = {state: sum(one.state == state for one in found) for state in STATES}
    if counts["better"] == len(found):
        many = {1: "the one table", 2: "both tables"}.get(len(found), f"all {len(found)} tables")
        return f"The teacher is better than {baseline} in {many}."
    parts = [f"The teacher is better than {baseline} in {counts['better']} of {len(found)} tables"]
    parts += [f"not better in {counts['not better']}"] if counts["not better"] else []
    parts += [f"in {counts['not told']} it could not be told"] if counts["not told"] else []
    parts += [f"in {counts['unknown']} nothing is known"] if counts["unknown"] else []
    return f"{'; '.join(parts)}."


def _check(board: Board, table: Table, every: Sequence[Table]) -> TeacherCheck:
    called, baseline = place(table), board.spec.baselines[0]
    own = _baseline(table, baseline)
    others = {
        place(other): row
        for other in every
        if other is not table and _alike(other, table) and (row := _baseline(other, baseline))
    }
    rows = {called: own} if own else others
    teacher = _teacher(table)
    if not rows or not teacher:
        why = f"no {baseline} on this data set and student" if teacher else "no complete row"
        return TeacherCheck(place=called, variant=table.variant, state="unknown", why=why)
    where, best = max(rows.items(), key=lambda item: (item[1].metrics["accuracy"].mean, item[0]))
    theirs = best.values["accuracy"]
    seeds = sorted(set(teacher) & set(theirs))
    if not seeds:
        return TeacherCheck(
            place=called, variant=table.variant, state="unknown", why="no seed in common"
        )
    lead = paired({s: teacher[s] for s in seeds}, {s: theirs[s] for s in seeds})
    if lead.mean <= _ROUNDING:
        state: State = "not better"
    else:
        sure = lead.n > 1 and lead.low is not None and lead.low > 0
        state = "better" if sure else "not told"
    return TeacherCheck(
        place=called,
        variant=table.variant,
        state=state,
        lead=lead,
        why="" if own else f"{baseline} of {where}",
    )


def _alike(one: Table, other: Table) -> bool:
    """Whether a baseline of one may stand for the other's."""
    a, b = one.question, other.question
    theirs = (b.dataset, b.student, b.evaluation.split)
    return (a.dataset, a.student, a.evaluation.split) == theirs


def _baseline(table: Table, baseline: str) -> Row | None:
    """The best row of the baseline on the whole transfer set, with an accuracy."""
    rows = [
        row for row in table.rows
        if means(baseline, row.question) and not row.question.quiz and "accuracy" in row.metrics
    ]  # fmt: skip
    return max(rows, key=lambda row: (row.metrics["accuracy"].mean, row.name), default=None)


def _teacher(table: Table) -> Mapping[int, float]:
    """Accuracy of the table's teacher by seed; of several that taught one seed, their mean."""
    found = dict[int, dict[str, float]]()
    for row in table.rows:
        for record in row.records:
            if record.teacher and "accuracy" in record.teacher.quality:
                by_weights = found.setdefault(record.question.seed, {})
                by_weights[record.teacher.weights] = record.teacher.quality["accuracy"]
    return {seed: fmean(by_weights.values()) for seed, by_weights in found.items()}
