"""Suite x registry x records -> cohorts, the teachers they need, and the state of every trial. No torch."""

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeAlias

from kdbench.errors import NothingSelected, UsageError
from kdbench.record import (
    PROTOCOL_VERSION,
    RETRIED,
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
from kdbench.registry import DataFacts, MethodFacts, Registry, Source
from kdbench.suite import Suite

State: TypeAlias = Literal["open", "answered", "stale", "failed"]
"""open: not asked yet, or interrupted; stale: answered by other code; failed: answered, but not ok."""


@dataclass(frozen=True, slots=True)
class TeacherJob:
    """One network that must exist before its cohorts run: a node of the DAG of teachers.

    Attributes:
        network: Canonical spec; weights that were given stand in it by name and content hash.
        given: The spec as the user wrote it where weights were given, with the path or `pretrained=true`.
        protocol: How it is trained, its seed resolved; None where weights were given.
    """

    dataset: DataFacts
    network: Spec
    protocol: TeacherProtocol | None
    validation_rows: int
    source: Source | None
    code: str
    given: Spec | None = None

    @property
    def rows(self) -> int | None:
        """The first so many training rows are learnt from; None for all."""
        return self.protocol and self.protocol.rows

    @property
    def key(self) -> str:
        """Content address of the trained weights: hash of all that decides them."""
        asked = self.protocol.model_dump(mode="json") if self.protocol else None
        whole = [self.dataset.name, str(self.network), asked, self.validation_rows, self.code, PROTOCOL_VERSION]
        return fingerprint(whole)


@dataclass(frozen=True, slots=True)
class Trial:
    """One question, the method that answers it, and what the store knows of it."""

    question: Question
    spec: Spec
    method: MethodFacts
    source: Source
    settings: str
    code: str
    state: State
    attempts: int

    def record(self, suite: str, status: Status, where: Environment, **fields: Any) -> Record:  # noqa: ANN401 - of Record
        """A record of one attempt at this trial, made now.

        Args:
            suite: Name of the suite that asked.
            status: How it ended.
            where: What it ran in.
            fields: What was measured, or the failure.
        """
        prints = Fingerprints(question=self.question.fingerprint, code=self.code, environment=where.group)
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
        yardstick: The trial that costs are relative to; timed beside the others even if it is answered.
        quiz: Share of the transfer set that the stream leaves out.
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
    step_seconds: float

    @property
    def rows(self) -> int | None:
        """The first so many training rows are the transfer set; None for all."""
        return self.protocol.rows

    @property
    def stream_rows(self) -> int:
        """Rows of the transfer set that batches are drawn from."""
        transfer = self.protocol.rows or self.dataset.sizes["train"] - self.evaluation.validation_rows
        return transfer - round(self.quiz * transfer)

    @property
    def validation_rows(self) -> int:
        """Rows cut from the end of the training split."""
        return self.evaluation.validation_rows

    @property
    def name(self) -> str:
        """One line that tells cohorts apart."""
        return f"{self.dataset.name} {self.pair} seed {self.seed}" + (f" quiz {self.quiz:g}" if self.quiz else "")


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
        """The cohorts with only the trials that are to be run; with `retry`, failed ones too."""
        wanted = {"open", "stale"} | ({"failed"} if retry else set())
        cohorts = (replace(c, trials=tuple(t for t in c.trials if t.state in wanted)) for c in self.cohorts)
        return tuple(cohort for cohort in cohorts if cohort.trials)

    def teachers(self, cohorts: Iterable[Cohort]) -> tuple[TeacherJob, ...]:
        """The distinct teachers of these cohorts, in the order of first use."""
        return tuple({job.key: job for cohort in cohorts for job in cohort.teachers}.values())

    def minutes(self, records: Sequence[Record], workers: int) -> float | None:
        """Estimated minutes of the open work on `workers` cores; None where nothing is known."""
        seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        for record in records:
            if record.status == "ok" and "trial" in record.seconds:
                ask = record.question
                seconds[f"{ask.teacher}:{ask.student}", ask.method].append(
                    record.seconds["trial"] / ask.protocol.total_steps(max(record.rows, 1))
                )
        total = 0.0
        for cohort in self.work():
            steps = cohort.protocol.total_steps(cohort.stream_rows)
            full = cohort.protocol.model_copy(update={"steps": None, "budget": 1.0}).total_steps(cohort.stream_rows)
            for trial in cohort.trials:
                known = seconds.get((str(cohort.pair), trial.question.method))
                if known:
                    total += median(known) * steps
                elif self.suite.trial_seconds:
                    total += self.suite.trial_seconds * steps / full
                else:
                    return None
        return total / workers / 60


def make(suite: Suite, registry: Registry, records: Sequence[Record], root: str) -> Plan:
    """The plan of a suite.

    Args:
        suite: What is asked.
        registry: What is installed.
        records: What is known.
        root: Folder of the data sets.

    Raises:
        UsageError: Unknown names, options or rows; PluginError: a broken plugin was asked for;
        NothingSelected: the axes cross to nothing.
    """
    merged = [suite.method(Spec.parse(text)) for text in suite.axes.methods]
    baselines = [suite.method(Spec.parse(text)) for text in suite.scoring.baselines]
    facts = registry.methods([spec for spec, _ in (*merged, *baselines)])
    answers: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        answers[record.fingerprints.question].append(record)

    # The kinds of stream: the whole transfer set, and one kind for each share that some method holds out.
    kinds: dict[float, list[tuple[Spec, str]]] = defaultdict(list)
    for spec, settings in merged:
        kinds[facts[spec].needs["quiz"]].append((spec, settings))
    for quiz in kinds:
        if quiz:
            kinds[quiz] = [b for b in baselines if not facts[b[0]].needs["quiz"]] + kinds[quiz]

    cohorts = []
    for text, pair_text, seed in product(suite.axes.datasets, suite.axes.pairs, suite.axes.seeds):
        dataset, pair = registry.dataset(Spec.parse(text), root), Pair.parse(pair_text)
        protocol = suite.protocol(pair.student)
        _check(dataset, protocol, suite)
        teachers = _teachers(suite, registry, dataset, pair, seed)
        student_source, student_code = _network(registry, pair.student)
        common = {
            "dataset": dataset.name,
            "teacher": _recipe(pair, teachers),
            "student": str(pair.student),
            "teacher_protocol": teachers[0].protocol and teachers[0].protocol.model_copy(update={"seed": suite.teacher.seed}),
            "protocol": protocol,
            "evaluation": suite.evaluation,
            "seed": seed,
        }
        base_code = [student_code, *(job.code for job in teachers), dataset.code, PROTOCOL_VERSION]

        def trial(spec: Spec, settings: str, quiz: float, common: dict = common, code: list = base_code) -> Trial:  # type: ignore[type-arg]  # keyword arguments of Question
            method = facts[spec]
            question = Question(method=spec.name, hyperparameters=method.hyperparameters, quiz=quiz, **common)
            code_now = fingerprint([method.code, *code])
            known = answers[question.fingerprint]
            source = registry.entry("method", spec.name).source
            return Trial(question, spec, method, source, settings, code_now, _state(known, code_now), len(known))

        for quiz, chosen in kinds.items():
            trials = {t.question.fingerprint: t for t in (trial(spec, words, quiz) for spec, words in chosen)}
            yardstick = trial(*baselines[0], quiz) if baselines else None
            cohorts.append(
                Cohort(
                    suite.name, dataset, root, pair, teachers, student_source, protocol, suite.evaluation, quiz, seed,
                    tuple(trials.values()), yardstick, suite.limits.step_seconds,
                )  # fmt: skip
            )
    if not any(cohort.trials for cohort in cohorts):
        raise NothingSelected("nothing is selected", "the axes cross to no trial", "see kdbench show " + suite.name)
    return Plan(suite, tuple(cohorts))


def _state(known: Sequence[Record], code: str) -> State:
    current = [record for record in known if record.fingerprints.code == code]
    if any(record.status == "ok" for record in current):
        return "answered"
    if any(record.status not in RETRIED for record in current):
        return "failed"
    return "stale" if known and not current else "open"


def _network(registry: Registry, network: Spec) -> tuple[Source | None, str]:
    """Where a network's plugin lies (None for timm's own), and its code fingerprint with its options."""
    entry = next((e for e in registry.entries if (e.kind, e.name) == ("model", network.name)), None)
    return entry and entry.source, registry.network_code(network.name)


def _teachers(suite: Suite, registry: Registry, dataset: DataFacts, pair: Pair, seed: int) -> tuple[TeacherJob, ...]:
    """The members of the pair's teacher, each a job; members differ in their seed alone."""
    network = pair.teacher.network
    source, code = _network(registry, network)
    options = dict(network.options)
    if {"checkpoint", "pretrained"} & options.keys():
        if pair.teacher.size > 1:
            raise UsageError(f"{pair.teacher} repeats given weights", "members of an ensemble must differ", "train them, or name one")
        return (TeacherJob(dataset, _named(network), None, suite.evaluation.validation_rows, source, code, network),)
    first = seed if suite.teacher.seed == "trial" else int(suite.teacher.seed)
    jobs = []
    for member in range(pair.teacher.size):
        protocol = suite.teacher.model_copy(update={"seed": first * pair.teacher.size + member})
        jobs.append(TeacherJob(dataset, network, protocol, suite.evaluation.validation_rows, source, code))
    return tuple(jobs)


def _named(network: Spec) -> Spec:
    """The network with its checkpoint by file name and content hash in place of the path."""
    path = dict(network.options).get("checkpoint")
    if path is None:
        return network
    try:
        digest = hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read checkpoint {path}", str(error.strerror), "give a safetensors or torch file") from error
    options = dict(network.without("checkpoint").options) | {"checkpoint": f"{Path(str(path)).name}@{digest[:16]}"}
    return Spec(network.name, tuple(sorted(options.items())))


def _recipe(pair: Pair, teachers: Sequence[TeacherJob]) -> str:
    """The teacher as questions and records name it: given weights by name and hash, never by path."""
    return str(replace(pair.teacher, network=teachers[0].network))


def _check(dataset: DataFacts, protocol: TrainingProtocol, suite: Suite) -> None:
    """Refuse rows and views that the data set does not have."""
    have = dataset.sizes["train"] - suite.evaluation.validation_rows
    for who, asked in (("train", protocol), ("teacher", suite.teacher)):
        if (asked.rows or 1) > have:
            raise UsageError(f"[{who}] rows = {asked.rows} is too many", f"{dataset.name} has {have} training rows here", "lower it")
        if asked.flip and not dataset.flips:
            raise UsageError(f"[{who}] flip = true is not allowed", f"a mirrored {dataset.name} image changes its class", "set flip = false")
