"""A cohort in training, put away and taken up again: a file for each of its trials.

What a trial computes depends on nobody else, so trials that stand at the same step go on together,
whoever was beside them before.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kdbench.cohort.outcome import Attempt, environment
from kdbench.cohort.rig import Rig
from kdbench.plan import Trial
from kdbench.record import Standing, standing, write_atomically
from kdbench.train.snapshot import packed, restore, snapshot, unpacked


def put_away(
    rig: Rig, attempts: Mapping[str, Attempt], step: int, seconds: Mapping[str, float]
) -> Standing:
    """Where these trials stand, each in its file; `seconds` is what was spent on each so far.

    Raises:
        StoreError: The store cannot be written.
    """
    where = replace(_start(rig), step=step)
    for attempt in attempts.values():
        assert attempt.runner is not None
        content = packed(
            snapshot(attempt.runner), where, curve=attempt.curve,
            losses=attempt.fields.get("losses"), seconds=attempt.spent(seconds),
        )  # fmt: skip
        write_atomically(_path(rig, attempt.trial), content)
    return where


def take_up(rig: Rig, attempts: Mapping[str, Attempt]) -> int | None:
    """The step at which these trials go on: 0 if they start; None if some are to be built again.

    Each has a runner that has made no step. They start where one of them was never put away, or
    where a teacher or an environment would give other bits.
    """
    paths = {name: _path(rig, attempt.trial) for name, attempt in attempts.items()}
    found = {standing(path) for path in paths.values() if path.exists()}
    if not found:
        return 0
    (where, *others) = found
    if others or not all(path.exists() for path in paths.values()):
        return _again(rig, "they stand at different steps")
    if where is None or replace(where, step=0) != _start(rig):
        return _again(rig, "their teacher, torch or kind of processor is another one now")
    try:
        for name, attempt in attempts.items():
            assert attempt.runner is not None
            taken, beside = unpacked(paths[name].read_bytes())
            restore(attempt.runner, taken)
            attempt.curve = [(share, point) for share, point in beside["curve"]]
            attempt.earlier = beside["seconds"]
            if beside["losses"] is not None:
                attempt.fields["losses"] = beside["losses"]
    except (OSError, ValueError, KeyError) as error:
        _again(rig, f"a checkpoint cannot be read ({error})")
        return None
    return where.step


def _again(rig: Rig, why: str) -> int:
    rig.bench.note(f"{rig.cohort.name}: trials that were put away start again, because {why}")
    return 0


def _start(rig: Rig) -> Standing:
    return Standing(0, rig.total, environment(rig.device).group, rig.teacher.weights)


def _path(rig: Rig, trial: Trial) -> Path:
    return rig.bench.store.checkpoint(trial.question.fingerprint, trial.code)
