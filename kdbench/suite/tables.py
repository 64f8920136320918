"""A suite as validated tables."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, ValidationError

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
from kdbench.suite.bounds import check_size
from kdbench.suite.claims import Claim, Report, check, kept
from kdbench.suite.mistakes import meant, told
from kdbench.suite.parts import Axes, Limits, MethodSettings, Scoring, Variant

_OWN = {"first", "transfer", "start"}
"""Keys of `[train]` that a teacher has only where `[teacher]` says so too."""


class Suite(Frozen):
    """A suite, whole: defaults filled in.

    Attributes:
        variants: Changes of all this; where there are any, only these are asked.
        report, claims: What `kdbench report` tells of the suite's records.
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
    by_student: dict[str, dict[str, Any]] = Field({}, max_length=100)
    teacher: TeacherProtocol
    evaluation: Evaluation = Evaluation()
    methods: dict[str, MethodSettings] = {}
    by_pair: dict[str, dict[str, dict[str, Any]]] = {}
    scoring: Scoring = Scoring()
    limits: Limits = Limits()
    variants: dict[str, Variant] = Field({}, max_length=200)
    report: Report | None = None
    claims: tuple[Claim, ...] = ()
    trial_seconds: float | None = Field(None, gt=0)

    def protocol(self, student: Spec) -> TrainingProtocol:
        """This student's training protocol: `[train]`, with what `by_student` says of its name."""
        changes: dict[str, Any] = {}
        for pattern, values in self.by_student.items():
            if fnmatchcase(student.name, pattern):
                changes.update(values)
        return TrainingProtocol.model_validate({**self.train.model_dump(), **changes})

    def varied(self) -> Iterator[tuple[str, "Suite"]]:
        """Each variant's name with the suite that it makes; without variants the suite itself."""
        yield from ((name, self.variant(name)) for name in self.variants or [""])

    def variant(self, name: str) -> "Suite":
        """The suite that this variant makes; "" for the suite itself."""
        if not name:
            return self
        variant = self.variants[name]
        data = self.model_dump(exclude={"variants", "report", "claims"})
        for table in ("train", "teacher", "evaluation"):
            data[table] |= getattr(variant, table)
        for axis in ("datasets", "pairs", "methods"):
            data["axes"][axis] = getattr(variant, axis) or data["axes"][axis]
        data["axes"]["variants"] = ()
        return Suite.model_validate(data)

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
        variants: Sequence[str] = (),
        budget: float | None = None,
        steps: int | None = None,
    ) -> "Suite":
        """The suite with some axes replaced; `budget` and `steps` shorten both trainings alike.

        Methods are asked in every variant; of variants with pairs or data sets of their own, those
        are left that have one of these.

        Raises:
            UsageError: No such variant, or none is left.
        """
        axes = {"methods": methods, "pairs": pairs, "datasets": datasets, "seeds": seeds}
        data = self.model_dump(exclude={"report", "claims"})  # they speak of the whole suite
        data["axes"] |= {name: tuple(values) for name, values in axes.items() if values}
        data["variants"] = self._left(variants, methods, {"pairs": pairs, "datasets": datasets})
        if self.axes.variants:
            data["axes"]["variants"] = tuple(data["variants"])
        data["teacher"] = dict(self.teacher)  # whole, so that nothing of [train] comes in anew
        shorter = {"budget": budget, "steps": steps}
        for table in ("train", "teacher"):
            data[table] |= {key: value for key, value in shorter.items() if value is not None}
        return validated(data, "the command line", "")

    def _left(
        self, names: Sequence[str], methods: Sequence[str], chosen: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """The variants of these names that have something of what was chosen."""
        for name in names:
            if name not in self.variants:
                why = f"suite {self.name} has none of that name"
                raise UsageError(f"no variant {name!r}", why, meant(name, [*self.variants]))
        found = {}
        for name in names or self.variants:
            data = self.variants[name].model_dump() | ({"methods": ()} if methods else {})
            for axis, values in chosen.items():
                own = data[axis]
                data[axis] = [one for one in own if not values or one in values]
                if own and not data[axis]:
                    break
            else:
                found[name] = data
        if self.variants and not found:
            raise UsageError("no variant is left", "none has what was chosen", "choose less")
        return found

    def beside(self) -> "Suite":
        """The suite with its baselines among the methods, in every variant."""
        more = self.scoring.baselines

        def both(methods: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(dict.fromkeys((*methods, *more)))

        variants = {
            name: one.model_copy(update={"methods": both(one.methods)}) if one.methods else one
            for name, one in self.variants.items()
        }
        axes = self.axes.model_copy(update={"methods": both(self.axes.methods)})
        return self.model_copy(update={"axes": axes, "variants": variants})

    def asked(self, axis: Literal["datasets", "pairs", "methods"]) -> tuple[str, ...]:
        """All that an axis has in any variant, as written."""
        return tuple(dict.fromkeys(v for _, one in self.varied() for v in getattr(one.axes, axis)))


def _chosen(data: dict[str, Any], origin: str) -> tuple[str, ...]:
    """Leave the variants that `axes.variants` names, in its order; the names of the others.

    Raises:
        UsageError: There is none of that name.
    """
    axes, variants = data.get("axes"), data.get("variants")
    names = axes.get("variants") if isinstance(axes, dict) else None
    if not (isinstance(names, list | tuple) and isinstance(variants, dict)):
        return ()
    for name in names:
        if not isinstance(name, str) or name not in variants:
            what = f"{origin}: axes.variants names {name!r}"
            raise UsageError(what, "there is no such variant", meant(str(name), [*variants]))
    data["variants"] = {name: variants[name] for name in names or variants}
    return tuple(name for name in variants if name not in data["variants"])


def validated(data: dict[str, Any], origin: str, text: str) -> Suite:
    """The Suite that these tables describe, errors told in three lines."""
    data = dict(data)
    if isinstance(data.get("train"), dict):
        train = dict(data["train"])
        data["by_student"] = train.pop("by_student", data.get("by_student", {}))
        data["train"] = train
        if isinstance(data.get("teacher", {}), dict):
            theirs = {key: value for key, value in train.items() if key not in _OWN}
            data["teacher"] = {**theirs, **data.get("teacher", {})}
    left_out = _chosen(data, origin)
    if isinstance(data.get("methods"), dict):
        methods = dict(data["methods"])
        data["by_pair"] = methods.pop("by_pair", data.get("by_pair", {}))
        data["methods"] = methods
    where = origin
    try:
        suite = Suite.model_validate(data)
        for values in suite.by_student.values():  # also where no student of the axes is meant
            TrainingProtocol.model_validate({**suite.train.model_dump(), **values})
        check_size(suite.axes, suite.variants.values(), origin)
        for name in suite.variants or [""]:
            where = f"{origin}, variant {name!r}" if name else origin
            varied = suite.variant(name)
            for pair in varied.axes.pairs:
                varied.protocol(Pair.parse(pair).student)
    except ValidationError as error:
        model = TrainingProtocol if error.title == "TrainingProtocol" else Suite
        raise told(error, model, where, text) from error
    written = [Spec.parse(method) for method in (*suite.asked("methods"), *suite.scoring.baselines)]
    asked = {member.name for spec in written for member in spec.members}
    own = tomllib.loads(text).get("methods", {})  # what a parent sets may go unused
    if unset := sorted(own.keys() - asked - {"by_pair"}):
        what = f"{origin} sets {unset[0]!r}"
        raise UsageError(what, "but axes.methods does not name it", "remove the table")
    tables = {pair: by_pair.flat(pair, table, origin) for pair, table in suite.by_pair.items()}
    by_pair.check(
        tables, own.get("by_pair", {}), suite.asked("pairs"), suite.asked("methods"), origin
    )
    asked_by = {name: varied.axes for name, varied in suite.varied()}
    told_of = kept(suite.report, suite.claims, left_out)
    check(*told_of, asked_by, origin)
    return suite.model_copy(update={"by_pair": tables, "report": told_of[0], "claims": told_of[1]})
