"""How a run goes on: lines anywhere, and on a terminal a live block under them."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from kdbench.cli.output import clean, is_terminal

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

    from kdbench.engine import Doing
    from kdbench.plan import Cohort, Plan, TeacherJob
    from kdbench.record import Record

__all__ = [
    "Lines",
    "Screen",
    "duration",
    "percent",
    "progress",
    "record_line",
    "reporter",
    "teacher_line",
]

HEARTBEAT_SECONDS = 60.0
"""Between two signs of life where nothing else is printed."""


def progress(stream: TextIO, clock: Callable[[], float] = time.monotonic) -> "Lines":
    """What fits the stream: a live block on a terminal, lines elsewhere."""
    return Screen(stream, clock) if is_terminal(stream) else Lines(stream, clock)


class Lines:
    """Progress as plain lines: one a record, one a teacher, and a sign of life each minute.

    Args:
        stream: Takes the lines.
        clock: Seconds that only rise.

    Attributes:
        total: Trials to run.
        records: Written so far.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.total, self.records = 0, list["Record"]()
        self._names: dict[str, str] = {}
        self._cards: set[str] = set()
        self._estimate: float | None = None
        self._began: float | None = None
        self._spoke = self._born = clock()

    def start(self, made: "Plan", cohorts: Sequence["Cohort"], minutes: float | None) -> None:
        """These cohorts of the plan are run now; that will take about so many minutes."""
        from kdbench.cli.outcome import names

        self.total = sum(len(cohort.trials) for cohort in cohorts)
        self._names = names(made)
        self._estimate = None if minutes is None else 60 * minutes

    def started(self, made: "Plan") -> None:
        """The open trials of the plan are run now."""
        self.start(made, made.work(), None)

    def stop(self) -> None:
        """Nothing more is told."""

    def say(self, text: str) -> None:
        """Print one line."""
        self._spoke = self.clock()
        self._print(clean(text))

    def teacher(self, job: "TeacherJob") -> None:
        """A teacher is ready."""
        passed = duration(self.clock() - self._born)
        self.say(f"teacher {job.network} on {job.dataset.name} is ready after {passed}")

    def record(self, record: "Record") -> None:
        """A record was written."""
        self.records.append(record)
        if record.teacher and record.teacher.weights not in self._cards:
            self._cards.add(record.teacher.weights)
            self.say(teacher_line(record))
        name = self._names.get(record.fingerprints.question, record.question.method)
        self.say(record_line(record, name, len(self.records), self.total))
        if record.status != "ok" and record.failure:
            self.say(f"    {record.failure.where}: {record.failure.message}")

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.say(f"note: {text}")

    def printed(self, work: str, line: str) -> None:
        """A worker printed a line while it was at this cohort or teacher."""
        self.say(f"  {work} | {line}")

    def tick(self, workers: Sequence["Doing"]) -> None:
        """What each worker does now."""
        if self._began is None and any(doing.trials for doing in workers):
            self._began = self.clock()
        self._told(workers)

    def _told(self, workers: Sequence["Doing"]) -> None:
        if self.clock() - self._spoke >= HEARTBEAT_SECONDS:
            told = "; ".join(f"{doing.work} {doing.share:.0%}" for doing in workers)
            self.say(f"{self._count()} {told}{self._left(workers)}")

    def _count(self) -> str:
        return f"[{len(self.records):{len(str(self.total))}}/{self.total}]"

    def _left(self, workers: Sequence["Doing"]) -> str:
        """How long it will still take, in words; nothing where nothing is known."""
        seconds = self.seconds_left(workers)
        return "" if seconds is None else f", about {duration(seconds)} left"

    def seconds_left(self, workers: Sequence["Doing"]) -> float | None:
        """Estimated seconds to the end: from the pace so far, or before that from the plan."""
        if self._began is None:
            return self._estimate
        passed = self.clock() - self._began
        done = len(self.records) + sum(doing.share * doing.trials for doing in workers)
        if done >= max(1.0, 0.02 * self.total):
            return max(0.0, passed * (self.total - done) / done)
        return None if self._estimate is None else max(0.0, self._estimate - passed)

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Screen(Lines):
    """The same lines on a terminal, and a live block: what workers do, trials done, time left."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        super().__init__(stream, clock)
        self._console: Console = Console(file=stream, highlight=False)
        self._live: Live | None = None
        self._workers: tuple["Doing", ...] = ()

    def start(self, made: "Plan", cohorts: Sequence["Cohort"], minutes: float | None) -> None:
        """Show the block."""
        from rich.live import Live

        super().start(made, cohorts, minutes)
        if cohorts:
            self._live = Live(
                get_renderable=self.block,
                console=self._console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def stop(self) -> None:
        """Take the block away."""
        if self._live:
            self._live.stop()
            self._live = None

    def block(self) -> "Group":
        """The block as it is now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        workers = self._workers
        grid = Table.grid(padding=(0, 2))
        for work, method, share, _ in workers:
            row = (Text(work, "cyan"), ProgressBar(1.0, share, width=20), Text(f"{share:4.0%}"))
            grid.add_row(*row, Text(method, "dim"))
        bad = sum(record.status != "ok" for record in self.records)
        last = f"{self._count()} trials" + (f", {bad} not ok" if bad else "") + self._left(workers)
        return Group(grid, Text(last, "bold"))

    def _told(self, workers: Sequence["Doing"]) -> None:
        self._workers = tuple(workers)

    def _print(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)


class Quiet(Lines):
    """No lines at all."""

    def _print(self, text: str) -> None:
        pass


@contextmanager
def reporter(loud: bool) -> Iterator[Lines]:
    """A listener on standard error for as long as the context is open."""
    lines = progress(sys.stderr) if loud else Quiet(sys.stderr)
    try:
        yield lines
    finally:
        lines.stop()


def record_line(record: "Record", name: str, done: int, total: int) -> str:
    """A record in one line: accuracy and agreement in percent, cost over the first baseline's."""
    ask = record.question
    name += f" ({record.rows} rows)" if ask.quiz and record.rows else ""
    trial = f"{ask.dataset} {ask.teacher}:{ask.student} {name} s{ask.seed}"
    parts = [f"[{done:{len(str(total))}}/{total}] {record.status:<3} {trial}"]
    if "accuracy" in record.quality:
        parts.append(f"accuracy {percent(record.quality['accuracy'])}")
    fidelity = record.fidelity.get(ask.evaluation.split, {})
    if "agreement" in fidelity:
        parts.append(f"agreement {percent(fidelity['agreement'])}")
    if record.cost and record.cost.overhead is not None and record.cost.valid:
        parts.append(f"x{record.cost.overhead:.2f}")
    return "  ".join(parts)


def teacher_line(record: "Record") -> str:
    """The teacher of a record in one line: accuracy in percent, size and content hash."""
    card, ask = record.teacher, record.question
    assert card is not None
    accuracy = f"accuracy {percent(card.quality['accuracy'])}" if "accuracy" in card.quality else ""
    parts = [f"teacher {ask.teacher} on {ask.dataset}", accuracy, f"{card.parameters:,} parameters"]
    return "  ".join(filter(None, [*parts, f"weights {card.weights[:12]}"]))


def percent(share: float) -> str:
    """A share in percent with one digit."""
    return f"{100 * share:.1f}"


def duration(seconds: float) -> str:
    """Seconds in words, to two figures: "8 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
