"""`kdbench run`: answer a suite's open questions, and show the board."""

import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

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
from kdbench.errors import ExitCode, KDBenchError

if TYPE_CHECKING:
    from kdbench.cli.progress import Lines
    from kdbench.cli.work import Outcome
    from kdbench.leaderboard import Board
    from kdbench.plan import Plan
    from kdbench.record import Record

WIDTH = 110
_FAILURES = 20


class Terminated(BaseException):
    """SIGTERM came."""


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
        with _terminable():
            engine.warm_up()  # torch is loaded in the server of the workers, while plugins are read
            asked = choose(
                suite, store, methods, pairs, datasets, seeds, budget, steps, plugins_dir, no_plugin
            )
            return _answer(asked, lines, device, workers, retry, as_json)
    except (KeyboardInterrupt, Terminated) as stop:
        lines.stop()
        terminated = isinstance(stop, Terminated)
        print(f"{'terminated' if terminated else 'interrupted'}: {_saved(lines, asked)}", file=sys.stderr)
        return ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED


def _answer(
    asked: Selection, lines: "Lines", device: str, workers: int | None, retry: bool, as_json: bool
) -> int:
    """Run the selection and tell of it; the exit code."""
    from kdbench import engine, leaderboard
    from kdbench.cli import work

    begun: list[Plan] = []
    spec, absent = work.expected(asked)

    def started(made: "Plan") -> None:
        work.keep(asked, spec)
        _hide_default(asked.store.root)
        begun.append(made)
        cohorts = made.work(retry=retry)
        count = workers or (engine.cores() if device == "cpu" else 1)
        minutes = made.minutes(asked.store.records(), min(count, len(cohorts))) if cohorts else 0.0
        for line in announced(made, retry, count, minutes):
            lines.say(line)
        lines.start(cohorts, minutes)

    for text in absent:
        warn(f"{text}; the board will not miss it")
    error: KDBenchError | None = None
    claimed = 0
    try:
        done = engine.run(
            asked.suite, asked.registry, asked.store, lines, device=device, workers=workers, retry=retry, started=started
        )  # fmt: skip
        claimed = done.claimed
    except KDBenchError as caught:
        if not begun:
            raise
        error = caught  # what could run has run: that is told first
    finally:
        lines.stop()
    records = asked.store.records()
    found = work.outcomes(begun[0], records)
    shown = work.board(asked, spec, records)
    written = leaderboard.write(leaderboard.build(records, spec), asked.store.root)
    if as_json:
        json_out(_summary(asked, found, shown, lines.records, claimed))
    else:
        _tell(asked, found, shown, written, claimed)
    if error:
        if trace := getattr(error, "trace", ""):
            print(trace, file=sys.stderr)
        raise error
    return ExitCode.OK if all(one.status == "ok" for one in found) else ExitCode.TRIALS_NOT_OK


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
        _count(len(cohorts), "cohort"), _count(len(made.teachers(cohorts)), "teacher"),
        _count(min(workers, len(cohorts)), "worker"),
    ]  # fmt: skip
    yield ", ".join(parts) + (f", about {max(minutes, 0.1):.2g} min" if minutes is not None else "")


def _tell(
    asked: Selection, found: Sequence["Outcome"], shown: "Board", written: Sequence[Path], claimed: int
) -> None:
    """The end of a run, for people: what came out, what failed, the board, where it all lies, what to do next."""
    from kdbench.cli import work

    say()
    say(", ".join(f"{count} {status}" for status, count in work.counts(found).items()))
    if claimed:
        say(f"{_count(claimed, 'trial')} left to another run that is at them")
    bad = [one for one in found if one.status != "ok"]
    for one in bad[:_FAILURES]:
        ask, failure = one.trial.question, one.record.failure if one.record else None
        why = f": {failure.message} ({failure.where})" if failure else ""
        say(f"  {one.status}  {ask.dataset} {ask.teacher}:{ask.student} {one.trial.spec} s{ask.seed}{why}")
    if len(bad) > _FAILURES:
        say(f"  and {len(bad) - _FAILURES} more")
    say()
    say(shown.console(shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal() else WIDTH))
    say(f"records: {asked.store.root / 'records'}")
    say(f"board: {written[0]}")
    say(f"next: {_next(asked, found)}")


def _next(asked: Selection, found: Sequence["Outcome"]) -> str:
    """The command that fits what came out."""
    root = asked.store.root
    name = shlex.quote(asked.name)
    where = "" if root == RUNS / asked.whole.name else f" --store {shlex.quote(str(root))}"
    if any(one.status not in {"ok", "open"} for one in found):
        return f"mend what failed, then kdbench run {name}{where} --retry"
    if not found[0].trial.question.full:
        return f"kdbench run {name}{where}, the full protocol"
    return f"kdbench leaderboard {shlex.quote(str(root)) if where else name}"


def _summary(
    asked: Selection, found: Sequence["Outcome"], shown: "Board", records: Sequence["Record"], claimed: int
) -> dict[str, object]:
    """The end of a run, as JSON."""
    import json

    from kdbench.cli import work

    failed = [
        {"dataset": one.trial.question.dataset, "teacher": one.trial.question.teacher,
         "student": one.trial.question.student, "method": str(one.trial.spec), "seed": one.trial.question.seed,
         "status": one.status, "failure": one.record.failure.model_dump() if one.record and one.record.failure else None}
        for one in found if one.status != "ok"
    ]  # fmt: skip
    return {
        "suite": asked.whole.name,
        "full": all(one.trial.question.full for one in found),
        "trials": work.counts(found),
        "claimed": claimed,
        "records": [str(asked.store.path(record)) for record in records],
        "failed": failed,
        "store": str(asked.store.root),
        "board": json.loads(shown.json()),
    }


def _saved(lines: "Lines", asked: Selection | None) -> str:
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


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises where this process is, so that workers end and what is known is told."""

    def leave(_: int, __: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: what follows is short
        raise Terminated

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
