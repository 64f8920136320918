"""`kdbench reproduce`: one record's trial once more, and whether it comes out the same."""

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from kdbench.cli.interruption import terminable
from kdbench.cli.likeness import POINTS, Likeness, judged, liken
from kdbench.cli.options import AsJson, NoPlugin, PluginsDir
from kdbench.cli.output import json_out, say, table
from kdbench.errors import KDBenchError, UsageError

if TYPE_CHECKING:
    from kdbench.cli.progress import Lines
    from kdbench.plan import Plan
    from kdbench.record import Record, Store
    from kdbench.registry import Registry


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
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Use the paths, hub names and other plugins that the record names."
        ),
    ] = False,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Run a record's trial again, alone; to the bit where the environment is the same."""
    from kdbench import engine
    from kdbench.cli.options import find
    from kdbench.cli.picking import pick_file
    from kdbench.cli.progress import progress
    from kdbench.cli.trust import concerns, permit
    from kdbench.record import Store

    old = pick_file(file).record
    registry = find(plugins_dir, no_plugin, plugin or ())
    permit(concerns(old, registry, checkpoint), file, yes)
    engine.warm_up()
    made = asked(old, registry, dataset, checkpoint)
    lines = progress(sys.stderr if as_json else sys.stdout)
    place = nullcontext(str(store)) if store else tempfile.TemporaryDirectory()
    with terminable(), place as folder:
        new = rerun(made, Store(Path(folder)), lines, device or old.environment.device)
    found = liken(old, new)
    verdict = judged(found, old, new, tolerance)
    if as_json:
        json_out(_json(found, old, new, verdict))
    else:
        say()
        table(
            ("", "recorded", "now", "same"), [(*r[:3], "yes" if r[3] else "no") for r in found.rows]
        )
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
    from kdbench.record import Recipe, Spec, TeacherProtocol
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
    teacher = ask.teacher_protocol or TeacherProtocol.model_validate(ask.protocol.model_dump())
    try:
        suite = Suite(
            name=record.suite,
            axes=Axes(
                datasets=(dataset,),
                pairs=(f"{recipe}:{ask.student}",),
                methods=(str(Spec.of(ask.method, ask.hyperparameters)),),
                seeds=(ask.seed,),
            ),
            train=ask.protocol,
            teacher=teacher,
            evaluation=ask.evaluation,
        )
    except ValidationError as error:
        raise UsageError(
            f"the record of {ask.method!r} asks what no suite can ask",
            error.errors()[0]["msg"],
            "it was not written by kdbench",
        ) from error
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


def rerun(made: "Plan", store: "Store", lines: "Lines", device: str) -> "Record":
    """The new record of the plan's one trial."""
    from kdbench.engine.bench import Bench
    from kdbench.engine.schedule import Schedule
    from kdbench.registry import cache_dir

    (trial,) = made.trials
    if store.answered(trial.question.fingerprint, trial.code, trial.attempts):
        raise UsageError(
            f"{store.root} answers this question already",
            "nothing would run",
            "give an empty --store",
        )
    lines.start(made, made.cohorts, None)
    try:
        bench = Bench(cache_dir(), store.root, device, made.suite.limits)
        (record,) = Schedule(made.cohorts, made.teachers(made.cohorts), bench, 1, lines).run()
    finally:
        lines.stop()
    return record


def _json(
    found: Likeness, old: "Record", new: "Record", verdict: "str | KDBenchError"
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
