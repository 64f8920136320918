"""`kdbench reproduce`: one record's trial once more, and whether it comes out the same."""

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.cli.options import AsJson, NoPlugin, PluginsDir
from kdbench.cli.output import json_out, say, table
from kdbench.errors import CheckFailed, KDBenchError, UsageError

if TYPE_CHECKING:
    from kdbench.cli.progress import Lines
    from kdbench.plan import Cohort, Plan
    from kdbench.record import Record, Spec, Store, TeacherProtocol
    from kdbench.registry import Registry

POINTS = 3.0
"""How far accuracies may lie apart where the environment differs, in points of percent."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """An old and a new record of one question.

    Attributes:
        rows: Name, old, new and whether they are the same to the bit.
        same_code, same_environment: Whether what decides bits is the same.
    """

    rows: tuple[tuple[str, str, str, bool], ...]
    same_code: bool
    same_environment: bool
    points: float

    @property
    def identical(self) -> bool:
        """Whether all is the same to the bit."""
        return all(same for *_, same in self.rows)


def reproduce(
    file: Annotated[Path, typer.Argument(metavar="RECORD", help="A record's file.")],
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the new record here.")
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="POINTS",
            min=0,
            help="Points of accuracy that may lie between them in another environment.",
        ),
    ] = POINTS,
    dataset: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Where data of your own lie.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where a given teacher's weights lie.")
    ] = None,
    plugin: Annotated[
        list[Path] | None,
        typer.Option("-m", "--method", metavar="FILE.py", help="The method's plugin file; repeat."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; the record's by default.")
    ] = None,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Run a record's trial again, alone, and compare: to the bit where the environment is the same."""
    from kdbench import engine
    from kdbench.cli.options import find
    from kdbench.cli.picking import pick_file
    from kdbench.cli.progress import progress
    from kdbench.record import Store

    engine.warm_up()
    old = pick_file(file).record
    registry = find(plugins_dir, no_plugin, plugin or ())
    made = asked(old, registry, dataset, checkpoint)
    lines = progress(sys.stderr if as_json else sys.stdout)
    with nullcontext(str(store)) if store else tempfile.TemporaryDirectory() as folder:
        new = rerun(made, Store(Path(folder)), lines, device or old.environment.device)
    found = compare(old, new)
    verdict = judged(found, old, new, tolerance)
    if as_json:
        json_out(_json(found, old, new, verdict))
    else:
        say()
        table(("", "recorded", "now", "same"), [(*r[:3], "yes" if r[3] else "no") for r in found.rows])
        say()
    if isinstance(verdict, KDBenchError):
        raise verdict
    if not as_json:
        say(verdict)


def asked(
    record: "Record", registry: "Registry", dataset: str | None, checkpoint: Path | None
) -> "Plan":
    """A plan of the record's one question.

    Raises:
        UsageError: The plugins, data or weights that are here ask another question.
    """
    from kdbench import plan
    from kdbench.cli.weights import known_data
    from kdbench.record import Recipe, TeacherProtocol
    from kdbench.registry import data_dir
    from kdbench.suite import Axes, Suite

    ask = record.question
    if dataset is None:
        dataset = str(known_data(record, registry).spec)
    recipe = Recipe.parse(ask.teacher)
    if checkpoint is not None:
        options = {**dict(recipe.network.options), "checkpoint": str(checkpoint.absolute())}
        network = replace(recipe.network, options=tuple(sorted(options.items())))
        recipe = replace(recipe, network=network)
    teacher: TeacherProtocol = ask.teacher_protocol or TeacherProtocol.model_validate(
        ask.protocol.model_dump()
    )
    suite = Suite(
        name=record.suite,
        axes=Axes(
            datasets=(dataset,),
            pairs=(f"{recipe}:{ask.student}",),
            methods=(str(_spec(ask.method, ask.hyperparameters)),),
            seeds=(ask.seed,),
        ),
        train=ask.protocol,
        teacher=teacher,
        evaluation=ask.evaluation,
    )
    made = plan.make(suite, registry, (), str(data_dir()))
    (cohort,) = made.cohorts
    (trial,) = cohort.trials
    question = trial.question.model_copy(update={"quiz": ask.quiz})  # a baseline beside a quiz
    if question.fingerprint != ask.fingerprint:
        new, old = question.model_dump(mode="json"), ask.model_dump(mode="json")
        differ = [key for key in old if old[key] != new[key]]
        raise UsageError(
            f"what is installed asks another question than {record.question.method}'s record",
            "; ".join(f"{key}: {old[key]!r} was asked, {new[key]!r} is" for key in differ[:3]),
            "install the versions that the record names",
        )
    alone = replace(cohort, quiz=ask.quiz, trials=(replace(trial, question=question),))
    return replace(made, cohorts=(alone,))


def _spec(name: str, hyperparameters: dict[str, Any]) -> "Spec":
    from kdbench.record import Spec

    def frozen(value: Any) -> Any:  # noqa: ANN401 - any JSON
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return Spec(name, tuple(sorted((key, frozen(v)) for key, v in hyperparameters.items())))


def rerun(made: "Plan", store: "Store", lines: "Lines", device: str) -> "Record":
    """The new record of the plan's one trial."""
    from kdbench.engine.schedule import Schedule
    from kdbench.engine.worker import Bench
    from kdbench.registry import cache_dir

    cohorts: tuple[Cohort, ...] = made.cohorts
    lines.start(cohorts, None)
    try:
        bench = Bench(cache_dir(), store.root, device)
        schedule = Schedule(cohorts, made.teachers(cohorts), bench, 1, lines)
        (record,) = schedule.run()
    finally:
        lines.stop()
    return record


def compare(old: "Record", new: "Record") -> Comparison:
    """All that should be the same."""
    pairs: list[tuple[str, Any, Any]] = [("status", old.status, new.status)]
    for name in sorted(old.quality | new.quality):
        pairs.append((name, old.quality.get(name), new.quality.get(name)))
    for split in sorted(old.fidelity | new.fidelity):
        was, now = old.fidelity.get(split, {}), new.fidelity.get(split, {})
        pairs += [(f"{split} {name}", was.get(name), now.get(name)) for name in sorted(was | now)]
    pairs.append(("per class", old.per_class, new.per_class))
    weights = [(r.teacher and r.teacher.weights, r.deployed and r.deployed.weights) for r in (old, new)]
    pairs.append(("teacher's weights", weights[0][0], weights[1][0]))
    pairs.append(("logits", old.logits, new.logits))
    pairs.append(("weights", weights[0][1], weights[1][1]))
    accuracies = [record.quality.get("accuracy", float("nan")) for record in (old, new)]
    return Comparison(
        rows=tuple((name, _short(was), _short(now), was == now) for name, was, now in pairs),
        same_code=old.fingerprints.code == new.fingerprints.code,
        same_environment=old.environment.group == new.environment.group,
        points=100 * abs(accuracies[0] - accuracies[1]),
    )


def judged(found: Comparison, old: "Record", new: "Record", tolerance: float) -> "str | KDBenchError":
    """What the comparison means: a line, or the error to end with."""
    if found.identical:
        return "reproduced: identical to the bit"
    if old.status != new.status:
        why = f"recorded {old.status}, now {new.status}" + (
            f": {new.failure.message}" if new.failure else ""
        )
    elif not found.same_environment and found.points <= tolerance:
        return (
            f"reproduced within tolerance: accuracies are {found.points:.2f} points apart, at most "
            f"{tolerance:g} are allowed where the environment differs ({_differing(old, new)})"
        )
    elif not found.same_environment:
        why = f"accuracies are {found.points:.2f} points apart, {tolerance:g} are allowed"
    else:
        why = "the environment is the same, so every bit should be"
    return CheckFailed(
        f"the record of {old.question.method} is not reproduced",
        why,
        "" if found.same_code else "its code has changed since: check out what the record names",
    )


def _differing(old: "Record", new: "Record") -> str:
    names = ("torch", "timm", "device", "capability", "threads", "platform")
    pairs = [(name, getattr(old.environment, name), getattr(new.environment, name)) for name in names]
    return ", ".join(f"{name} {was} -> {now}" for name, was, now in pairs if was != now)


def _short(value: Any) -> str:  # noqa: ANN401 - of a record
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple):
        return " ".join(f"{100 * item:.1f}" for item in value)
    return "" if value is None else str(value)[:16]


def _json(
    found: Comparison, old: "Record", new: "Record", verdict: "str | KDBenchError"
) -> dict[str, Any]:
    return {
        "reproduced": isinstance(verdict, str),
        "identical": found.identical,
        "same_code": found.same_code,
        "same_environment": found.same_environment,
        "accuracy_points_apart": found.points,
        "differ": [name for name, *_, same in found.rows if not same],
        "recorded": old.model_dump(mode="json"),
        "now": new.model_dump(mode="json"),
    }
