"""A teacher's recipe -> the jobs that must be done before it teaches, and its name in questions."""

import hashlib
from dataclasses import replace
from pathlib import Path

from kdbench.errors import UsageError
from kdbench.plan.nodes import TeacherJob
from kdbench.plan.policy import teacher_policy
from kdbench.record import Pair, Recipe, Spec, TeacherProtocol
from kdbench.registry import DataFacts, MethodFacts, Registry, Source
from kdbench.suite import Suite


def teachers(
    suite: Suite, registry: Registry, dataset: DataFacts, recipe: Recipe, seed: int
) -> tuple[TeacherJob, ...]:
    """The members of a recipe's last link, each a job; members differ in their seed alone.

    Raises:
        UsageError: Given weights are repeated or have a teacher, or no method says how a teacher
            learns from its own.
    """
    own = recipe.network
    source, code = network(registry, own)
    held = suite.evaluation.validation_rows
    if given(recipe):
        _check_given(recipe)
        return (TeacherJob(dataset, named(own), None, held, source, code, own),)
    method: MethodFacts | None = None
    above: tuple[TeacherJob, ...] = ()
    if recipe.teacher:
        method = _method(suite, registry, recipe)
        above = teachers(suite, registry, dataset, recipe.teacher, seed)
    first = seed if suite.teacher.seed == "trial" else int(suite.teacher.seed)
    asked = protocol(suite, registry, recipe)
    policy = teacher_policy(asked.transfer, registry)
    jobs = []
    for member in range(recipe.size):
        seeded = asked.model_copy(update={"seed": first * recipe.size + member})
        jobs.append(
            TeacherJob(dataset, own, seeded, held, source, code, None, method, above, policy)
        )
    return tuple(jobs)


def protocol(suite: Suite, registry: Registry, recipe: Recipe) -> TeacherProtocol:
    """How the recipe's links are trained; names a method, whole, only where one is used.

    Raises:
        UsageError: Its transfer policy leaves no labels.
    """
    method = ""
    if recipe.teacher:
        facts = _method(suite, registry, recipe)
        method = str(Spec.of(facts.spec.name, facts.hyperparameters))
    transfer = teacher_policy(suite.teacher.transfer, registry).text
    return suite.teacher.model_copy(update={"method": method, "transfer": transfer})


def given(recipe: Recipe) -> bool:
    """Whether the weights of the recipe's last link are given, not trained."""
    return bool({"checkpoint", "pretrained"} & dict(recipe.network.options).keys())


def network(registry: Registry, asked: Spec) -> tuple[Source | None, str]:
    """Where a network's plugin lies (None: timm's own), and its code fingerprint with options."""
    if asked.name.startswith("local-dir:"):
        then = "name its architecture, and its weights as NAME[checkpoint=FILE]"
        raise UsageError(f"{asked.name} is a path", "no record holds a path", then)
    entry = next((e for e in registry.entries if (e.kind, e.name) == ("model", asked.name)), None)
    return entry.source if entry else None, registry.network_code(asked.name)


def pair_name(pair: Pair) -> str:
    """The pair as questions name it: given weights by file name and content hash, never by path."""
    return str(replace(pair, teacher=named_recipe(pair.teacher), student=named(pair.student)))


def named_recipe(recipe: Recipe) -> Recipe:
    """The recipe as questions name it; see `pair_name`."""
    above = named_recipe(recipe.teacher) if recipe.teacher else None
    return replace(recipe, network=named(recipe.network), teacher=above)


def named(asked: Spec) -> Spec:
    """The network with its checkpoint by file name and content hash in place of the path."""
    path = dict(asked.options).get("checkpoint")
    if path is None:
        return asked
    try:
        with Path(str(path)).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"cannot read checkpoint {path}",
            str(error.strerror),
            "give a safetensors or torch file",
        ) from error
    options = dict(asked.without("checkpoint").options) | {
        "checkpoint": f"{Path(str(path)).name}@{digest[:16]}"
    }
    return Spec(asked.name, tuple(sorted(options.items())))


def _check_given(recipe: Recipe) -> None:
    if recipe.size > 1:
        raise UsageError(
            f"{recipe} repeats given weights",
            "members of an ensemble must differ",
            "train them, or name one",
        )
    if recipe.teacher:
        raise UsageError(
            f"{recipe} teaches given weights",
            "weights that are given are not trained",
            "leave out what stands before the last >",
        )


def _method(suite: Suite, registry: Registry, recipe: Recipe) -> MethodFacts:
    """By which the recipe's last link learns from its own teacher.

    Raises:
        UsageError: The suite names none, or one that a teacher cannot learn by.
    """
    text = suite.teacher.method
    if not text:
        raise UsageError(
            f"{recipe} has a teacher with a teacher of its own",
            "[teacher] method says by which method it learns, and is not set",
            'set it, for example method = "kd"',
        )
    spec, _ = suite.method(Spec.parse(text))
    facts = registry.methods([spec])[spec]
    alone = (
        facts.needs["quiz"] or facts.needs["teacher"] == "private" or "deploy" in facts.overrides
    )
    if alone:
        raise UsageError(
            f"[teacher] method = {text!r} cannot make a teacher",
            "it holds out rows, trains its own teacher, or deploys another network",
            'set another, for example method = "kd"',
        )
    return facts
