"""A selection answered: its trials with their records, and the boards. Prints nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench import engine, plan
from kdbench.cli import page
from kdbench.cli.expecting import expected, tuned
from kdbench.cli.outcome import Outcome, outcomes
from kdbench.errors import KDBenchError, UsageError
from kdbench.leaderboard import (
    Board,
    BoardSpec,
    build,
    by_record,
    read_metrics,
    read_spec,
    read_speeds,
    record_id,
    write,
    write_spec,
)
from kdbench.record import Record
from kdbench.registry import data_dir
from kdbench.suite import Limits

if TYPE_CHECKING:
    from kdbench.cli.selection import Selection

__all__ = ["Done", "answer", "board", "expected", "keep", "planned"]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a selection.

    Attributes:
        found: Every selected trial with its record.
        records: Written just now.
        claimed: Trials that other runs were at to the end.
        board: Of what was selected.
        files: Of the whole store's board.
        why_not: Why its page was not written, in a line, or "".
        absent: Data sets of the suite that are not here and could not be named.
        error: What kept some trials from running.
        late: Whether the time was over before all was done.
    """

    found: tuple[Outcome, ...]
    records: tuple[Record, ...]
    claimed: int
    board: Board
    files: tuple[Path, ...]
    why_not: str
    absent: tuple[str, ...]
    error: KDBenchError | None
    late: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is amiss."""
        return not any(map(self.bad, self.found))

    def bad(self, one: Outcome) -> bool:
        """Whether a trial is neither ok nor left for another time or to another run."""
        left = one.status == "open" and (self.late or self.claimed)
        return one.status != "ok" and not left


def answer(
    selection: "Selection",
    listener: engine.Listener,
    device: str = "cpu",
    workers: int | None = None,
    retry: bool = False,
    started: Callable[[plan.Plan], None] = lambda made: None,
    until: engine.Until = engine.Until(),  # noqa: B008 - frozen
    limits: Limits | None = None,
) -> Done:
    """Answer what is open of a selection, and write the store's board.

    Raises:
        KDBenchError: Nothing could run; an error that comes later is in the result.
    """
    spec, absent = expected(selection)
    begun: list[plan.Plan] = []

    def begin(made: plan.Plan) -> None:
        keep(selection, spec)
        begun.append(made)
        started(made)

    before = {record_id(record) for record in selection.store.records()}
    error: KDBenchError | None = None
    claimed, late = 0, False
    try:
        run = engine.run(
            selection.suite,
            selection.registry,
            selection.store,
            listener,
            device=device,
            workers=workers,
            retry=retry,
            started=begin,
            until=until,
            limits=limits,
            shard=selection.shard,
        )
        claimed, late = run.claimed, run.late
    except KDBenchError as caught:
        if not begun:
            raise
        error = caught
    records, root = selection.store.records(), selection.store.root
    later = by_record(read_metrics(root).values())
    whole = build(records, spec, speeds=read_speeds(root), later=later)
    files = write(whole, root)
    pages, why_not = page.write(whole, root, root)
    return Done(
        found=tuple(outcomes(begun[0], records, selection.store)),
        records=tuple(r for r in records if record_id(r) not in before),
        claimed=claimed,
        board=board(selection, spec, records),
        files=(*files, *pages),
        why_not=why_not,
        absent=tuple(absent),
        error=error,
        late=late,
    )


def planned(selection: "Selection", records: Sequence[Record]) -> plan.Plan:
    """The plan of what was selected, with the state of every trial."""
    made = plan.make(selection.suite, selection.registry, records, str(data_dir()))
    return made.shard(*selection.shard) if selection.shard else made


def keep(selection: "Selection", spec: BoardSpec) -> None:
    """Put the spec into the store.

    Raises:
        UsageError: The store is another suite's.
    """
    folder = selection.store.root
    there = read_spec(folder)
    if there and there.suite != spec.suite:
        raise UsageError(
            f"{folder} holds records of suite {there.suite!r}",
            f"suite {spec.suite!r} would be mixed into its board",
            "choose another place with --store",
        )
    if there != spec:
        write_spec(spec, folder)


def board(selection: "Selection", spec: BoardSpec, records: Sequence[Record]) -> Board:
    """The board of what was selected, and of the baselines beside it where the store has them."""
    suite = selection.suite
    wide = replace(selection, suite=suite.beside(), shard=None)
    made = planned(wide, records)
    asked = {name: one.axes.methods for name, one in suite.varied()}
    keys = {trial.question.table for trial in made.trials}
    code = {trial.question.fingerprint: trial.code for trial in made.trials}
    chosen = [r for r in records if r.fingerprints.question in code]
    stale = [record_id(r) for r in chosen if r.fingerprints.code != code[r.fingerprints.question]]
    narrow = spec.model_copy(
        update={
            "datasets": tuple(dict.fromkeys(cohort.dataset.name for cohort in made.cohorts)),
            "pairs": tuple(dict.fromkeys(plan.pair_name(cohort.pair) for cohort in made.cohorts)),
            "methods": suite.asked("methods"),
            "seeds": suite.axes.seeds,
            "variants": {
                name: one.model_copy(
                    update={
                        "methods": asked[name],
                        "tables": {at: key for at, key in one.tables.items() if key in keys},
                    }
                )
                for name, one in spec.variants.items()
                if name in asked
            },
            "by_pair": tuned(suite),
        }
    )
    made_board = build(chosen, narrow, stale=stale)
    # of what was asked in part, full trials are not missing
    full = made.trials[0].question.full
    return made_board if full else replace(made_board, absent=())
