"""Whole boards: kdbench from cold start to rendered board, and the host's share of it."""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import timm
import torch
from rounds import Block, Side, Team, take_turns, working
from training import METHODS

from kdbench import engine
from kdbench.cli.selection import choose
from kdbench.cli.work import planned
from kdbench.record import Pair, Record, Store
from kdbench.testing.bench import register

BATCH, TRAIN_ROWS, TEST_ROWS = 64, 50_000, 10_000
"""Of the suite."""
SEEDS, COHORTS = 3, 20
_DIGITS = "resnet8:resnet8[width=0.5]"
_OWN = ("schema_version", "status", "question", "fingerprints", "suite", "origin", "settings",
        "created", "attempt", "environment")  # fmt: skip
"""What a trial itself says of a record."""


def board(pair: str, steps: int, usual: Team) -> dict[str, Any]:
    """One round: a board of real CIFAR-100 in `KDBENCH_DATA`, and as many usual runs as it has.

    Every student takes `steps` steps. The teacher is given, to both: its weights lie in a file.
    kdbench starts with nothing in its cache; its time is that of the command. The usual runs' time
    is computed from blocks before and after it: steps, and the test set at the end of every epoch
    and of the run.
    """
    with working({"usual": usual}) as sides, _folders() as (root, environment):
        given = _given(pair, root)
        before = take_turns(sides, 2, foreign=float("inf"))
        start = time.perf_counter()
        _kdbench(
            environment, "run", "cifar100", *_flags("-m", METHODS), "--pair", given,
            "--seeds", str(SEEDS), "--steps", str(steps), "--store", str(root / "store"),
        )  # fmt: skip
        spent = time.perf_counter() - start
        after = take_turns(sides, 2, foreign=float("inf"))
        trials = _ok(root / "store", SEEDS * len(METHODS))
    blocks = [one["blocks"]["usual"] for one in (*before["rounds"], *after["rounds"])]
    runs = [usual_seconds(one, steps) for one in blocks]
    ours = {"work": len(trials), "seconds": spent}
    theirs = {"work": 1, "seconds": fmean(runs)}
    return {
        "rounds": [{"blocks": {"kdbench": ours, "usual": theirs}}],
        "discarded": [], "usual": [*before["rounds"], *after["rounds"]],
        "phases": [record.seconds for record in trials],
    }  # fmt: skip


def usual_seconds(block: Block, steps: int, batch: int = BATCH) -> float:
    """What a run of the usual loop takes, from a block of it."""
    step = block["train_seconds"] / (block["work"] / batch)
    image = (block["seconds"] - block["train_seconds"]) / (block["work"] * TEST_ROWS / TRAIN_ROWS)
    evaluations = math.ceil(steps * batch / TRAIN_ROWS)
    return steps * step + evaluations * TEST_ROWS * image


def host(rounds: int, foreign: float) -> dict[str, Any]:
    """Planning, listing and rendering a board of 20 cohorts of 8 methods, beside its run.

    The suite is `digits`, the shortest that ships. One cohort is run; the others' records are its
    own with other seeds. The run's length is that of a trial of it, times trials, over cores.
    """
    with _folders() as (root, environment):
        store, all_seeds = root / "store", ("--seeds", str(COHORTS))
        asked = ("digits", *_flags("-m", METHODS), "--pair", _DIGITS, "--store", str(store))
        _kdbench(environment, "run", *asked, "--seeds", "1")
        done = _ok(store, len(METHODS))
        _fill(store, done)
        # finds nothing to train, and notes down what the board is to show
        _kdbench(environment, "run", *asked, *all_seeds)
        trials = _ok(store, COHORTS * len(METHODS))
        length = len(trials) * fmean(one.seconds["trial"] for one in done) / engine.cores()

        def commands() -> Block:
            start = time.perf_counter()
            _kdbench(environment, "plan", *asked, *all_seeds)
            _kdbench(environment, "list", "methods")
            _kdbench(environment, "leaderboard", str(store))
            return {"work": 1, "seconds": time.perf_counter() - start}

        sides: dict[str, Side] = {"host": commands}
        found = take_turns(sides, rounds, foreign=foreign)
    for one in (*found["rounds"], *found["discarded"]):
        one["blocks"]["run"] = {"work": 1, "seconds": length, "cpu": length * engine.cores()}
    return found


def _fill(store: Path, done: Sequence[Record]) -> None:
    """Records of all other seeds."""
    known = {record.question.method: record for record in done}
    asked = choose("digits", store, list(METHODS), [_DIGITS], chosen=range(COHORTS))
    for trial in planned(asked, done).trials:
        if trial.state == "open":
            like, seed = known[trial.question.method], trial.question.seed
            fields = {n: getattr(like, n) for n in Record.model_fields if n not in _OWN}
            fields["quality"] = {n: v * (1 + seed / 1e3) for n, v in like.quality.items()}
            asked.store.add(trial.record("digits", "ok", like.environment, **fields))


def _ok(store: Path, count: int) -> list[Record]:
    """The store's records, all of them ok."""
    found = [record for record in Store(store).records() if record.status == "ok"]
    if len(found) != count:
        raise RuntimeError(f"{len(found)} of {count} trials are ok")
    return found


def _given(pair: str, root: Path) -> str:
    """The pair with its teacher's weights in a file; they are untrained, which costs the same."""
    asked = Pair.parse(pair)
    register(asked.teacher.network)
    torch.save(timm.create_model(str(asked.teacher.network), num_classes=100).state_dict(),
               root / "teacher.pth")  # fmt: skip
    return f"{asked.teacher.network}[checkpoint={root / 'teacher.pth'}]:{asked.student}"


@contextmanager
def _folders() -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty folder, and an environment whose cache lies in it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name), os.environ | {"KDBENCH_CACHE": str(Path(name) / "cache")}


def _flags(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _kdbench(environment: dict[str, str], *words: str) -> None:
    command = [sys.executable, "-m", "kdbench", *words]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
