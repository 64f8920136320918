"""Suite x registry x records -> the plan."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

from kdbench.errors import NothingSelected, UsageError
from kdbench.plan.datasets import dataset_spec
from kdbench.plan.nodes import Cohort, State, TeacherJob, Trial
from kdbench.plan.policy import policy
from kdbench.plan.start import check_start
from kdbench.plan.teachers import control, given, named, named_recipe, network, teachers
from kdbench.plan.teachers import protocol as protocol_of
from kdbench.plan.whole import Plan
from kdbench.record import (
    PROTOCOL_VERSION,
    RETRIED,
    Pair,
    Question,
    Record,
    Spec,
    TrainingProtocol,
    fingerprint,
)
from kdbench.registry import DataFacts, MethodFacts, Registry
from kdbench.suite import Suite

_Chosen: TypeAlias = tuple[Spec, str]
"""A method, and the words for its settings on the board."""


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
    answers: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        answers[record.fingerprints.question].append(record)
    known = dict.fromkeys(spec for _, one in suite.varied() for spec in _specs(one))
    facts = registry.methods([*known])
    cohorts: list[Cohort] = []
    asked: set[str] = set()  # what two variants ask is asked once
    for name, varied in suite.varied():
        asker = _Asker(varied, registry, facts, answers)
        for cohort in asker.every(root):
            new = [one for one in cohort.trials if one.question.fingerprint not in asked]
            asked |= {one.question.fingerprint for one in new}
            if new:
                cohorts.append(replace(cohort, variant=name, trials=tuple(new)))
    if not cohorts:
        raise NothingSelected(
            "nothing is selected", "the axes cross to no trial", "see kdbench show " + suite.name
        )
    return Plan(suite, tuple(cohorts))


def tables(suite: Suite, registry: Registry, root: str) -> dict[str, dict[str, str]]:
    """Keys of a board's tables for each variant, by data set and pair; see `Variation`.

    Args and Raises as for `make`.
    """
    specs = dict.fromkeys(spec for _, one in suite.varied() for spec in _specs(one))
    facts = registry.methods([*specs])
    found: dict[str, dict[str, str]] = {}
    for name, varied in suite.varied():
        one_seed = varied.select(seeds=varied.axes.seeds[:1])
        for cohort in _Asker(one_seed, registry, facts, {}).every(root):
            ask = cohort.trials[0].question
            place = f"{ask.dataset} {ask.teacher}:{ask.student}"
            found.setdefault(name, {})[place] = ask.table
    return found


def _specs(suite: Suite) -> Iterator[Spec]:
    """Every method of a suite, with its settings."""
    for pair in map(Pair.parse, suite.axes.pairs):
        yield from (spec for spec, _ in _asked(suite, pair))
    yield from (spec for spec, _ in _baselines(suite))


def _baselines(suite: Suite) -> list[_Chosen]:
    return [suite.method(Spec.parse(text)) for text in suite.scoring.baselines]


def _asked(suite: Suite, pair: Pair) -> Iterator[_Chosen]:
    """The suite's methods, each with what the suite tunes for the pair beside it."""
    for written in map(Spec.parse, suite.axes.methods):
        yield suite.method(written)
        if tuned := suite.tuned(written, pair):
            yield tuned, "tuned per pair"


def _kinds(
    asked: Sequence[_Chosen], baselines: Sequence[_Chosen], facts: Mapping[Spec, MethodFacts]
) -> dict[float, list[_Chosen]]:
    """The kinds of stream: the whole transfer set, and one for each share that is held out."""
    kinds: dict[float, list[_Chosen]] = defaultdict(list)
    for one in asked:
        kinds[facts[one[0]].needs["quiz"]].append(one)
    for quiz in kinds:
        if quiz:
            kinds[quiz] = [b for b in baselines if not facts[b[0]].needs["quiz"]] + kinds[quiz]
    return kinds


@dataclass(frozen=True, slots=True)
class _Asker:
    """What every question of a suite shares."""

    suite: Suite
    registry: Registry
    facts: Mapping[Spec, MethodFacts]
    answers: Mapping[str, Sequence[Record]]

    def every(self, root: str) -> Iterator[Cohort]:
        """All cohorts of the suite, each with all of its trials."""
        axes, registry, baselines = self.suite.axes, self.registry, _baselines(self.suite)
        found = (registry.dataset(dataset_spec(text, registry), root) for text in axes.datasets)
        datasets = {dataset.name: dataset for dataset in found}  # twice the same is once
        pairs = dict.fromkeys(map(Pair.parse, axes.pairs))
        for dataset, pair, seed in product(datasets.values(), pairs, dict.fromkeys(axes.seeds)):
            kinds = _kinds([*_asked(self.suite, pair)], baselines, self.facts)
            yield from self.cohorts(dataset, pair, seed, root, kinds, baselines)

    def cohorts(
        self, dataset: DataFacts, pair: Pair, seed: int, root: str,
        kinds: Mapping[float, Sequence[_Chosen]], baselines: Sequence[_Chosen],
    ) -> Iterator[Cohort]:  # fmt: skip
        """One cohort for each kind of stream."""
        suite, protocol = self.suite, self.suite.protocol(pair.student)
        _check(dataset, protocol, suite)
        check_start(protocol, pair)
        transfer = policy(protocol.transfer, self.registry, dataset, root)
        protocol = protocol.model_copy(update={"transfer": transfer.text})
        jobs = teachers(suite, self.registry, dataset, pair.teacher, seed)
        other = control(suite, self.registry, dataset, pair.teacher, seed)
        source, student_code = network(self.registry, pair.student)
        common: dict[str, Any] = {
            "dataset": dataset.name,
            "teacher": str(named_recipe(pair.teacher)),
            "student": str(named(pair.student)),
            "teacher_protocol": None
            if given(pair.teacher)
            else protocol_of(suite, self.registry, pair.teacher),
            "protocol": protocol,
            "evaluation": suite.evaluation,
            "seed": seed,
        }
        code = [student_code, *_codes(jobs), dataset.code, str(PROTOCOL_VERSION), *transfer.codes]
        for quiz, chosen in kinds.items():
            trials: dict[str, Trial] = {}
            for one in chosen:  # two ways to write one question are one trial: the first one's
                trial = self.trial(one, quiz, common, code)
                trials.setdefault(trial.question.fingerprint, trial)
            yield Cohort(
                suite=suite.name, dataset=dataset, root=root, pair=pair, teachers=jobs,
                student_source=source, protocol=protocol, evaluation=suite.evaluation, quiz=quiz,
                seed=seed, trials=tuple(trials.values()),
                yardstick=self.trial(baselines[0], quiz, common, code) if baselines else None,
                answers_gb=suite.limits.answers_gb, control=other, policy=transfer,
            )  # fmt: skip

    def trial(
        self, chosen: _Chosen, quiz: float, common: Mapping[str, Any], code: Sequence[str]
    ) -> Trial:
        """The trial of one method, with what is known of it."""
        spec, settings = chosen
        method = self.facts[spec]
        question = Question(
            method=spec.name, hyperparameters=dict(method.hyperparameters), quiz=quiz, **common
        )
        code_now = fingerprint([method.code, *code])
        known = self.answers.get(question.fingerprint, ())
        return Trial(
            question, spec, method, settings, code_now, _state(known, code_now), len(known)
        )


def _codes(jobs: Sequence[TeacherJob]) -> list[str]:
    """Code of all networks and methods that the teachers stand on."""
    line = [one for job in jobs for one in job.lineage]
    return [
        code
        for job in line
        for code in (job.code, job.method.code if job.method else "", *job.policy.codes)
        if code
    ]


def _state(known: Sequence[Record], code: str) -> State:
    current = [record for record in known if record.fingerprints.code == code]
    if any(record.status == "ok" for record in current):
        return "answered"
    if any(record.status not in RETRIED for record in current):
        return "failed"
    return "stale" if known and not current else "open"


def _check(dataset: DataFacts, protocol: TrainingProtocol, suite: Suite) -> None:
    """Refuse rows and views that the data set does not have."""
    whole = dataset.sizes["train"] - suite.evaluation.validation_rows
    for who, asked in (("train", protocol), ("teacher", suite.teacher)):
        have = whole - asked.first
        if have < 1:
            raise UsageError(
                f"[{who}] first = {asked.first} is too many",
                f"{dataset.name} has {whole} training rows here",
                "lower it",
            )
        if (asked.rows or 1) > have:
            raise UsageError(
                f"[{who}] rows = {asked.rows} is too many",
                f"{dataset.name} has {have} training rows here"
                + f" from row {asked.first} on" * bool(asked.first),
                "lower it",
            )
        if not asked.steps_per_epoch(asked.rows or have):
            raise UsageError(
                f"[{who}] rows = {asked.rows or have} give no batch",
                "a batch of one row has no statistics",
                "raise rows",
            )
        if asked.shift >= min(dataset.image_shape[1:]):
            raise UsageError(
                f"[{who}] shift = {asked.shift} is too large",
                f"images of {dataset.name} are {' x '.join(map(str, dataset.image_shape[1:]))}",
                "lower it",
            )
        if asked.flip and not dataset.flips:
            raise UsageError(
                f"[{who}] flip = true is not allowed",
                f"a mirrored {dataset.name} image changes its class",
                "set flip = false",
            )
