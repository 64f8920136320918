"""`kdbench run`: answer a suite's open questions, and show the board."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.cli.interruption import Terminated, terminable
from kdbench.cli.options import AsJson, Methods, NoPlugin, PluginsDir
from kdbench.cli.output import is_terminal, json_out, say, warn
from kdbench.cli.selection import (
    RUNS,
    Budget,
    Datasets,
    Pairs,
    Seeds,
    Selection,
    Steps,
    StoreDir,
    SuiteName,
    Workers,
    choose,
)
from kdbench.errors import ExitCode

if TYPE_CHECKING:
    from kdbench.cli.progress import Lines
    from kdbench.cli.work import Done
    from kdbench.plan import Plan

WIDTH = 110
_FAILURES = 20


def run(
    suite: SuiteName = "digits",
    methods: Methods = None,
    pairs: Pairs = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    budget: Budget = None,
    steps: Steps = None,
    store: StoreDir = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Workers = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask failed trials again.")] = False,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> int:
    """Run a suite: train what is not answered yet, write records, show the board."""
    from kdbench import engine
    from kdbench.cli.progress import progress

    stream = sys.stderr if as_json else sys.stdout  # the data alone on standard output
    lines = progress(stream)
    asked: Selection | None = None
    try:
        with terminable():
            engine.warm_up()  # torch is loaded in the server of the workers, while plugins are read
            asked = choose(
                suite, store, methods, pairs, datasets, seeds, budget, steps, plugins_dir, no_plugin
            )
            return _answer(asked, lines, device, workers, retry, as_json)
    except (KeyboardInterrupt, Terminated) as stop:
        lines.stop()
        terminated = isinstance(stop, Terminated)
        how = "terminated" if terminated else "interrupted"
        print(f"{how}: {_saved(lines, asked)}", file=sys.stderr)
        return ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED


def _answer(
    asked: Selection, lines: "Lines", device: str, workers: int | None, retry: bool, as_json: bool
) -> int:
    """Run the selection and tell of it; the exit code."""
    from kdbench import engine
    from kdbench.cli import work

    def started(made: "Plan") -> None:
        _hide_default(asked.store.root)
        cohorts = made.work(retry=retry)
        count = workers or (engine.cores() if device == "cpu" else 1)
        known, used = asked.store.records(), min(count, len(cohorts))
        minutes = made.minutes(known, used, retry=retry) if cohorts else 0.0
        for line in announced(made, retry, count, minutes):
            lines.say(line)
        lines.start(made, cohorts, minutes)

    try:
        done = work.answer(asked, lines, device, workers, retry, started)
    finally:
        lines.stop()
    for text in done.absent:
        warn(f"{text}: the board does not miss it")
    if as_json:
        json_out(_summary(asked, done))
    else:
        _tell(asked, done)
    if done.error:
        if trace := getattr(done.error, "trace", ""):
            print(trace, file=sys.stderr)
        raise done.error
    return ExitCode.OK if done.ok else ExitCode.TRIALS_NOT_OK


def announced(made: "Plan", retry: bool, workers: int, minutes: float | None) -> Iterator[str]:
    """What is going to be done, a line each."""
    from collections import Counter

    from kdbench.leaderboard.words import share

    cohorts, states = made.work(retry=retry), Counter(trial.state for trial in made.trials)
    yield f"suite {made.suite.name}" + (f": {made.suite.title}" if made.suite.title else "")
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    yield f"{_count(len(made.trials), 'trial')}: {told}"
    if part := share(made.trials[0].question):
        yield f"not the full protocol, {part}: kept off the full board"
    if states["failed"] and not retry:
        yield "what failed stays so: --retry asks again"
    if not cohorts:
        yield "nothing is open: nothing to train"
        return
    parts = [
        _count(len(cohorts), "cohort"),
        _count(len(made.teachers(cohorts)), "teacher"),
        _count(min(workers, len(cohorts)), "worker"),
    ]
    yield ", ".join(parts) + (f", about {max(minutes, 0.1):.2g} min" if minutes is not None else "")


def _tell(asked: Selection, done: "Done") -> None:
    """The end of a run, for people: what came out, what failed, the board, what to do next."""
    from kdbench.cli import work

    say()
    say(", ".join(f"{count} {status}" for status, count in work.counts(done.found).items()))
    if done.claimed:
        say(f"{_count(done.claimed, 'trial')} left to another run that is at them")
    bad = [one for one in done.found if one.status != "ok"]
    for one in bad[:_FAILURES]:
        ask, failure = one.trial.question, one.record.failure if one.record else None
        trial = f"{ask.dataset} {ask.teacher}:{ask.student} {one.name} s{ask.seed}"
        why = f": {failure.message} ({failure.where})" if failure else ""
        say(f"  {one.status}  {trial}{why}")
    if len(bad) > _FAILURES:
        say(f"  and {len(bad) - _FAILURES} more")
    say()
    width = shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal() else WIDTH
    say(done.board.console(max(80, width)))
    say(f"records: {asked.store.root / 'records'}")
    say(f"board: {done.files[0]}")
    say(f"next: {_next(asked, done)}")


def _next(asked: Selection, done: "Done") -> str:
    """The command that fits what came out."""
    root, name = asked.store.root, shlex.quote(asked.name)
    elsewhere = root != RUNS / asked.whole.name
    where = f" --store {shlex.quote(str(root))}" if elsewhere else ""
    whole = asked.suite.axes == asked.whole.axes
    again = f"kdbench run {name}{where}" if whole else "the same command"
    if any(one.status not in {"ok", "open"} for one in done.found):
        return f"mend what failed, then {again} {'--retry' if whole else 'with --retry'}"
    if any(one.status == "open" for one in done.found):
        return again
    if not done.found[0].trial.question.full:
        return f"{again}, the full protocol" if whole else f"{again} without --budget and --steps"
    return f"kdbench leaderboard {shlex.quote(str(root)) if elsewhere else name}"


def _summary(asked: Selection, done: "Done") -> dict[str, object]:
    """The end of a run, as JSON."""
    import json

    from kdbench.cli import work

    failed = [
        {
            "dataset": one.trial.question.dataset,
            "teacher": one.trial.question.teacher,
            "student": one.trial.question.student,
            "method": one.name,
            "seed": one.trial.question.seed,
            "status": one.status,
            "failure": one.record.failure.model_dump()
            if one.record and one.record.failure
            else None,
        }
        for one in done.found
        if one.status != "ok"
    ]
    return {
        "suite": asked.whole.name,
        "full": all(one.trial.question.full for one in done.found),
        "trials": work.counts(done.found),
        "claimed": done.claimed,
        "records": [str(asked.store.path(record)) for record in done.records],
        "failed": failed,
        "store": str(asked.store.root),
        "board": json.loads(done.board.json()),
    }


def _saved(lines: "Lines", asked: Selection | None) -> str:
    """What an interruption leaves."""
    count = _count(len(lines.records), "record")
    if asked is None:
        return "nothing was running"
    return f"{count} saved in {asked.store.root / 'records'}; the same command goes on from there"


def _hide_default(root: Path) -> None:
    """Keep the folder of unnamed stores out of git, whichever project it was made in."""
    from kdbench.record import write_atomically

    if root.parent == RUNS and not (RUNS / ".gitignore").exists():
        write_atomically(RUNS / ".gitignore", b"*\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
