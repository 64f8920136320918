"""Which records count: the latest ok answer to each question, by cell; the rest is told."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from kdbench.record import Question, Record, Spec, fingerprint, frozen

_BY_HAND, _TUNED = "set by hand", "tuned per pair"
"""In a record's settings: the caller set the hyperparameters, or its suite did for the pair."""


def record_id(record: Record) -> str:
    """SHA-256 of the whole record, hex."""
    return fingerprint(record.model_dump(mode="json"))


@dataclass(frozen=True, eq=False)
class Cell:
    """All trials that differ only in seed.

    Attributes:
        question: Any one of their questions.
        latest: The latest of all records, of other code too.
        answers: The latest ok record of each seed.
        failures: The latest attempt of each seed that has no ok record.
        stale: Seeds that only records of other code answer.
        remarks: What a reader should know about the choice.
    """

    question: Question
    latest: Record
    answers: Mapping[int, Record]
    failures: Mapping[int, Record]
    stale: frozenset[int]
    remarks: tuple[str, ...]

    @cached_property
    def table(self) -> str:
        """Fingerprint of all that a table's rows share: data, pair, protocols and evaluation."""
        return self.question.table

    @property
    def seeds(self) -> frozenset[int]:
        """Every seed that was tried."""
        return frozenset(self.answers) | frozenset(self.failures) | self.stale

    @property
    def _known(self) -> tuple[Record, ...]:
        return (*self.answers.values(), *self.failures.values())

    @property
    def rows(self) -> int:
        """Rows of the transfer set, 0 where no record says."""
        return max((record.rows for record in self._known), default=0)

    @property
    def settings(self) -> str:
        """Where the hyperparameters are from, in the records' words."""
        return "; ".join(self._words)

    @property
    def by_hand(self) -> bool:
        """Whether only a caller asked for it, not the suite."""
        return self._words == [_BY_HAND]

    @property
    def tuned(self) -> bool:
        """Whether it has what the suite tuned for the pair, and that was never the default."""
        return _TUNED in self._words and set(self._words) <= {_TUNED, _BY_HAND}

    @property
    def _words(self) -> list[str]:
        return sorted({record.settings for record in self._known or (self.latest,)})

    def reason(self, seed: int) -> str:
        """Why no answer of this seed counts."""
        record = self.failures.get(seed)
        if record is None:
            return "stale, made by other code" if seed in self.stale else "no record"
        if record.failure is None:
            return record.status
        return f"{record.status} in {record.failure.where}: {record.failure.message}"

    def matches(self, text: str) -> bool:
        """Whether `text`, a method with or without options, means this cell."""
        spec = Spec.parse(text)
        have = self.question.hyperparameters
        return spec.name == self.question.method and all(
            key in have and frozen(have[key]) == value for key, value in spec.options
        )


def select(records: Iterable[Record], stale: Collection[str] = ()) -> list[Cell]:
    """The cells of these records, in an order that does not depend on theirs.

    Args:
        records: Any records; one that is there twice counts once.
        stale: Identities (`record_id`) of the records that other code made. So are, without being
            named, those of a cell whose code is not that of its latest record.
    """
    known = {record_id(record): record for record in records}
    by_cell: dict[str, dict[int, list[tuple[str, Record]]]] = defaultdict(lambda: defaultdict(list))
    for identity in sorted(known, key=lambda i: (known[i].created, known[i].attempt, i)):
        question = known[identity].question
        by_cell[question.cell][question.seed].append((identity, known[identity]))
    return [_cell(by_cell[key], stale) for key in sorted(by_cell)]


def _when(record: Record) -> tuple[str, int, str]:
    """What orders records in time."""
    return record.created, record.attempt, record.fingerprints.code


def _cell(by_seed: Mapping[int, list[tuple[str, Record]]], stale: Collection[str]) -> Cell:
    answers, failures, old, remarks = {}, {}, set(), []
    latest = max((record for known in by_seed.values() for _, record in known), key=_when)
    code = latest.fingerprints.code
    for seed in sorted(by_seed):
        current = [
            record
            for identity, record in by_seed[seed]
            if identity not in stale and record.fingerprints.code == code
        ]
        fine = [record for record in current if record.status == "ok"]
        if fine:
            answers[seed] = fine[-1]
        elif current:
            failures[seed] = current[-1]
        else:
            old.add(seed)
        said = {fingerprint([record.quality, record.fidelity, record.logits]) for record in fine}
        if len(said) > 1:
            accuracies = (record.quality.get("accuracy", math.nan) for record in fine)
            told = ", ".join(f"{accuracy:.6g}" for accuracy in accuracies)
            remarks.append(
                f"seed {seed} has {len(fine)} answers that differ (accuracy {told}); "
                "the latest counts"
            )
        if left := len(by_seed[seed]) - len(current):
            remarks.append(
                f"seed {seed}: {left} stale record{'s' * (left > 1)}, made by other code, left out"
            )
    question = next(iter(by_seed.values()))[0][1].question
    return Cell(question, latest, answers, failures, frozenset(old), tuple(remarks))
