"""The plan of a suite: its cohorts, what of them is open, and how long that will take."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from kdbench.plan.nodes import Cohort, TeacherJob, Trial
from kdbench.record import Question, Record
from kdbench.suite import Suite


@dataclass(frozen=True, slots=True)
class Plan:
    """All cohorts of a suite, answered trials included."""

    suite: Suite
    cohorts: tuple[Cohort, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, in order."""
        return tuple(trial for cohort in self.cohorts for trial in cohort.trials)

    def work(self, *, retry: bool = False) -> tuple[Cohort, ...]:
        """The cohorts with only the trials that are to be run; with `retry`, failed ones too.

        Those of one teacher follow each other, so that they share what is kept of its answers.
        """
        wanted = {"open", "stale"} | ({"failed"} if retry else set())
        cohorts = (
            replace(c, trials=tuple(t for t in c.trials if t.state in wanted)) for c in self.cohorts
        )
        return _by_teacher([cohort for cohort in cohorts if cohort.trials])

    def shard(self, number: int, count: int) -> "Plan":
        """One of so many parts of the plan, the same whatever is known already; it may be empty.

        Cohorts stay whole and those of one teacher follow each other, so that a part needs few
        teachers; parts differ by one cohort at most.

        Args:
            number: Of the part, from 1 to `count`.
        """
        cohorts = _by_teacher(self.cohorts)
        each, more = divmod(len(cohorts), count)
        first, end = (each * at + min(at, more) for at in (number - 1, number))
        return replace(self, cohorts=cohorts[first:end])

    def teachers(self, cohorts: Iterable[Cohort]) -> tuple[TeacherJob, ...]:
        """The distinct teachers of these cohorts, each after its own teachers."""
        jobs = (job for cohort in cohorts for own in cohort.awaited for job in own.lineage)
        return tuple({job.key: job for job in jobs}.values())

    def cost(self, records: Sequence[Record]) -> Callable[[Trial], float]:
        """Milliseconds of a trial's step without the shared teacher, by what is known of it."""
        known: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for record in records:
            if record.cost:
                own = record.cost.step_ms - record.cost.parts_ms.get("teacher", 0.0)
                known[_kind(record.question)].append(own)
        each = {kind: median(costs) for kind, costs in known.items()}
        usual = median(each.values()) if each else 1.0
        return lambda trial: each.get(_kind(trial.question), usual)

    def minutes(
        self, records: Sequence[Record], workers: int, *, retry: bool = False
    ) -> float | None:
        """Estimated minutes of the work on `workers` cores, teachers' training left out.

        None where nothing is known of a trial.
        """
        seconds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for record in records:
            if record.status == "ok" and "trial" in record.seconds:
                ask = record.question
                seconds[_kind(ask)].append(
                    record.seconds["trial"] / ask.protocol.total_steps(max(record.rows, 1))
                )
        each = {kind: median(paces) for kind, paces in seconds.items()}
        total = 0.0
        for cohort in self.work(retry=retry):
            steps = cohort.protocol.total_steps(cohort.stream_rows)
            full = cohort.protocol.model_copy(update={"steps": None, "budget": 1.0}).total_steps(
                cohort.stream_rows
            )
            for trial in cohort.trials:
                ask = trial.question
                pace = each.get(_kind(ask))
                if pace is not None:
                    total += pace * steps
                elif self.suite.trial_seconds:
                    total += self.suite.trial_seconds * steps / full
                else:
                    return None
        return total / workers / 60


def _by_teacher(cohorts: Sequence[Cohort]) -> tuple[Cohort, ...]:
    """Those of one teacher after each other, in the order in which their teachers come first."""
    keys = dict.fromkeys(cohort.taught_by for cohort in cohorts)
    places = {key: place for place, key in enumerate(keys)}
    return tuple(sorted(cohorts, key=lambda cohort: places[cohort.taught_by]))


def _kind(asked: Question) -> tuple[str, str, str]:
    return asked.teacher, asked.student, asked.method
