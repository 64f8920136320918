"""`kdbench run`: answer a suite's open questions, and show the board."""

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.cli.amounts import gigabytes, seconds
from kdbench.cli.ending import counted, summary, tell
from kdbench.cli.interruption import Terminated, terminable
from kdbench.cli.options import AsJson, Methods, NoPlugin, PluginsDir
from kdbench.cli.output import json_out, warn
from kdbench.cli.selection import (
    RUNS,
    Budget,
    Datasets,
    MemoryLimit,
    Pairs,
    Seeds,
    Selection,
    Shard,
    Steps,
    StoreDir,
    SuiteName,
    TimeBudget,
    TrialTimeout,
    Variants,
    Workers,
    choose,
)
from kdbench.errors import ExitCode

if TYPE_CHECKING:
    from kdbench.cli.progress import Lines
    from kdbench.cli.work import Done
    from kdbench.engine import Until
    from kdbench.plan import Plan
    from kdbench.suite import Limits


def run(
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
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Workers = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask failed trials again.")] = False,
    time_budget: TimeBudget = None,
    trial_timeout: TrialTimeout = None,
    memory_limit: MemoryLimit = None,
    as_json: AsJson = False,
    plugins_dir: PluginsDir = None,
    no_plugin: NoPlugin = None,
) -> int:
    """Run a suite: train what is not answered yet, write records, show the board."""
    began = time.monotonic()
    from kdbench import engine
    from kdbench.cli.progress import progress

    until = engine.Until()
    if time_budget is not None:
        until = engine.Until.budget(seconds(time_budget), began)
    stream = sys.stderr if as_json else sys.stdout  # the data alone on standard output
    bounds: dict[str, float] = {}
    if trial_timeout is not None:
        bounds["trial_seconds"] = seconds(trial_timeout, "--trial-timeout")
    if memory_limit is not None:
        bounds["memory_gb"] = gigabytes(memory_limit)
    lines = progress(stream)
    asked: Selection | None = None
    try:
        with terminable():
            engine.warm_up()  # torch is loaded in the server of the workers, while plugins are read
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
            limits = asked.suite.limits.model_copy(update=bounds)
            done = _answer(asked, lines, device, workers, retry, until, limits)
            given = {
                "--device": device if device != "cpu" else "", "--workers": workers,
                "--retry": retry, "--time-budget": time_budget, "--trial-timeout": trial_timeout,
                "--memory-limit": memory_limit,
            }  # fmt: skip
            _tell(asked, done, _options(given), as_json)
            return ExitCode.OK if done.ok else ExitCode.TRIALS_NOT_OK
    except (KeyboardInterrupt, Terminated) as stop:
        lines.stop()
        terminated = isinstance(stop, Terminated)
        how = "terminated" if terminated else "interrupted"
        print(f"{how}: {_saved(lines, asked)}", file=sys.stderr)
        return ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED


def _answer(
    asked: Selection, lines: "Lines", device: str, workers: int | None, retry: bool,
    until: "Until", limits: "Limits",
) -> "Done":  # fmt: skip
    """Run the selection, and tell how it goes on."""
    from kdbench import engine
    from kdbench.cli import work

    def started(made: "Plan") -> None:
        _hide_default(asked.store.root)
        cohorts = made.work(retry=retry)
        count = workers or (engine.cores() if device == "cpu" else 1)
        used = busy(made, retry, count)
        minutes = made.minutes(asked.store.records(), used, retry=retry) if cohorts else 0.0
        for line in announced(made, retry, count, minutes, asked.shard):
            lines.say(line)
        lines.start(made, cohorts, minutes)

    try:
        return work.answer(asked, lines, device, workers, retry, started, until, limits)
    finally:
        lines.stop()


def _tell(asked: Selection, done: "Done", more: str, as_json: bool) -> None:
    """Tell what came of it; `more` are the options to go on with.

    Raises:
        KDBenchError: What kept some trials from running.
    """
    for text in done.absent:
        warn(f"{text}: the board does not miss it")
    if as_json:
        json_out(summary(asked, done, more))
    else:
        tell(asked, done, more)
    if done.error:
        if trace := getattr(done.error, "trace", ""):
            print(trace, file=sys.stderr)
        raise done.error


def _options(given: Mapping[str, object]) -> str:
    """Options as they are typed, those that were given."""
    typed = (name if value is True else f"{name} {value}" for name, value in given.items() if value)
    return "".join(f" {one}" for one in typed)


def busy(made: "Plan", retry: bool, workers: int) -> int:
    """How many of these workers have something to do."""
    from kdbench.plan import shared

    return min(workers, len(shared(made.work(retry=retry), workers)))


def announced(
    made: "Plan", retry: bool, workers: int, minutes: float | None,
    shard: tuple[int, int] | None = None,
) -> Iterator[str]:  # fmt: skip
    """What is going to be done, a line each."""
    from collections import Counter

    from kdbench.leaderboard.words import share

    cohorts, states = made.work(retry=retry), Counter(trial.state for trial in made.trials)
    yield f"suite {made.suite.name}" + (f": {made.suite.title}" if made.suite.title else "")
    if shard:
        yield "shard {} of {}: {}".format(*shard, counted(len(made.cohorts), "cohort"))
    if not made.trials:
        return
    told = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    yield f"{counted(len(made.trials), 'trial')}: {told}"
    if part := share(made.trials[0].question):
        yield f"not the full protocol, {part}: kept off the full board"
    if states["failed"] and not retry:
        yield "what failed stays so: --retry asks again"
    if not cohorts:
        yield "nothing is open: nothing to train"
        return
    parts = [
        counted(len(cohorts), "cohort"),
        counted(len(made.teachers(cohorts)), "teacher"),
        counted(busy(made, retry, workers), "worker"),
    ]
    yield ", ".join(parts) + (f", about {max(minutes, 0.1):.2g} min" if minutes is not None else "")


def _saved(lines: "Lines", asked: Selection | None) -> str:
    """What an interruption leaves."""
    saved = counted(len(lines.records), "record")
    if asked is None:
        return "nothing was running"
    return f"{saved} saved in {asked.store.root / 'records'}; the same command goes on from there"


def _hide_default(root: Path) -> None:
    """Keep the folder of unnamed stores out of git, whichever project it was made in."""
    from kdbench.record import write_atomically

    if root.parent == RUNS and not (RUNS / ".gitignore").exists():
        write_atomically(RUNS / ".gitignore", b"*\n")
