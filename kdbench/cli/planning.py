"""`kdbench plan`: what a run would do, without doing it and without torch."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from kdbench.cli.options import AsJson, Methods, NoPlugin, PluginsDir
from kdbench.cli.output import json_out, say, table
from kdbench.cli.selection import (
    Budget,
    Datasets,
    Pairs,
    Seeds,
    Shard,
    Steps,
    StoreDir,
    SuiteName,
    Variants,
    Workers,
    choose,
)

if TYPE_CHECKING:
    from kdbench.plan import Plan, TeacherJob

_STATES = ("open", "answered", "stale", "failed")
_SHOWN = 8


def plan(
    suite: SuiteName = "digits",
    methods: Methods = None,
    pairs: Pairs = None,
    datasets: Datasets = None,
    variants: Variants = None,
    seeds: Seeds = None,
    budget: Budget = None,
    steps: Steps = None,
    shard: Shard = None,
    store: StoreDir = None,
    workers: Workers = None,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> None:
    """Show what `run` would do: cohorts with the state of their trials, teachers and minutes."""
    from kdbench import engine
    from kdbench.cli import work
    from kdbench.cli.outcome import names
    from kdbench.cli.run import announced, busy

    asked = choose(
        suite,
        store,
        methods,
        pairs,
        datasets,
        seeds,
        budget,
        steps,
        plugins_dir,
        no_plugin,
        variants,
        shard,
    )
    records = asked.store.records()
    made = work.planned(asked, records)
    open_cohorts = made.work()
    count = workers or engine.cores()
    minutes = made.minutes(records, busy(made, False, count)) if open_cohorts else 0.0
    facts = _facts(made, minutes, names(made))
    if as_json:
        json_out(facts)
        return
    for line in announced(made, False, count, minutes, asked.shard):
        say(line)
    say()
    table(
        ("cohort", "methods", *_STATES),
        [
            (c["name"], _few(c["methods"]), *(str(c[state] or "") for state in _STATES))
            for c in facts["cohorts"]
        ],
    )
    if facts["teachers"]:
        say()
        table(
            ("teacher", "data set", "trained"),
            [(t["network"], t["dataset"], t["trained"]) for t in facts["teachers"]],
        )


def _few(names: list[str]) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _facts(made: "Plan", minutes: float | None, names: dict[str, str]) -> dict[str, Any]:
    """The plan as JSON."""
    cohorts = []
    for cohort in made.cohorts:
        states = Counter[str](trial.state for trial in cohort.trials)
        cohorts.append(
            {
                "name": cohort.name,
                "variant": cohort.variant,
                "dataset": cohort.dataset.name,
                "teacher": str(cohort.pair.teacher),
                "student": str(cohort.pair.student),
                "seed": cohort.seed,
                "quiz": cohort.quiz,
                "answers": cohort.answers,
                "methods": [names[trial.question.fingerprint] for trial in cohort.trials],
            }
            | {state: states[state] for state in _STATES}
        )
    return {
        "suite": made.suite.name,
        "full": all(trial.question.full for trial in made.trials),
        "trials": {s: sum(t.state == s for t in made.trials) for s in _STATES},
        "cohorts": cohorts,
        "teachers": [
            {
                "network": str(job.network),
                "dataset": job.dataset.name,
                "trained": _trained(job),
                "key": job.key,
            }
            for job in made.teachers(made.work())
        ],
        "minutes": minutes,
    }


def _trained(job: "TeacherJob") -> str:
    """How a teacher comes about, and whether it is there already."""
    from kdbench.registry import cache_dir

    if job.protocol is None:
        return "given"
    there = (cache_dir() / "teachers" / job.key / "card.json").exists()
    return "in the cache" if there else f"to train, seed {job.protocol.seed}"
