"""Suite files: TOML in, a validated `Suite` out; every unknown key is an error with a suggestion.

A suite is data: it never names a file of code, and `extends` is its only composition.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from kdbench.errors import UsageError
from kdbench.record import Evaluation, Frozen, Pair, Spec, TeacherProtocol, TrainingProtocol


class Axes(Frozen):
    """What is crossed: every data set with every pair, method and seed."""

    datasets: tuple[str, ...] = Field(min_length=1)
    pairs: tuple[str, ...] = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)

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
        step_seconds: A single step, or a method's `init`, that takes longer ends its trial as `timeout`.
    """

    step_seconds: float = Field(600.0, gt=0)


class Suite(Frozen):
    """A suite, whole: defaults filled in.

    Attributes:
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
    scoring: Scoring = Scoring()
    limits: Limits = Limits()
    trial_seconds: float | None = Field(None, gt=0)

    def protocol(self, student: Spec) -> TrainingProtocol:
        """The training protocol of this student: `[train]`, with what `[train.by_student]` says of its name."""
        changes: dict[str, Any] = {}
        for pattern, values in self.by_student.items():
            if fnmatchcase(student.name, pattern):
                changes.update(values)
        return TrainingProtocol.model_validate({**self.train.model_dump(), **changes})

    def method(self, spec: Spec) -> tuple[Spec, str]:
        """The spec with the suite's hyperparameters under the caller's own, and the words for the board."""
        chosen = self.methods.get(spec.name, MethodSettings())
        merged = Spec(spec.name, tuple(sorted({**chosen.set, **dict(spec.options)}.items())))
        return merged, "set by hand" if spec.options else chosen.settings

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
        """The suite with some axes replaced; `budget` and `steps` shorten student and teacher alike."""
        axes = {"methods": methods, "pairs": pairs, "datasets": datasets, "seeds": seeds}
        data = self.model_dump()
        data["axes"] |= {name: tuple(values) for name, values in axes.items() if values}
        for table in ("train", "teacher"):
            data[table] |= {
                k: v for k, v in (("budget", budget), ("steps", steps)) if v is not None
            }
        return _validated(data, "the command line", "")


def names() -> tuple[str, ...]:
    """Names of the shipped suites."""
    return tuple(
        sorted(
            entry.name[:-5]
            for entry in (files("kdbench") / "suites").iterdir()
            if entry.name.endswith(".toml")
        )
    )


def load(name: str) -> Suite:
    """The suite of this name, or in this TOML file.

    Raises:
        UsageError: No such suite, no TOML, an unknown key, a value of the wrong type or out of range.
    """
    text, data, origin = _read(name, Path(), ())
    return _validated(data, origin, text)


def _read(name: str, folder: Path, seen: tuple[str, ...]) -> tuple[str, dict[str, Any], str]:
    """Text, merged tables and origin of a suite; `seen` guards against cycles of `extends`."""
    if name in seen:
        raise UsageError(
            f"suite {name!r} extends itself", " -> ".join((*seen, name)), "remove one `extends`"
        )
    if name in names():
        origin, text = (
            f"suite {name!r}",
            (files("kdbench") / "suites" / f"{name}.toml").read_text("utf-8"),
        )
    else:
        path = folder / name
        if path.suffix != ".toml" or not path.is_file():
            close = difflib.get_close_matches(name, names(), 1)
            hint = (
                f"did you mean {close[0]!r}?" if close else f"shipped suites: {', '.join(names())}"
            )
            raise UsageError(
                f"no suite {name!r}", "expected a shipped suite's name or a .toml file", hint
            )
        origin, text, folder = str(path), path.read_text("utf-8"), path.parent
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{origin} is not TOML", str(error), "mend the file") from error
    parent = data.pop("extends", None)
    if parent is not None:
        _, base, _ = _read(str(parent), folder, (*seen, name))
        data = _merged(base, data)
    return text, data, origin


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top; tables merge, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = (
            _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return result


def _validated(data: dict[str, Any], origin: str, text: str) -> Suite:
    """The Suite that these tables describe, errors told in three lines."""
    data = dict(data)
    if isinstance(data.get("train"), dict):
        train = dict(data["train"])
        data["by_student"] = train.pop("by_student", data.get("by_student", {}))
        data["train"] = train
        if isinstance(data.get("teacher", {}), dict):
            data["teacher"] = {**train, **data.get("teacher", {})}
    try:
        suite = Suite.model_validate(data)
        for pair in suite.axes.pairs:
            suite.protocol(Pair.parse(pair).student)
    except ValidationError as error:
        raise _told(error, origin, text) from error
    if unset := set(suite.methods) - {
        Spec.parse(m).name for m in (*suite.axes.methods, *suite.scoring.baselines)
    }:
        if text:
            raise UsageError(
                f"{origin} sets {sorted(unset)[0]!r}",
                "but axes.methods does not name it",
                "remove the table",
            )
    return suite


def _told(error: ValidationError, origin: str, text: str) -> UsageError:
    """The first error of pydantic in our three lines, with the line in the file and a suggestion."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = path[-1] if path else ""
    line = next(
        (
            i
            for i, row in enumerate(text.splitlines(), 1)
            if re.match(rf"\s*\[?{re.escape(key)}\b", row)
        ),
        0,
    )
    where = f"{origin}, line {line}" if line else origin
    if first["type"] == "extra_forbidden":
        known = _fields(path[:-1])
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return UsageError(
            f"unknown key {'.'.join(path)!r} in {where}", "a suite holds only known keys", hint
        )
    what = (
        f"bad value for {'.'.join(path)!r} in {where}" if path else f"{where} does not fit together"
    )
    got = repr(first["input"])
    return UsageError(
        what,
        f"{first['msg']}" + (f", got {got}" if len(got) < 60 else ""),
        "see kdbench show digits",
    )


def _fields(path: Sequence[str]) -> tuple[str, ...]:
    """Keys that are known in the table at `path`."""
    model: type[BaseModel] = Suite
    for part in path:
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        if (
            part in model.model_fields
            and isinstance(annotation, type)
            and issubclass(annotation, BaseModel)
        ):
            model = annotation
        else:
            model = MethodSettings
    names_ = tuple(model.model_fields)
    return (*names_, "extends") if model is Suite else names_
