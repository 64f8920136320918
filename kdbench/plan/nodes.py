"""What a plan is made of: teachers, trials and cohorts, pure data that a worker is handed."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from kdbench.plan.policy import NO_POLICY, Policy
from kdbench.record import (
    PROTOCOL_VERSION,
    Environment,
    Evaluation,
    Fingerprints,
    Origin,
    Pair,
    Question,
    Record,
    Spec,
    Status,
    TeacherProtocol,
    TrainingProtocol,
    fingerprint,
)
from kdbench.registry import DataFacts, MethodFacts, Source

State: TypeAlias = Literal["open", "answered", "stale", "failed"]
"""open: not asked, or interrupted; stale: answered by other code; failed: answered, not ok."""


@dataclass(frozen=True, slots=True)
class TeacherJob:
    """One network that must exist before its cohorts run: a node of the DAG of teachers.

    Attributes:
        network: Canonical spec; weights that were given stand in it by name and content hash.
        given: The spec as the user wrote it where weights were given, with the path or
            `pretrained=true`.
        protocol: How it is trained, its seed resolved; None where weights were given.
        method: By which it learns, from `teachers` if it has any; None for cross-entropy.
        teachers: Its own, members of one ensemble.
        policy: What its rows go through, all of it leaving labels.
    """

    dataset: DataFacts
    network: Spec
    protocol: TeacherProtocol | None
    validation_rows: int
    source: Source | None
    code: str
    given: Spec | None = None
    method: MethodFacts | None = None
    teachers: tuple["TeacherJob", ...] = ()
    policy: Policy = NO_POLICY

    @property
    def name(self) -> str:
        """What it is, in words."""
        return f"teacher {self.network}"

    @property
    def lineage(self) -> tuple["TeacherJob", ...]:
        """Every job that this one stands on, itself last."""
        return (*(job for teacher in self.teachers for job in teacher.lineage), self)

    @property
    def awaited(self) -> tuple["TeacherJob", ...]:
        """The teachers that must be there."""
        return self.teachers

    @property
    def rows(self) -> int | None:
        """So many training rows, from `first` on, are learnt from; None for all."""
        return self.protocol.rows if self.protocol else None

    @property
    def first(self) -> int:
        """Number of the first training row that is learnt from."""
        return self.protocol.first if self.protocol else 0

    @property
    def key(self) -> str:
        """Content address of the training: hash of all that decides the weights it keeps.

        At which of them it is stopped early to teach is not among it: one training serves all.
        """
        whole_training = self.protocol and self.protocol.model_copy(update={"anchor": 1.0})
        asked = whole_training.model_dump(mode="json") if whole_training else None
        whole: list[Any] = [
            self.dataset.name,
            str(self.network),
            asked,
            self.validation_rows,
            self.code,
            self.dataset.code,
            PROTOCOL_VERSION,
        ]
        if self.method:
            method = [str(self.method.spec), self.method.hyperparameters, self.method.code]
            whole += [method, [job.key for job in self.teachers]]
        if self.policy.members:
            whole.append(list(self.policy.codes))
        return fingerprint(whole)


@dataclass(frozen=True, slots=True)
class Trial:
    """One question, the method that answers it, and what the store knows of it."""

    question: Question
    spec: Spec
    method: MethodFacts
    settings: str
    code: str
    state: State
    attempts: int

    @property
    def source(self) -> Source:
        """The plugin of its method; of a sum, the first member's."""
        return self.method.sources[0]

    def record(self, suite: str, status: Status, where: Environment, **fields: Any) -> Record:  # noqa: ANN401 - of Record
        """A record of one attempt at this trial, made now.

        Args:
            suite: Name of the suite that asked.
            status: How it ended.
            where: What it ran in.
            fields: What was measured, or the failure.
        """
        prints = Fingerprints(
            question=self.question.fingerprint, code=self.code, environment=where.group
        )
        return Record(
            status=status,
            question=self.question,
            fingerprints=prints,
            suite=suite,
            origin=Origin(distribution=self.source.distribution, version=self.source.version),
            settings=self.settings,
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            attempt=self.attempts + 1,
            environment=where,
            **fields,
        )


@dataclass(frozen=True, slots=True)
class Cohort:
    """Trials that differ only in method and share one stream of batches; they train in lockstep.

    Attributes:
        trials: Those still to run.
        yardstick: The trial that costs are relative to; timed beside the others even if it is
            answered.
        answers_gb: Bound of a teacher's kept answers, in 10^9 bytes.
        control: An independent teacher like its own, where students are compared with one too.
        quiz: Share of the transfer set that the stream leaves out.
        policy: What the stream's rows go through.
        variant: Of the suite; the first that asks its trials.
        again: Why its costs do not count, where it is trained again after others disturbed it.
    """

    suite: str
    dataset: DataFacts
    root: str
    pair: Pair
    teachers: tuple[TeacherJob, ...]
    student_source: Source | None
    protocol: TrainingProtocol
    evaluation: Evaluation
    quiz: float
    seed: int
    trials: tuple[Trial, ...]
    yardstick: Trial | None
    answers_gb: float = 0.0
    control: tuple[TeacherJob, ...] = ()
    policy: Policy = NO_POLICY
    variant: str = ""
    again: str = ""

    @property
    def answers(self) -> Literal["kept", "live"]:
        """Whether the shared teacher's answers are kept, or given at every step.

        Maps are too large to keep, and one pass serves all methods: where any of them asks for
        more than logits and pooled features, the teacher is asked at every step. So it is under a
        transfer policy, which never shows the same image twice. No bit of a result depends on it.
        """
        if self.policy.members:
            return "live"
        asks = [trial.method.needs for trial in self.trials]
        shared = [one for one in asks if one["teacher"] == "shared"]
        more = [
            one["hints"] or one["preacts"] or one["class_maps"] or one["statistics"] == "batch"
            for one in shared
        ]
        return "kept" if shared and not any(more) and self.answers_gb else "live"

    @property
    def awaited(self) -> tuple[TeacherJob, ...]:
        """The teachers that must be there."""
        return (*self.teachers, *self.control)

    @property
    def taught_by(self) -> tuple[str, ...]:
        """Keys of its teacher's members."""
        return tuple(job.key for job in self.teachers)

    @property
    def rows(self) -> int | None:
        """So many training rows, from `first` on, are the transfer set; None for all."""
        return self.protocol.rows

    @property
    def first(self) -> int:
        """Number of the first training row of the transfer set."""
        return self.protocol.first

    @property
    def stream_rows(self) -> int:
        """Rows that batches are drawn from: of the transfer set, and those that join it."""
        whole = self.dataset.sizes["train"] - self.evaluation.validation_rows - self.first
        transfer = self.protocol.rows or whole
        return transfer - round(self.quiz * transfer) + self.policy.rows

    @property
    def validation_rows(self) -> int:
        """Rows cut from the end of the training split."""
        return self.evaluation.validation_rows

    @property
    def name(self) -> str:
        """One line that tells cohorts apart."""
        quiz = f" quiz {self.quiz:g}" if self.quiz else ""
        variant = f"{self.variant}: " if self.variant else ""
        return f"{variant}{self.dataset.name} {self.pair} seed {self.seed}{quiz}"
