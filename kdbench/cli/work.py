"""A selection's answers: what the store says of every selected trial, and the boards made from it. Prints nothing."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdbench import leaderboard, plan
from kdbench.errors import DataError, UsageError
from kdbench.leaderboard import Board, BoardSpec, read_spec, write_spec
from kdbench.record import Pair, Record
from kdbench.registry import data_dir

if TYPE_CHECKING:
    from kdbench.cli.selection import Selection

__all__ = ["Outcome", "board", "counts", "expected", "keep", "outcomes", "planned"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A selected trial and the record that counts for it: the last ok one of today's code, or else the last."""

    trial: plan.Trial
    record: Record | None

    @property
    def status(self) -> str:
        """The record's status; "open" without one."""
        return self.record.status if self.record else "open"


def planned(selection: "Selection", records: Sequence[Record]) -> plan.Plan:
    """The plan of what was selected, with the state of every trial."""
    return plan.make(selection.suite, selection.registry, records, str(data_dir()))


def outcomes(made: plan.Plan, records: Iterable[Record]) -> list[Outcome]:
    """Every trial of the plan with its record."""
    known: dict[tuple[str, str], Record] = {}
    for record in sorted(records, key=lambda r: (r.status == "ok", r.created, r.attempt)):
        known[record.fingerprints.question, record.fingerprints.code] = record
    return [Outcome(t, known.get((t.question.fingerprint, t.code))) for t in made.trials]


def counts(found: Iterable[Outcome]) -> dict[str, int]:
    """How many trials have each status, ok first."""
    counted = Counter(outcome.status for outcome in found)
    return dict(sorted(counted.items(), key=lambda item: (item[0] != "ok", item[0])))


def expected(selection: "Selection") -> tuple[BoardSpec, list[str]]:
    """What the whole suite says about its board, and which of its data sets cannot be named because they are not here.

    Data sets and pairs are named as questions name them: a user's own files by content, never by path.
    """
    whole, registry, root = selection.whole, selection.registry, str(data_dir())
    datasets, absent = [], []
    for text in whole.axes.datasets:
        try:
            datasets.append(registry.dataset(plan.dataset_spec(text, registry), root).name)
        except DataError as error:
            if text in selection.suite.axes.datasets:
                raise
            absent.append(f"{text}: {error.what}")
    spec = BoardSpec(
        suite=whole.name,
        title=whole.title,
        about=whole.about.strip(),
        baselines=whole.scoring.baselines,
        datasets=tuple(datasets),
        pairs=tuple(plan.pair_name(Pair.parse(text)) for text in whole.axes.pairs),
        methods=whole.axes.methods,
        seeds=whole.axes.seeds,
        notes={name: settings.note for name, settings in whole.methods.items() if settings.note},
    )
    return spec, absent


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
    beside = tuple(dict.fromkeys((*suite.axes.methods, *suite.scoring.baselines)))
    wide = replace(selection, suite=suite.select(methods=beside))
    made = planned(wide, records)
    code = {trial.question.fingerprint: trial.code for trial in made.trials}
    chosen = [r for r in records if r.fingerprints.question in code]
    stale = [
        leaderboard.record_id(r)
        for r in chosen
        if r.fingerprints.code != code[r.fingerprints.question]
    ]
    narrow = spec.model_copy(
        update={
            "datasets": tuple(dict.fromkeys(cohort.dataset.name for cohort in made.cohorts)),
            "pairs": tuple(dict.fromkeys(plan.pair_name(cohort.pair) for cohort in made.cohorts)),
            "methods": suite.axes.methods,
            "seeds": suite.axes.seeds,
        }
    )
    made_board = leaderboard.build(chosen, narrow, stale=stale)
    # of what was asked in part, full trials are not missing
    full = made.trials[0].question.full
    return made_board if full else replace(made_board, absent=())

