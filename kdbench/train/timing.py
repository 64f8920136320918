"""What a step costs: after training, the same batches, one method at a time, in turns.

Unlike in lockstep, every method pays its own batch and its own teacher pass here, so that the
comparison is between methods and not between places in the queue. Each round visits the whole
budget (its stages included) at evenly spread points; at fewer of them where nobody has stages and
time is short. Rounds in which others used the machine are told from the others: `Round.loud`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from kdbench.data import Views
from kdbench.record import QUIET
from kdbench.train.clock import PHASES, Clock
from kdbench.train.guard import Guard
from kdbench.train.lanes import launched
from kdbench.train.load import LOUD, TELLING, LoadMeter
from kdbench.train.runner import Runner
from kdbench.train.stream import Step, Teach

POINTS, FEW = 8, 2
ROUNDS = range(QUIET, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Steps in a row of one runner, each with a batch and a teacher pass of its own.

    Attributes:
        wall_ms: Milliseconds a step.
        cpu_ms: Milliseconds a step that this process's threads computed.
        phases: Exclusive milliseconds a step by phase; every one of `PHASES`.
        steps: How many.
    """

    wall_ms: float
    cpu_ms: float
    phases: Mapping[str, float]
    steps: int

    @property
    def unaccounted(self) -> float:
        """Share of the wall time that no phase has."""
        return 1 - math.fsum(self.phases.values()) / self.wall_ms


@dataclass(frozen=True, slots=True)
class Round:
    """A block of every runner, in turn.

    Attributes:
        blocks: By runner.
        foreign: Cores that others used meanwhile; None where nobody tells.
    """

    blocks: Mapping[str, Block]
    foreign: float | None

    @property
    def loud(self) -> bool:
        """Whether others used the machine too much for its times to be compared."""
        return self.foreign is not None and self.foreign > LOUD


def spread(total: int, points: int = POINTS) -> list[int]:
    """So many steps of a budget, evenly spread."""
    return [int((point + 0.5) / points * total) for point in range(points)]


def block(
    runner: Runner,
    views: Views,
    teach: Teach,
    steps: Sequence[int],
    watch: Callable[[int], None] = lambda step: None,
    guard: Guard | None = None,
) -> Block:
    """A block of a runner's steps, timed; the runner is one of another training afterwards.

    Args:
        runner: Its clock is put aside meanwhile.
        views: The stream's rows; the first batch of the first epoch is used.
        teach: The shared teacher.
        steps: Where in its budget each step is taken.
        watch: Called before every step.
        guard: Of what belongs to all.
    """
    rows = views.order(0)[: min(runner.protocol.batch_size, len(views))]
    outer, clock = runner.clock, Clock(runner.device)
    runner.clock = clock
    try:
        with (guard or Guard()).call("step()"):
            start, computed = clock.now(), time.process_time()
            for number in steps:
                runner.done = number
                watch(number)
                with clock.phase("data"):
                    # of one epoch: its views are drawn once, as in training, not at every step
                    step = Step(views, rows, 0, runner.progress, teach)
                runner.step(step)
            wall, computed = clock.now() - start, time.process_time() - computed
    finally:
        runner.clock = outer
    return Block(
        wall_ms=wall / len(steps), cpu_ms=1e3 * computed / len(steps), steps=len(steps),
        phases={phase: clock.spent[phase] / len(steps) for phase in PHASES},
    )  # fmt: skip


def interleave(
    runners: Mapping[str, Runner],
    views: Views,
    teachers: Mapping[str, Teach],
    *,
    seconds: float,
    watch: Callable[[str, int], None] = lambda name, step: None,
    meter: LoadMeter | None = None,
    guard: Guard | None = None,
) -> tuple[list[Round], dict[str, Exception]]:
    """Rounds of one block a runner, loud ones too, and the exceptions of those that left.

    The first round is warm-up and is left out, and so is a runner that leaves, from all rounds.
    A round lasts long enough for the foreign load to be told.

    Args:
        runners: Trained or fresh; they are spent afterwards.
        views: The stream's rows.
        teachers: For each runner the shared teacher, giving only what that method needs.
        seconds: Rounds stop after this time, but not before the sixth quiet one, unless twice the
            time is over and six of twelve can no longer be quiet.
        meter: Of the foreign load.
        guard: Of what belongs to all.
    """
    meter, start = meter or LoadMeter(), time.perf_counter()
    rounds, failures, points, repeats = list[Round](), dict[str, Exception](), POINTS, 1
    staged = any(len(runner.stages) > 1 for runner in runners.values())
    launched(runners.values(), most=1)
    for number in count(-1):
        if _enough(rounds, (time.perf_counter() - start) / max(seconds, 1e-9)):
            break
        spent, begun = dict[str, Block](), time.perf_counter()
        meter.start()
        for name in (name for name in runners if name not in failures):
            runner = runners[name]
            steps = spread(runner.total, points) * repeats
            try:
                spent[name] = block(
                    runner, views, teachers[name], steps, partial(watch, name), guard
                )
            except Exception as error:  # noqa: BLE001 - the plugins' steps again
                failures[name] = error
        foreign, once = meter.foreign(), (time.perf_counter() - begun) / repeats
        if number >= 0:
            rounds.append(Round(spent, foreign))
        elif not staged and ROUNDS.start * once > seconds:
            points, once = FEW, once * FEW / POINTS
        repeats = max(1, math.ceil(TELLING / once)) if meter.tells else 1
    left = [name for name in runners if name not in failures]
    return [Round({n: one.blocks[n] for n in left}, one.foreign) for one in rounds], failures


def _enough(rounds: Sequence[Round], share: float) -> bool:
    """Whether these rounds do, after this share of the time."""
    loud = sum(one.loud for one in rounds)
    quiet = len(rounds) - loud
    if len(rounds) >= 2 * ROUNDS.stop or quiet >= ROUNDS.stop:
        return True
    return share > 1 if quiet >= ROUNDS.start else share > 2 and loud > ROUNDS.start
