"""A suite as validated tables."""

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from kdbench.errors import UsageError
from kdbench.record import (
    Evaluation,
    Frozen,
    Pair,
    Spec,
    TeacherProtocol,
    TrainingProtocol,
)
from kdbench.suite import by_pair
from kdbench.suite.mistakes import told


class Axes(Frozen):
    """What is crossed: every data set with every pair, method and seed."""

    datasets: tuple[str, ...] = Field(min_length=1)
    pairs: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _count(cls, value: Any) -> Any:  # noqa: ANN401 - raw TOML
        if isinstance(value, dict) and isinstance(value.get("seeds"), int):
            return {**value, "seeds": tuple(range(value["seeds"]))}
        return value


class MethodSettings(Frozen):
    """What a suite sets for one method, and how that was found.

    Attributes:
        set: Hyperparameters that replace the paper's.
        tries: Settings that were tried on the tuning seeds before these were chosen.
        note: Printed under the board; says why where a method does badly.
    """

    set: dict[str, Any] = {}
    tries: int = Field(0, ge=0)
    note: str = ""

    @property
    def settings(self) -> str:
        """The words on the board."""
        return f"tuned, {self.tries} tries" if self.set else "paper"


class Scoring(Frozen):
    """Against which methods the boards compare; the first is the one that costs are relative to."""

    baselines: tuple[str, ...] = ()


class Limits(Frozen):
    """Bounds enforced from outside of the workers.

    Attributes:
        step_seconds: A single step, or a method's `init`, that takes longer ends its trial as
            `timeout`.
        answers_gb: What a teacher's kept answers may take on disk, in 10^9 bytes, for each kind of
            view; 0 keeps none.
    """

    step_seconds: float = Field(600.0, gt=0)
    answers_gb: float = Field(8.0, ge=0)


class Suite(Frozen):
    """A suite, whole: defaults filled in.

    Attributes:
        by_student: Changes of `train`, by patterns of students' names.
        by_pair: Hyperparameters by pair and method, on top of the method's other ones; of a sum,
            each is named by its member, `at.weight`.
        trial_seconds: Measured seconds a trial on one core; estimates use it until records exist.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str = ""
    about: str = ""
    axes: Axes
    train: TrainingProtocol
    by_student: dict[str, dict[str, Any]] = {}
    teacher: TeacherProtocol
    evaluation: Evaluation = Evaluation()
    methods: dict[str, MethodSettings] = {}
    by_pair: dict[str, dict[str, dict[str, Any]]] = {}
    scoring: Scoring = Scoring()
    limits: Limits = Limits()
    trial_seconds: float | None = Field(None, gt=0)

    def protocol(self, student: Spec) -> TrainingProtocol:
        """This student's training protocol: `[train]`, with what `by_student` says of its name."""
        changes: dict[str, Any] = {}
        for pattern, values in self.by_student.items():
            if fnmatchcase(student.name, pattern):
                changes.update(values)
        return TrainingProtocol.model_validate({**self.train.model_dump(), **changes})

    def method(self, spec: Spec) -> tuple[Spec, str]:
        """The spec with the suite's hyperparameters under its own, and the words for the board."""
        chosen = {m.name: self.methods.get(m.name, MethodSettings()) for m in spec.members}
        merged = [Spec.of(m.name, {**chosen[m.name].set, **dict(m.options)}) for m in spec.members]
        whole = merged[0] if len(merged) == 1 else Spec.total(merged)
        said = dict.fromkeys(settings.settings for settings in chosen.values())
        return whole, "set by hand" if spec.options else "; ".join(said)

    def tuned(self, spec: Spec, pair: Pair) -> Spec | None:
        """The spec with this pair's hyperparameters on top of the suite's.

        None where the suite has none for it, and for a spec with options of its own.
        """
        tables = [self.by_pair[text] for text in self.by_pair if Pair.parse(text) == pair]
        own = [table[spec.name] for table in tables if spec.name in table]
        if spec.options or not own:
            return None
        merged = dict(self.method(spec)[0].options)
        for options in own:
            merged |= Spec.of(spec.name, options).options
        return Spec.of(spec.name, merged)

    def select(
        self,
        *,
        methods: Sequence[str] = (),
        pairs: Sequence[str] = (),
        datasets: Sequence[str] = (),
        seeds: Sequence[int] = (),
        budget: float | None = None,
        steps: int | None = None,
    ) -> "Suite":
        """The suite with some axes replaced; `budget` and `steps` shorten both trainings alike."""
        axes = {"methods": methods, "pairs": pairs, "datasets": datasets, "seeds": seeds}
        data = self.model_dump()
        data["axes"] |= {name: tuple(values) for name, values in axes.items() if values}
        shorter = {"budget": budget, "steps": steps}
        for table in ("train", "teacher"):
            data[table] |= {key: value for key, value in shorter.items() if value is not None}
        return validated(data, "the command line", "")


def validated(data: dict[str, Any], origin: str, text: str) -> Suite:
    """The Suite that these tables describe, errors told in three lines."""
    data = dict(data)
    if isinstance(data.get("train"), dict):
        train = dict(data["train"])
        data["by_student"] = train.pop("by_student", data.get("by_student", {}))
        data["train"] = train
        if isinstance(data.get("teacher", {}), dict):
            data["teacher"] = {**train, **data.get("teacher", {})}
    if isinstance(data.get("methods"), dict):
        methods = dict(data["methods"])
        data["by_pair"] = methods.pop("by_pair", data.get("by_pair", {}))
        data["methods"] = methods
    try:
        suite = Suite.model_validate(data)
        for values in suite.by_student.values():  # also where no student of the axes is meant
            TrainingProtocol.model_validate({**suite.train.model_dump(), **values})
        for pair in suite.axes.pairs:
            suite.protocol(Pair.parse(pair).student)
    except ValidationError as error:
        model = TrainingProtocol if error.title == "TrainingProtocol" else Suite
        raise told(error, model, origin, text) from error
    written = [Spec.parse(method) for method in (*suite.axes.methods, *suite.scoring.baselines)]
    asked = {member.name for spec in written for member in spec.members}
    own = tomllib.loads(text).get("methods", {})  # what a parent sets may go unused
    if unset := sorted(own.keys() - asked - {"by_pair"}):
        what = f"{origin} sets {unset[0]!r}"
        raise UsageError(what, "but axes.methods does not name it", "remove the table")
    tables = {pair: by_pair.flat(pair, table, origin) for pair, table in suite.by_pair.items()}
    by_pair.check(tables, own.get("by_pair", {}), suite.axes.pairs, suite.axes.methods, origin)
    return suite.model_copy(update={"by_pair": tables})
