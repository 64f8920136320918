"""Cost of a training step, from timed rounds in which the methods of a cohort take turns."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from kdbench.cohort.rig import Rig
from kdbench.cohort.workbench import method
from kdbench.measure import peak_memory_mb
from kdbench.record import QUIET, Cost
from kdbench.statistics import median_interval
from kdbench.train import PHASES, Round, Runner, block, compile_student, interleave


def costs(
    rig: Rig, runners: Mapping[str, Runner], seconds: float, *, taught: float
) -> tuple[dict[str, Cost], dict[str, Exception]]:
    """Cost of a step of every trial, or why it has none; the interleaved pass spends them.

    Args:
        rig: Whose training is over.
        runners: By trial.
        seconds: About how long the rounds may take.
        taught: Seconds that the shared teacher took of the training.
    """
    if not runners:
        return {}, {}
    asked, watch, baseline = tuple(runners), rig.bench.watch, None
    if yardstick := rig.cohort.yardstick:
        baseline = str(yardstick.spec)
        if baseline not in runners:
            watch("", -1)
            try:
                with rig.guard.call("init()"):
                    yard = rig.runner(method(yardstick))
                if rig.cohort.protocol.compile == "on":
                    compile_student(yard, rig.views)
                runners = {baseline: yard, **runners}
            except Exception:  # noqa: BLE001 - the plugin's; costs are then relative to nothing
                baseline = None
    teachers = {name: rig.teach(runner.needs.maps) for name, runner in runners.items()}
    rounds, failures = interleave(
        runners, rig.views, teachers, seconds=seconds, watch=watch, guard=rig.guard
    )
    timings = summarise(
        rounds, baseline, batch_size=min(rig.cohort.protocol.batch_size, len(rig.views))
    )
    askers = sum(runners[name].needs.teacher == "shared" for name in asked)
    share = 1e3 * taught / rig.total, askers
    found = {}
    for name in (name for name in asked if name not in failures):
        runner, teach = runners[name], teachers[name]
        ends = [0, *runner.ends]
        middles = [(start + end) // 2 for start, end in pairwise(ends)]
        watch(name, rig.total)
        runner.launch = None  # what a recording takes was taken when it was made
        try:
            memory = peak_memory_mb(
                lambda: block(runner, rig.views, teach, middles, guard=rig.guard),  # noqa: B023 - called at once
                rig.device,
            )
        except Exception as error:  # noqa: BLE001 - the plugin's step once more
            failures[name] = error
            continue
        found[name] = Cost(
            **timings[name], **_shared(rig, runner, timings[name], share),
            teacher_passes=runner.needs.teacher_passes,
            training_parameters=sum(weight.numel() for weight in runner.extra_weights),
            peak_memory_mb=memory, compile_seconds=runner.compile_seconds,
        )  # fmt: skip
    return found, failures


def summarise(
    rounds: Sequence[Round], baseline: str | None, *, batch_size: int
) -> dict[str, dict[str, Any]]:
    """The measured fields of each method's `kdbench.record.Cost`.

    Loud rounds are left out where six are left without them; otherwise all count, and times may not
    be compared. Overheads pair method and baseline within a round, so that a machine that slows
    down for a while slows both; None where there is no baseline.
    """
    quiet = [one for one in rounds if not one.loud]
    valid = len(quiet) >= QUIET or len(quiet) == len(rounds)
    kept = quiet if valid else list(rounds)
    foreign = [one.foreign for one in kept if one.foreign is not None]
    shared = {
        "rounds": len(kept), "discarded": len(rounds) - len(kept), "valid": valid,
        "foreign_load": median(foreign) if foreign else None,
        "why_not": ""
        if valid
        else f"foreign load in {len(rounds) - len(quiet)} of {len(rounds)} rounds",
    }  # fmt: skip
    methods = kept[0].blocks if kept else {}
    return {one: _timing(one, kept, baseline, batch_size) | shared for one in methods}


def _timing(
    name: str, rounds: Sequence[Round], baseline: str | None, batch_size: int
) -> dict[str, Any]:
    own = [one.blocks[name] for one in rounds]
    theirs = [one.blocks[baseline] for one in rounds if baseline in one.blocks] if baseline else []
    step = median(one.wall_ms for one in own)
    ratios = [one.wall_ms / other.wall_ms for one, other in zip(own, theirs, strict=False)]
    computed = [one.cpu_ms / other.cpu_ms for one, other in zip(own, theirs, strict=False)]
    return {
        "step_ms": step,
        "parts_ms": {phase: median(one.phases[phase] for one in own) for phase in PHASES},
        "unaccounted": median(one.unaccounted for one in own),
        "images_per_second": 1000 * batch_size / step,
        "overhead": median(ratios) if ratios else None,
        "overhead_interval": median_interval(ratios),
        "cpu_ms": median(one.cpu_ms for one in own),
        "cpu_overhead": median(computed) if computed else None,
    }


def _shared(
    rig: Rig, runner: Runner, timing: Mapping[str, Any], share: tuple[float, int]
) -> dict[str, Any]:
    """A step where the teacher's answer is read, or is paid by all who asked for it.

    Only on the CPU: in training nobody waits for another device, so what the teacher took of it is
    not known.

    Args:
        rig: The cohort's.
        runner: Of the trial.
        timing: Its step with a live teacher.
        share: Milliseconds that the teacher took a step in training, and how many asked it.
    """
    if rig.device.type != "cpu":
        return {}
    step, needs = timing["step_ms"], runner.needs
    if needs.teacher != "shared":  # its teacher's pass, if it has any, is its own
        return {"warm_ms": step if rig.recall else None, "amortised_ms": step, "cells": 1}
    own, (spent, askers) = step - timing["parts_ms"]["teacher"], share
    found = {"amortised_ms": own + spent / askers, "cells": askers, "warm_ms": None}
    keeps = all(stage.anchor == 1.0 for stage in runner.stages)
    if keeps and rig.recall and (read := rig.recall.tally.read):
        rows = min(rig.cohort.protocol.batch_size, len(rig.views)) * needs.teacher_passes
        found["warm_ms"] = own + 1e3 * rig.recall.tally.reading / read * rows
    return found
