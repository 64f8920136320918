"""What came of every trial of a plan. Prints nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from kdbench import plan
from kdbench.record import Record, Spec, Store, standing

__all__ = ["Outcome", "counts", "names", "outcomes"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A selected trial and the record that counts for it.

    Attributes:
        record: The last ok one of today's code, or else the last.
        name: Of its method; with options where it is not the plan's only one of that name.
        share: Of its training that is put away; 0 for none.
    """

    trial: plan.Trial
    record: Record | None
    name: str
    share: float = 0.0

    @property
    def status(self) -> str:
        """The record's status; "open" without one."""
        return self.record.status if self.record else "open"


def outcomes(made: plan.Plan, records: Iterable[Record], store: Store) -> list[Outcome]:
    """Every trial of the plan with its record, or what is put away of it."""
    known: dict[tuple[str, str], Record] = {}
    for record in sorted(records, key=lambda r: (r.status == "ok", r.created, r.attempt)):
        known[record.fingerprints.question, record.fingerprints.code] = record
    called, found = names(made), []
    for trial in made.trials:
        asked = trial.question.fingerprint
        last = known.get((asked, trial.code))
        where = None if last else standing(store.checkpoint(asked, trial.code))
        found.append(Outcome(trial, last, called[asked], where.share if where else 0.0))
    return found


def names(made: plan.Plan) -> dict[str, str]:
    """A name for each trial's method, by question: with options where several share its name."""
    specs: dict[str, set[Spec]] = defaultdict(set)
    for trial in made.trials:
        specs[trial.spec.name].add(trial.method.spec)
    return {
        t.question.fingerprint: str(t.method.spec) if len(specs[t.spec.name]) > 1 else t.spec.name
        for t in made.trials
    }


def counts(found: Iterable[Outcome]) -> dict[str, int]:
    """How many trials have each status, ok first."""
    counted = Counter(outcome.status for outcome in found)
    return dict(sorted(counted.items(), key=lambda item: (item[0] != "ok", item[0])))
