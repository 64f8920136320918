"""Teachers: trained once, kept with their anchors by content, opened frozen."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save

from kdbench.api import Outputs, Setup
from kdbench.data import Splits, Views, derive_seed, transfers
from kdbench.errors import DataError, KDBenchError, PluginError, StoreError
from kdbench.models import Network, create
from kdbench.plan import TeacherJob
from kdbench.record import PutAway, Spec, Standing, standing, write_atomically
from kdbench.registry import DataFacts, MethodFacts
from kdbench.teacher.frozen import Teacher
from kdbench.teacher.objective import CrossEntropy
from kdbench.teacher.pupil import pupil
from kdbench.train import (
    Diverged,
    Runner,
    Teach,
    assemble,
    compile_student,
    lockstep,
    seed_torch,
    set_compiler,
)
from kdbench.train.snapshot import packed, restore, snapshot, unpacked


def build(network: Spec, facts: DataFacts, device: torch.device) -> Network:
    """A network for this data set, initialised from torch's generator."""
    return create(
        network,
        num_classes=facts.num_classes,
        image_shape=facts.image_shape,
        mean=facts.mean,
        std=facts.std,
    ).to(device)


def folder(job: TeacherJob, cache: Path) -> Path:
    """Where this teacher lies in the cache."""
    return cache / "teachers" / job.key


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
) -> None:
    """Train the teacher and its anchors, unless they are there already.

    It learns by cross-entropy, or by the job's method from its own teachers, which are there.

    Args:
        job, splits, cache, device: What is asked, its rows, where it is kept and where computed.
        watch: Called before every step.
        late: Whether so many more seconds are too many: the training is then put away.
        note: Told where a training that was put away starts again.
        group: Of environments that give equal bits; a training is taken up in its own only.

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
        raise StoreError(f"cannot write {home}", str(error), "set KDBENCH_CACHE") from error
    with FileLock(home / "lock"):
        if (home / "card.json").exists():  # trained by another process meanwhile
            return
        seed = derive_seed(int(protocol.seed), "teacher", str(job.network))
        rows = range(protocol.rows or len(splits.train))
        views = Views(
            splits.train, rows, shift=protocol.shift, flip=protocol.flip, device=device, seed=seed,
            policy=transfers(job.policy),
        )  # fmt: skip
        seed_torch(device, seed, "init")
        network = build(job.network, job.dataset, device)
        total = protocol.total_steps(len(views))
        above: Teacher | None = None
        try:
            if job.method is None:
                runner, teach = _alone(job, network, views, seed, total)
            else:
                runner, teach, above = _taught(job, job.method, network, views, splits, cache, seed)
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
                write_atomically(home / f"anchor-{name}.safetensors", content)

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
            where = replace(here, step=runner.done)
            write_atomically(away, packed(snapshot(runner), where, anchors=hashes))
            raise PutAway(where)
        write_atomically(home / "card.json", json.dumps({"anchors": hashes}, indent=1).encode())
        away.unlink(missing_ok=True)


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
    except (ValueError, KeyError) as error:
        away.unlink()
        then = "it is removed; run again to train the teacher anew"
        raise DataError(f"{away} is not what was written", str(error), then) from error


def _alone(
    job: TeacherJob, network: Network, views: Views, seed: int, total: int
) -> tuple[Runner, Teach]:
    """The teacher in training by the labels; nobody is to be asked."""
    assert job.protocol is not None
    port, classes = network.port(), job.dataset.num_classes
    setup = Setup(student=port, teacher=port, num_classes=classes, num_train=len(views))
    objective = CrossEntropy(masked=bool(job.policy.members))
    runner = Runner(
        objective, network, setup, job.protocol, seed=seed, total=total, device=views.device
    )
    return runner, lambda *_: _nothing()


def _taught(
    job: TeacherJob, by: MethodFacts, network: Network, views: Views, splits: Splits, cache: Path,
    seed: int,
) -> tuple[Runner, Teach, Teacher]:  # fmt: skip
    """The teacher in training by a method, its own teacher as the loop asks it, and that one."""
    assert job.protocol is not None
    method = assemble(by.spec, by.sources)
    anchors = {stage.anchor for stage in method.stages()}
    above = open_teacher(job.teachers, anchors, cache, views.device)
    runner = pupil(
        method, network, above, views, job.protocol,
        num_classes=job.dataset.num_classes, class_tree=splits.dataset.class_tree,
        build=lambda: build(job.network, job.dataset, views.device), seed=seed,
        total=job.protocol.total_steps(len(views)),
    )  # fmt: skip
    return runner, above.answering(method.needs().maps, job.protocol), above


def _fault(job: TeacherJob, error: Exception) -> Exception:
    """The error as its owner's: of the method that the teacher learns by, or our own."""
    if job.method is None or isinstance(error, KDBenchError):
        return error
    return PluginError(
        f"the teacher {job.network} could not be taught by {job.method.spec}",
        f"{type(error).__name__}: {error}",
        "mend the method, or set another [teacher] method",
    )


def open_teacher(
    jobs: tuple[TeacherJob, ...], anchors: set[float], cache: Path, device: torch.device
) -> Teacher:
    """The frozen teacher with those of the anchors that there are, from cache or given weights.

    Raises:
        DataError: A file is not what was written.
    """
    members = []
    for job in jobs:
        if job.protocol is None:
            members.append({1.0: build(job.given or job.network, job.dataset, device)})
            continue
        card = json.loads((folder(job, cache) / "card.json").read_bytes())
        hashes: Mapping[str, str] = card["anchors"]
        kept = {s: f"{s:.6f}" for s in sorted(anchors | {1.0}) if f"{s:.6f}" in hashes}
        members.append({s: _load(job, n, hashes[n], cache, device) for s, n in kept.items()})
    return Teacher(members)


def _load(job: TeacherJob, name: str, content: str, cache: Path, device: torch.device) -> Network:
    path = folder(job, cache) / f"anchor-{name}.safetensors"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != content:
        why, then = "its content hash differs", f"remove {path.parent} to train it again"
        raise DataError(f"{path} is not what was written", why, then)
    network = build(job.network, job.dataset, device)
    network.model.load_state_dict(load_file(path), strict=True)
    return network


def _nothing() -> Outputs:
    raise AssertionError("the cross-entropy objective asks no teacher")
