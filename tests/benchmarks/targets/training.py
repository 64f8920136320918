"""Sides that train: the usual loop, kdbench's, and one written by hand from kdbench's kernels."""

import atexit
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from rounds import Block, Side, Team, take_turns, timed, working
from torch import nn

import kdbench
from kdbench.api import Maps
from kdbench.cohort.rig import Rig
from kdbench.data import Views
from kdbench.functional import cross_entropy, softened_kl
from kdbench.plan import Trial
from kdbench.record import Question, Spec
from kdbench.registry import scan
from kdbench.testing import Bench, Case
from kdbench.testing.speed.peak import CONVOLUTIONS, Operations, convolution
from kdbench.train import Teach, lockstep

sys.path.append(str(Path(__file__).resolve().parent.parent))
from usual_loop import UsualLoop, rows

SETTINGS = tuple((workers, threads) for workers in (0, 2) for threads in (1, 2))
"""DataLoader workers and threads among which the usual loop's best is looked for."""

METHODS = ("kd", "dkd", "dist", "lskd", "ttm", "nkd", "ctkd", "wttm")
WARM_UP = 3


def usual(pair: str, batch: int, steps: int, workers: int, threads: int) -> Side:
    """The usual loop; a block's `seconds` have its evaluation in them, `train_seconds` not."""
    torch.set_num_threads(threads)
    loop = UsualLoop(pair, rows("noise", True), rows("noise", False), batch=batch, workers=workers)
    loop.block(WARM_UP)

    def block() -> Block:
        found = loop.block(steps)
        seconds = found.train_seconds + found.evaluation_seconds
        return {"work": found.images, "seconds": seconds, "train_seconds": found.train_seconds}

    return block


def best_usual(
    pair: str, batch: int, steps: int, settings: Sequence[tuple[int, int]], foreign: float
) -> tuple[Team, list[dict[str, Any]]]:
    """The usual loop at its fastest workers and threads, and the two rounds that say so.

    A setting is as fast as in the better of the rounds, which are loud ones only if no other is
    there.
    """
    size = {"pair": pair, "batch": batch, "steps": steps}
    made = {
        f"{workers} workers, {threads} threads": Team(
            usual, size | {"workers": workers, "threads": threads}
        )
        for workers, threads in settings
    }
    if len(made) == 1:
        return next(iter(made.values())), []
    with working(made) as sides:
        found = take_turns(sides, 2, foreign=foreign)
    tried = found["rounds"] or found["discarded"]
    speeds = {name: [one["blocks"][name] for one in tried] for name in made}
    best = max(made, key=lambda name: max(b["work"] / b["seconds"] for b in speeds[name]))
    return made[best], tried


def rig(pair: str, batch: int, rows: int) -> Rig:
    """What a cohort shares, on noise of CIFAR-100's shape, cropped and mirrored as it is."""
    teacher, _, student = pair.partition(":")
    case = Case(
        teacher=teacher, student=student, classes=100, tree=False, image_shape=(3, 32, 32),
        rows=rows, batch_size=batch, steps=10**6,
    )  # fmt: skip
    found = Bench(kdbench.method("kd"), case).rig
    split, seed = found.splits.train, found.cohort.seed
    found.views = Views(split, slice(None), shift=4, flip=True, device="cpu", seed=seed)
    return found


def ours(
    pair: str,
    batch: int,
    steps: int,
    rows: int,
    methods: Sequence[str],
    answers: Literal["live", "cold", "warm"] = "live",
) -> Side:
    """kdbench's own loop on one thread; images are counted once a method.

    The teacher answers in the step; or it is asked ahead and its answers are kept, in a folder that
    is new for every block ("cold") or has all that a block asks for ("warm"). Opening the folder,
    once a run, is not charged.
    """
    torch.set_num_threads(1)
    shared = rig(pair, batch, rows)
    runners = {name: shared.runner(kdbench.method(name)) for name in methods}
    live = shared.teach(Maps())

    def train(count: int, teach: Teach) -> None:
        _, failures = lockstep(runners, shared.views, shared.cohort.protocol, count, teach)
        if failures:
            raise RuntimeError(f"left the loop: {failures}")

    folder = _folder()
    train(WARM_UP, live)
    if answers == "warm":
        train(steps, _kept(shared, steps, folder))

    def block() -> Block:
        place = folder if answers == "warm" else _folder()
        teach = live if answers == "live" else _kept(shared, steps, place)
        return timed(lambda: train(steps, teach), steps * batch * len(methods))

    return block


def _kept(shared: Rig, steps: int, folder: Path) -> Teach:
    """The teacher by its kept answers, as a cohort of KD alone has it; opened anew."""
    spec = Spec("kd")
    trial = Trial(
        question=cast(Question, None), spec=spec, method=scan().methods([spec])[spec], settings="",
        code="", state="open", attempts=0,
    )  # fmt: skip
    shared.cohort = replace(shared.cohort, trials=(trial,), answers_gb=10.0)
    shared.bench.cache, shared.total = folder, steps
    vars(shared).pop("recall", None)
    if shared.recall is None:
        raise RuntimeError("the teacher's answers depend on the batch here: none would be kept")
    return shared.recall


def _folder() -> Path:
    """A folder that goes with this process."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)


def bare(pair: str, batch: int, steps: int, rows: int) -> Side:
    """KD by hand: kdbench's views, networks, teacher, loss functions and optimizer, no loop."""
    torch.set_num_threads(1)
    shared = rig(pair, batch, rows)
    student, views = shared.build().train(), shared.views
    optimizer = torch.optim.SGD(
        student.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, fused=True
    )

    def train(count: int) -> None:
        for chosen in views.order(0)[: count * batch].split(batch):
            images, target = views.batch(chosen, 0), views.labels[chosen]
            taught, said = shared.teacher(images).logits, student(images).logits
            hard = cross_entropy(said, target, torch.ones_like(target, dtype=torch.bool))
            loss = 0.1 * hard + 0.9 * softened_kl(said, taught, 4.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    train(WARM_UP)

    def block() -> Block:
        return timed(lambda: train(steps), steps * batch)

    return block


def peak(student: nn.Module, batch: int) -> Side:
    """Images a second whose student's operations this core could do at its peak.

    The peak is that of its fastest convolution. A backward pass counts as two forward passes.
    """
    images = torch.rand(batch, 3, 32, 32)
    with torch.no_grad(), Operations() as counter:
        student(images)
    image = 3 * counter.total / batch
    runs = [convolution(name, torch.device("cpu")) for name in CONVOLUTIONS]

    def block() -> Block:
        rates = []
        for run, operations in runs:
            run()
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < 0.5:
                run()
                count += 1
            rates.append(count * operations / (time.perf_counter() - start))
        return {"work": max(rates) / image, "seconds": 1.0}

    return block
