"""A teacher's recipe -> the jobs that must be done before it teaches, and its name in questions."""

import errno
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
    suite: Suite, registry: Registry, dataset: DataFacts, recipe: Recipe, seed: int,
    further: int = 0,
) -> tuple[TeacherJob, ...]:  # fmt: skip
    """The members of a recipe's last link, each a job; members differ in their seed alone.

    Args:
        suite, registry, dataset, recipe, seed: What is asked, where it is found, and the trial's.
        further: By which the seed of the whole recipe is raised.

    Raises:
        UsageError: Given weights are repeated, stopped early or have a teacher, no method says how
            a teacher learns from its own, or it is to be stopped where no anchor is.
    """
    own = recipe.network
    source, code = network(registry, own)
    held = suite.evaluation.validation_rows
    if given(recipe):
        _check_given(recipe, suite.teacher)
        return (TeacherJob(dataset, named(own), None, held, source, code, own),)
    _check_trained(recipe, suite.teacher)
    method = _method(suite, registry, recipe)
    above: tuple[TeacherJob, ...] = ()
    if recipe.teacher:  # who teaches a teacher is converged, also where that one is stopped early
        whole = suite.teacher.model_copy(update={"anchor": 1.0})
        converged = suite.model_copy(update={"teacher": whole})
        above = teachers(converged, registry, dataset, recipe.teacher, seed, further)
    first = further + (seed if suite.teacher.seed == "trial" else int(suite.teacher.seed))
    asked = protocol(suite, registry, recipe)
    policy = teacher_policy(asked.transfer, registry)
    jobs = []
    for member in range(recipe.size):
        seeded = asked.model_copy(update={"seed": first * recipe.size + member})
        jobs.append(
            TeacherJob(dataset, own, seeded, held, source, code, None, method, above, policy)
        )
    return tuple(jobs)


def control(
    suite: Suite, registry: Registry, dataset: DataFacts, recipe: Recipe, seed: int
) -> tuple[TeacherJob, ...]:
    """An independent teacher: the same recipe from the next seed; none where it is not asked for.

    With a teacher a trial seed, most are other trials' teachers, trained anyway.

    Raises:
        UsageError: Weights are given, so that there is no other seed.
    """
    if "control" not in suite.evaluation.probes:
        return ()
    if any(map(given, recipe.chain)):
        raise UsageError(
            f"{recipe} has no independent teacher beside it",
            "the probe 'control' trains one from another seed, and given weights are not trained",
            "leave 'control' out of [evaluation] probes, or train the teacher",
        )
    return teachers(suite, registry, dataset, recipe, seed, further=1)


def protocol(suite: Suite, registry: Registry, recipe: Recipe) -> TeacherProtocol:
    """How the recipe's links are trained; names methods, whole, only where they are used.

    Raises:
        UsageError: Its transfer policy leaves no labels.
    """
    first = recipe.chain[0]
    used = {
        "method": _method(suite, registry, recipe) if recipe.teacher else None,
        "alone": None if given(first) else _method(suite, registry, first),
    }
    said = {
        key: str(Spec.of(by.spec.name, by.hyperparameters)) if by else ""
        for key, by in used.items()
    }
    said["transfer"] = teacher_policy(suite.teacher.transfer, registry).text
    return suite.teacher.model_copy(update=said)


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
        if not Path(str(path)).is_file():
            raise OSError(errno.ENOENT, "there is no such file")
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


def _check_given(recipe: Recipe, asked: TeacherProtocol) -> None:
    if asked.anchor != 1:
        raise UsageError(
            f"{recipe} cannot be stopped early",
            f"[teacher] anchor = {asked.anchor:g}, and given weights have no anchors",
            "train it, or leave anchor out",
        )
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


def _check_trained(recipe: Recipe, asked: TeacherProtocol) -> None:
    if asked.start:
        raise UsageError(
            f"[teacher] start is not possible for {recipe}",
            "a teacher starts from random weights",
            "leave it out, or set [train] start for the student",
        )
    if f"{asked.anchor:.6f}" not in {f"{i / asked.anchors:.6f}" for i in range(asked.anchors + 1)}:
        raise UsageError(
            f"[teacher] anchor = {asked.anchor:g} is not kept",
            f"anchors = {asked.anchors} keeps the multiples of 1/{asked.anchors} of the training",
            "set another of the two",
        )


def _method(suite: Suite, registry: Registry, recipe: Recipe) -> MethodFacts | None:
    """By which the recipe's last link learns, from its own teacher if any; None: cross-entropy.

    Raises:
        UsageError: The suite names none, or one that a teacher cannot learn by.
    """
    if recipe.teacher is None and not suite.teacher.alone:
        return None
    key = "method" if recipe.teacher else "alone"
    text = str(getattr(suite.teacher, key))
    if not text:
        raise UsageError(
            f"{recipe} has a teacher with a teacher of its own",
            "[teacher] method says by which method it learns, and is not set",
            'set it, for example method = "kd"',
        )
    spec, _ = suite.method(Spec.parse(text))
    facts = registry.methods([spec])[spec]
    needs = facts.needs
    if needs["quiz"] or needs["teacher"] == "private" or "deploy" in facts.overrides:
        raise UsageError(
            f"[teacher] {key} = {text!r} cannot make a teacher",
            "it holds out rows, trains its own teacher, or deploys another network",
            'set another, for example method = "kd"' if recipe.teacher else "set another",
        )
    if not recipe.teacher and needs["teacher"] != "none":
        raise UsageError(
            f"[teacher] alone = {text!r} needs a teacher",
            f"{recipe} has none of its own",
            "set a method that needs none, or write TEACHER>NETWORK and set [teacher] method",
        )
    return facts
