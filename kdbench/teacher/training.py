"""Teachers: trained once, kept with their anchors by content."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save

from kdbench.data import Splits, Views, transfers
from kdbench.errors import DataError, KDBenchError, PluginError, StoreError
from kdbench.models import Network
from kdbench.plan import TeacherJob
from kdbench.record import PutAway, Standing, standing, write_atomically
from kdbench.teacher.frozen import Teacher
from kdbench.teacher.objective import CrossEntropy
from kdbench.teacher.opening import build, folder, initial, open_teacher, seed_of
from kdbench.teacher.pupil import pupil
from kdbench.train import (
    Diverged,
    Pace,
    Runner,
    Teach,
    assemble,
    compile_student,
    lockstep,
    nobody,
    set_compiler,
)
from kdbench.train.snapshot import packed, restore, snapshot, unpacked

_PLACE = "KDBENCH_CACHE"

WAIT: Final = 0.5
"""Seconds between two looks at the time, while another process trains the teacher."""


def ensure(
    job: TeacherJob,
    splits: Splits,
    cache: Path,
    device: torch.device,
    watch: Callable[[str, int], None] = lambda name, step: None,
    *,
    late: Callable[[float], bool] = lambda seconds: False,
    note: Callable[[str], None] = lambda text: None,
    group: str = "",
    pace: Pace | None = None,
) -> None:
    """Train the teacher and its anchors, unless they are there already.

    It learns by cross-entropy, or by the job's method, from its own teachers (which are there) if
    it has any.

    Args:
        job, splits, cache, device: What is asked, its rows, where it is kept and where computed.
        watch: Called before every step.
        late: Whether so many more seconds are too many: the training is then put away.
        note: Told where a training that was put away starts again.
        group: Of environments that give equal bits; a training is taken up in its own only.
        pace: When the training is put away on the way; None for never.

    Raises:
        DataError: The training diverged; StoreError: the cache cannot be written; PluginError: the
        method by which it learns failed; PutAway: it became late.
    """
    home, protocol = folder(job, cache), job.protocol
    if protocol is None or (home / "card.json").exists():
        return
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        then = "free space there, or choose another place with KDBENCH_CACHE"
        raise StoreError(f"cannot write {home}", str(error), then) from error
    with _alone(home, late, group):
        if (home / "card.json").exists():  # trained by another process meanwhile
            return
        seed = seed_of(job)
        rows = range(protocol.rows or len(splits.train))
        views = Views(
            splits.train, rows, shift=protocol.shift, flip=protocol.flip, device=device, seed=seed,
            policy=transfers(job.policy),
        )  # fmt: skip
        network = initial(job, device)
        total = protocol.total_steps(len(views))
        try:
            runner, teach, above = _learning(job, network, views, splits, cache)
        except KDBenchError:
            raise
        except Exception as error:
            raise _fault(job, error) from error
        if protocol.compile == "on":
            set_compiler(cache, device)
            compile_student(runner, views)
        marks: dict[int, list[str]] = {}  # a short training passes several anchors in one step
        for i in range(1, protocol.anchors + 1):
            step = max(1, round(total * i / protocol.anchors))
            marks.setdefault(step, []).append(f"{i / protocol.anchors:.6f}")
        away = home / "checkpoint.safetensors"
        here = Standing(0, total, group, above.weights if above else "")
        hashes = _taken_up(away, runner, here)
        if away.exists() and not runner.done:
            note(f"the teacher {job.network} starts again: it was put away in other surroundings")

        def keep(done: int, active: object) -> None:
            for name in marks.get(done, ()):
                state = network.model.state_dict()
                content = save({n: t.detach().cpu().contiguous() for n, t in state.items()})
                hashes[name] = hashlib.sha256(content).hexdigest()
                write_atomically(home / f"anchor-{name}.safetensors", content, _PLACE)
            if pace and pace.due and done < total:
                with pace.kept():
                    put_away()

        def put_away() -> Standing:
            where = replace(here, step=runner.done)
            write_atomically(away, packed(snapshot(runner), where, anchors=hashes), _PLACE)
            return where

        _, failures = lockstep(
            {"": runner}, views, protocol, total, teach, watch=watch, after=keep,
            start=runner.done, stop=late,
        )  # fmt: skip
        if failed := failures.get(""):
            if not isinstance(failed, Diverged):
                raise _fault(job, failed) from failed
            what = f"the teacher {job.network} could not be trained"
            raise DataError(what, str(failed), "lower [teacher] learning_rate") from failed
        if above:
            above.check_unmoved()
        if runner.done < total:
            raise PutAway(put_away())
        card = json.dumps({"anchors": hashes}, indent=1).encode()
        write_atomically(home / "card.json", card, _PLACE)
        away.unlink(missing_ok=True)


@contextmanager
def _alone(home: Path, late: Callable[[float], bool], group: str) -> Iterator[None]:
    """A context in which no other process trains this teacher; waits for one that does.

    Raises:
        PutAway: It became late meanwhile.
    """
    lock = FileLock(home / "lock")
    while True:
        try:
            lock.acquire(timeout=WAIT)
            break
        except Timeout:
            if late(0.0):
                raise PutAway(Standing(0, 1, group, "")) from None
    try:
        yield
    finally:
        lock.release()


def _taken_up(away: Path, runner: Runner, here: Standing) -> dict[str, str]:
    """Hashes of the anchors so far, with the runner where it was put away; none if it was not.

    Raises:
        DataError: The checkpoint is not what was written.
    """
    found = standing(away)
    if found is None or replace(found, step=0) != here:
        return {}
    try:
        taken, beside = unpacked(away.read_bytes())
        restore(runner, taken)
        return dict(beside["anchors"])
    except (ValueError, KeyError, TypeError) as error:
        away.unlink()
        then = "it is removed; run again to train the teacher anew"
        raise DataError(f"{away} is not what was written", str(error), then) from error


def _learning(
    job: TeacherJob, network: Network, views: Views, splits: Splits, cache: Path
) -> tuple[Runner, Teach, Teacher | None]:
    """The teacher in training, its own teacher as the loop asks it, and that one if there is."""
    assert job.protocol is not None
    by, masked = job.method, bool(job.policy.members)
    method = assemble(by.spec, by.sources) if by else CrossEntropy(masked=masked)
    anchors = {stage.anchor for stage in method.stages()}
    above = open_teacher(job.teachers, anchors, cache, views.device) if job.teachers else None
    runner = pupil(
        method, network, above, views, job.protocol,
        num_classes=job.dataset.num_classes, class_tree=splits.dataset.class_tree,
        build=lambda: build(job.network, job.dataset, views.device), seed=seed_of(job),
        total=job.protocol.total_steps(len(views)),
    )  # fmt: skip
    return runner, above.answering(method.needs().maps, job.protocol) if above else nobody, above


def _fault(job: TeacherJob, error: Exception) -> Exception:
    """The error as its owner's: of the method that the teacher learns by, or our own."""
    if job.method is None or isinstance(error, KDBenchError):
        return error
    return PluginError(
        f"the teacher {job.network} could not be taught by {job.method.spec}",
        f"{type(error).__name__}: {error}",
        f"mend the method, or set another [teacher] {'method' if job.teachers else 'alone'}",
    )
