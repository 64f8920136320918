"""What a step costs: after training, the same batches, one method at a time, in turns.

Unlike in lockstep, every method pays its own batch and its own teacher pass here, so that the
comparison is between methods and not between places in the queue. Each round visits the whole
budget (its stages included) at evenly spread points.
"""

import time
from collections.abc import Callable, Mapping
from itertools import count

from torch import Tensor

from kdbench.data import Views
from kdbench.train.clock import PHASES
from kdbench.train.lockstep import guarded
from kdbench.train.runner import Runner
from kdbench.train.stream import Step, Teach

POINTS = 8
ROUNDS = range(6, 16)  # six rounds are the fewest that give the median a 95 % interval


def interleave(
    runners: Mapping[str, Runner],
    views: Views,
    teachers: Mapping[str, Teach],
    *,
    seconds: float,
    watch: Callable[[str, int], None] = lambda name, step: None,
) -> tuple[list[dict[str, dict[str, float]]], dict[str, Exception]]:
    """Mean milliseconds a step by round, runner and phase, and the exceptions of those that left.

    The first round is warm-up and is left out, and so is a runner that leaves, from all rounds.

    Args:
        runners: Trained or fresh; they are spent afterwards.
        views: The stream's rows.
        teachers: For each runner the shared teacher, giving only what that method needs.
        seconds: Rounds stop after this time, but not before the sixth.
    """
    rounds, failures = list[dict[str, dict[str, float]]](), dict[str, Exception]()
    size, start = next(iter(runners.values())).protocol.batch_size, time.perf_counter()
    order = views.order(0)[: min(size, len(views))]
    for number in count(-1):
        late = number >= ROUNDS.stop or time.perf_counter() - start > seconds
        if number >= ROUNDS.start and late:
            return [{n: one[n] for n in one if n not in failures} for one in rounds], failures
        spent = {}
        for name, runner in runners.items():
            if name in failures:
                continue
            try:
                with guarded("step()"):
                    spent[name] = _round(name, runner, views, order, teachers[name], watch)
            except Exception as error:  # noqa: BLE001 - the plugins' steps again
                failures[name] = error
        if number >= 0:
            rounds.append(spent)
    raise AssertionError("count() does not end")


def _round(
    name: str,
    runner: Runner,
    views: Views,
    rows: Tensor,
    teach: Teach,
    watch: Callable[[str, int], None],
) -> dict[str, float]:
    """Mean milliseconds by phase of this runner's steps of one round."""
    clock = runner.clock
    clock.spent, clock.running = dict.fromkeys(PHASES, 0.0), True
    start = clock.now()
    for point in range(POINTS):
        runner.done = int((point + 0.5) / POINTS * runner.total)
        watch(name, runner.done)
        with clock.phase("data"):
            # of one epoch: its views are drawn once, as in training, and not at every step
            step = Step(views, rows, 0, runner.progress, teach)
        runner.step(step)
    whole = clock.now() - start
    clock.running = False
    clock.spent["loss"] = whole - sum(clock.spent.values())
    return {phase: spent / POINTS for phase, spent in clock.spent.items()}
